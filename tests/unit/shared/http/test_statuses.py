import pytest

from shared import errors
from shared.errors import FieldError
from shared.http.problems import problem_document
from shared.http.statuses import STATUS, error_of, status_of

EXAMPLES = [
    errors.Malformed("m"),
    errors.TooLarge("m"),
    errors.Invalid("m", fields=[FieldError("spec.a", "code", "message")]),
    errors.Unauthenticated("m", code="token_expired"),
    errors.Forbidden("m"),
    errors.NotFound("m"),
    errors.Conflict("m", code="in_use"),
    errors.RevisionConflict("m"),
    errors.Gone("m", code="view_changed"),
    errors.RevisionCompacted("m", oldest=7),
    errors.TooManyRequests("m", retry_after=5),
    errors.Unavailable("m"),
    errors.StorageFull("m"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda each: type(each).__name__)
def test_an_error_survives_the_way_to_another_component(error: errors.HanseError) -> None:
    document = problem_document(error, request_id="r")
    retry_after = getattr(error, "retry_after", None)
    again = error_of(document["status"], document, retry_after=retry_after)
    assert type(again) is type(error)
    assert (again.message, again.code, again.fields) == (error.message, error.code, error.fields)
    assert getattr(again, "oldest", None) == getattr(error, "oldest", None)


def test_every_error_has_a_status() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    for kind in kinds:
        if issubclass(kind, errors.HanseError) and kind is not errors.HanseError:
            assert any(base in STATUS for base in kind.__mro__), kind
    assert status_of(errors.Unreachable("m")) == 503
    assert status_of(errors.HanseError("m")) == 500


@pytest.mark.parametrize(
    "document",
    [{}, {"errors": "x", "title": 7, "code": []}, {"errors": [1, {}]}, {"oldest": "x"}],
)
@pytest.mark.parametrize("status", [400, 401, 404, 410, 418, 429, 500, 502])
def test_whatever_a_peer_sends_as_a_problem_becomes_an_error(status: int, document) -> None:
    assert isinstance(error_of(status, document), errors.HanseError)
