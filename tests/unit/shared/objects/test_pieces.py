"""The small pure parts: continue tokens, differences, merge patches, admission chains."""

import json
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.auth.identity import Caller, CallerKind
from shared.errors import FieldError, Gone, Malformed
from shared.ids import Generation, Incarnation, Key, Revision
from shared.objects.admission import ACCEPTED, AdmissionChain, Batch, Fault, Review
from shared.objects.diff import diff_of
from shared.objects.paging import Continue
from shared.objects.rendering import RenderedChanges
from shared.objects.service import merge_patch
from shared.store.contract import Change, Operation, Selection, Stored

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def stored(kind: str = "Network", *, labels=None, annotations=None, **spec) -> Stored:
    return Stored(
        Key(kind, "common", "federation", "web"),
        "uid",
        spec,
        labels or {},
        annotations or {},
        None,
        Revision(1),
        Generation(1),
        NOW,
        NOW,
    )


# What a store could hold: no control characters, no lone surrogates.
TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)


@given(TEXTS, st.integers(0, 2**62), TEXTS, TEXTS)
def test_a_continue_token_comes_back_as_it_was(incarnation, revision, tenant, name) -> None:
    token = Continue(
        Incarnation(incarnation), Revision(revision), Key("Network", tenant, "federation", name)
    )
    assert Continue.parse(str(token)) == token


@given(st.text(max_size=60))
def test_any_other_text_is_refused_or_is_a_token(text: str) -> None:
    try:
        token = Continue.parse(text)
    except Malformed as exc:
        assert exc.code == "invalid_continue"  # noqa: PT017 - nearly all texts are refused
    else:
        assert isinstance(token.revision, int)


@pytest.mark.parametrize(
    "text", ["", "!", "bnVsbA", "W10", "WzEsMiwzLDQsNSw2XQ", "é", "W1tbW1tbW1tbW1tb" * 2000]
)
def test_broken_tokens_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        Continue.parse(text)


def test_a_token_of_another_life_of_the_store_is_gone() -> None:
    token = Continue(Incarnation("a"), Revision(1), Key("Network", "t", "s", "n"))
    token.check(Incarnation("a"))
    with pytest.raises(Gone):
        token.check(Incarnation("b"))


def test_a_difference_names_each_field_with_both_sides() -> None:
    before = stored(labels={"a": "1", "b": "2"}, vlan=1, subnets=["10.0.0.0/8"])
    after = stored(labels={"a": "1", "c": "3"}, vlan=2, subnets=["10.0.0.0/8"])
    assert diff_of(before, after) == {
        "labels.b": {"before": "2"},
        "labels.c": {"after": "3"},
        "spec.vlan": {"before": 1, "after": 2},
    }
    assert diff_of(None, stored(vlan=1)) == {"spec": {"after": {"vlan": 1}}}
    assert diff_of(stored(vlan=1), None) == {"spec": {"before": {"vlan": 1}}}
    assert diff_of(stored(vlan=1), stored(vlan=1)) == {}
    assert diff_of(None, None) == {}


def test_a_secret_is_in_no_difference() -> None:
    one, other = stored("Credential", secret="alpha"), stored("Credential", secret="beta")
    for before, after in ((None, one), (one, other), (one, None)):
        found = diff_of(before, after)
        assert found == {"spec": {"changed": True}}
    assert diff_of(one, one) == {}


def test_a_huge_difference_is_cut() -> None:
    found = diff_of(stored(), stored(**{f"f{n}": n for n in range(1000)}))
    assert len(found) == 201
    assert found["…"] == {"truncated": True}


# RFC 7396, appendix A, all of its cases.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_follow_rfc_7396(target, patch, result) -> None:
    assert merge_patch(target, patch) == result


class Says:
    def __init__(self, review: Review) -> None:
        self.says = review

    async def review(self, batch, snapshot) -> Review:
        return self.says


async def test_a_chain_gathers_all_faults_and_all_that_was_read() -> None:
    fault, warning = (Fault(0, FieldError("a", code, code)) for code in ("one", "two"))
    one = Review(faults=(fault,), depends_on=Selection(kinds=frozenset({"Network"})))
    two = Review(
        warnings=(warning,),
        depends_on=Selection(kinds=frozenset({"Site"}), tenants=frozenset({"acme"})),
    )
    batch = Batch((), Caller(CallerKind.PERSON, "user:kim", "Kim"))
    result = await AdmissionChain([Says(one), Says(ACCEPTED), Says(two)]).review(batch, None)
    assert result.faults == (fault,)
    assert result.warnings == (warning,)
    # Of tenants the first read any: so does the whole.
    assert result.depends_on == Selection(kinds=frozenset({"Network", "Site"}))


def test_a_change_is_serialised_once_and_little_is_kept() -> None:
    rendered = RenderedChanges(limit=3000)
    after = stored(vlan=1)
    changes = [
        Change(Revision(number), Operation.PUT, after.key, None, after) for number in range(1, 20)
    ]
    first = rendered.render(changes[0])
    assert json.loads(orjson.dumps([first]))[0]["object"]["spec"] == {"vlan": 1}
    assert rendered.render(changes[0]) is first
    for change in changes:
        rendered.render(change)
    assert sum(size for _, size in rendered._kept.values()) == rendered._size <= 3000
    assert rendered.render(changes[0]) is not first
