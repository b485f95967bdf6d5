"""What is indexed of an audit record."""

from datetime import UTC, datetime

from shared.ids import Key
from shared.store.contract import AuditRecord
from shared.store.search import words_of

RECORD = AuditRecord(
    at=datetime(2026, 1, 1, tzinfo=UTC),
    request_id="R-1",
    identity="user:Ada",
    action="update",
    outcome="ok",
    key=Key("Network", "common", "region/west", "web_1"),
    diff={"spec.a": {"before": None, "after": [True, 10, {"x": "Überall\x00\n"}]}},
)


def test_words_are_letters_and_digits_in_lower_case() -> None:
    assert words_of(RECORD) == (
        "user ada update ok network common region west web 1 r 1 "
        "spec a before after true 10 x überall"
    )


def test_words_are_bounded() -> None:
    huge = AuditRecord(RECORD.at, "r", "i", "a", "o", diff={"x": "word " * 100_000 + "y" * 10_000})
    words = words_of(huge).split()
    assert len(words) == 20_000
    longest = AuditRecord(RECORD.at, "r", "i", "a", "y" * 10_000)
    assert max(map(len, words_of(longest).split())) == 200
