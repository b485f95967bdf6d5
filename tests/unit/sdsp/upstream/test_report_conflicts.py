"""What goes upwards of conflicts: when it may be said, what of it, and that it fits."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest

from fsm.feed.acks import with_known_conflicts
from fsm.feed.handlers import REPORT_LIMIT
from fsm.feed.reports import Report
from sdsp.conflicts.upward import MOST_SETTLED, upward
from sdsp.upstream.apply import CHANGED, FEED
from sdsp.upstream.report import MOST, fitted
from shared.ids import Generation, Key, Revision
from shared.store.contract import Stored
from tests.fakes.store import MemoryTransaction
from tests.unit.sdsp.compiled import AT, World, compiled
from tests.unit.sdsp.world import NOW, key, write

CONFLICT = key("Conflict", "edited-both-p-1")
SPEC: dict[str, Any] = {
    "type": "edited_both",
    "target": {"kind": "SecurityPolicy", "name": "p"},
    "urgency": "immediate",
    "local": {"rules": [{"cidr": "10.66.0.0/24"}]},
    "facts": {"reason": "secret words"},
}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with compiled() as found:
        yield found


async def taken_over(world: World) -> int:
    """Note, as the feed does, that what is planned was taken over just now."""
    async with world.store.snapshot() as snapshot:
        revision = snapshot.position.revision

    async def work(transaction: MemoryTransaction) -> None:
        await transaction.put_record(FEED, CHANGED, {"local": revision})

    await world.store.transact(work)
    return revision


async def test_conflicts_are_told_by_name_and_never_by_what_they_say(world: World) -> None:
    await write(world.store, {CONFLICT: SPEC})
    world.judged = Revision(await taken_over(world))
    report = await world.told()
    (said,) = report["conflicts"]["unsettled"]
    assert report["conflicts"]["judged"] == AT.revision
    assert {name: said[name] for name in ("name", "urgency", "state", "type")} == {
        "name": "edited-both-p-1",
        "urgency": "immediate",
        "state": "open",
        "type": "edited_both",
    }
    assert (report["counts"]["conflictsOpen"], report["counts"]["conflictsImmediate"]) == (1, 1)
    text = orjson.dumps(report).decode()
    assert "10.66" not in text
    assert "secret words" not in text
    Report.model_validate(report)


async def test_nothing_is_said_of_conflicts_before_what_was_taken_over_is_judged(
    world: World,
) -> None:
    """No conflicts, said too early, would be a lie that looks like good news."""
    revision = await taken_over(world)
    for judged in (None, Revision(revision - 1)):
        world.judged = judged
        world.is_connected = False
        await world.task.reconcile()
        world.is_connected = True
        assert (await world.told())["conflicts"] == {"judged": None}
    world.judged = Revision(revision)
    assert (await world.told())["conflicts"]["unsettled"] == []


async def test_an_older_fsm_is_told_all_but_what_it_does_not_know(world: World) -> None:
    world.upstream.unknown = frozenset({"conflicts"})
    report = await world.told()
    assert "conflicts" not in report
    assert report["policies"]
    await world.task.reconcile()
    assert len(world.upstream.sent) == 1, "said once"

    # It is upgraded, and so there is another connection.
    world.upstream.unknown = frozenset()
    world.is_connected = False
    await world.task.reconcile()
    world.is_connected = True
    assert "conflicts" in await world.told()


def test_what_is_not_judged_yet_keeps_what_was_said_before() -> None:
    known = {"judged": 7, "unsettled": [{"name": "c"}], "settled": []}
    before = with_known_conflicts(None, {"conflicts": known})
    later = with_known_conflicts(before, {"conflicts": {"judged": None, "unsettled": []}})
    assert later["conflicts"] == {**known, "pending": True}
    again = with_known_conflicts(later, {"conflicts": {**known, "judged": 9}})
    assert (again["conflicts"]["judged"], again["conflicts"]["pending"]) == (9, False)
    # A site of an older release tells of none, and nothing is made up for it.
    assert with_known_conflicts(before, {"policies": []}) == {"policies": []}


def stored(number: int, **fields: Any) -> Stored:
    name = f"{'n' * 200}-{number:06}"
    return Stored(
        key=Key("Conflict", "common", "site", name),
        uid=str(number),
        spec={**SPEC, "target": {"kind": "SecurityPolicy", "name": "p" * 250}, **fields},
        labels={},
        annotations={},
        origin=None,
        revision=Revision(number + 1),
        generation=Generation(1),
        created_at=NOW,
        updated_at=NOW + timedelta(seconds=number),
    )


def many() -> Iterator[Stored]:
    for number in range(20_000):
        yield stored(number, urgency="normal")
    yield stored(20_000)
    for number in range(1000):
        yield stored(30_000 + number, state="resolved")


def test_of_more_conflicts_than_the_fsm_takes_the_most_pressing_are_told() -> None:
    report = {
        "position": AT.to_json(),
        "policies": [],
        "exceptions": [],
        "held": [],
        "counts": {},
        "conflicts": upward(many(), judged=9),
    }
    data = orjson.dumps(fitted(report))
    assert len(data) < REPORT_LIMIT
    said = Report.model_validate(orjson.loads(data))
    assert said.conflicts is not None
    assert said.conflicts.unsettled[0].urgency == "immediate"
    assert 1000 < len(said.conflicts.unsettled) <= MOST
    assert said.counts["allConflicts"] == 20_001
    assert said.counts["conflictsOpen"] == 20_001
    assert len(said.conflicts.settled) == MOST_SETTLED
    assert said.conflicts.settled[0].name.endswith("030999"), "the newest first"
