"""What is found is held against what is known; only what is out of date waits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sdsp.conflicts.deadlines import ConflictSettings, Deadlines
from sdsp.conflicts.standing import Change, changes, key_of
from shared.ids import Generation, Revision
from shared.policy.conflicts.contract import Finding
from shared.policy.definitions import Name
from shared.store.contract import Stored

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEADLINES = Deadlines(ConflictSettings())
FOUND = Finding("unresolved_name", Name("SecurityPolicy", "common", "p"), "network:A")


def stored(revision: int, **fields: Any) -> Stored:
    """The conflict that was found, as it was last written."""
    (opened,) = changes([FOUND], [], seen_at=1, now=NOW, deadlines=DEADLINES)
    return Stored(
        key=key_of(FOUND),
        uid="u",
        spec={**opened.draft.spec, **fields},
        labels={},
        annotations={},
        origin=None,
        revision=Revision(revision),
        generation=Generation(1),
        created_at=NOW,
        updated_at=NOW,
    )


def after(*found: Finding, known: Stored, seen_at: int, now: datetime = NOW) -> list[Change]:
    return list(changes(found, [known], seen_at=seen_at, now=now, deadlines=DEADLINES))


def deferred(revision: int) -> Stored:
    until = (NOW + timedelta(hours=1)).isoformat()
    put_off = {"until": until, "by": "user:admin", "reason": "later"}
    return stored(revision, state="deferred", deferred=put_off)


def test_one_that_was_put_off_is_open_in_time_though_nothing_else_is_written() -> None:
    """Regression: it waited for the site's next change, since the deferral is younger than that."""
    known = deferred(revision=7)
    assert after(FOUND, known=known, seen_at=5) == []
    (change,) = after(FOUND, known=known, seen_at=5, now=NOW + timedelta(hours=1))
    assert change.action == "reopened"
    assert "deferred" not in change.draft.spec


def test_one_that_went_while_it_was_written_is_closed() -> None:
    """Regression: what was opened after the change that ended it stayed open until the next."""
    (change,) = after(known=stored(revision=7), seen_at=6)
    assert change.action == "closed"


def test_findings_from_before_a_decision_do_not_open_it_again() -> None:
    decision = {"proposal": "keepLocal", "by": "user:admin", "at": NOW.isoformat(), "reason": "x"}
    known = stored(7, state="resolved", decision=decision)
    assert after(FOUND, known=known, seen_at=6) == []
    (change,) = after(FOUND, known=known, seen_at=7)
    assert change.action == "reopened"


def noted(**fields: Any) -> dict[str, Any]:
    return {"by": "user:admin", "at": NOW.isoformat(), "reason": "x", **fields}


def test_what_somebody_took_note_of_stays_settled_as_long_as_it_says_the_same() -> None:
    decision = noted(proposal="keepLocal", acknowledges=True)
    known = stored(7, state="resolved", decision=decision)
    assert after(FOUND, known=known, seen_at=9) == []
    (change,) = after(replace(FOUND, facts={"rules": ["r"]}), known=known, seen_at=9)
    assert change.action == "reopened"
    assert "decision" not in change.draft.spec
    # Gone, there is nothing to close.
    assert after(known=known, seen_at=9) == []


def test_findings_from_before_a_decision_was_taken_back_do_not_close_it() -> None:
    known = stored(9, undone=noted(proposal="acceptGlobal"))
    assert after(known=known, seen_at=8) == []
    assert after(FOUND, known=known, seen_at=8) == []
    (change,) = after(known=known, seen_at=9)
    assert change.action == "closed"
    # Saying something else, it is none of whose decision was taken back.
    (change,) = after(replace(FOUND, facts={"rules": ["r"]}), known=known, seen_at=9)
    assert (change.action, "undone" in change.draft.spec) == ("changed", False)
