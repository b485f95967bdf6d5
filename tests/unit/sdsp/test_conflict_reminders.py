"""By when conflicts are to be decided, and who is told when; on a clock that a test moves."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sdsp.conflicts.deadlines import ConflictSettings, Deadlines, due
from sdsp.conflicts.remind import MANY, SPACE, RemindOfConflicts
from sdsp.conflicts.standing import changes
from sdsp.settings import load
from shared.metrics.names import Metrics
from shared.policy.conflicts.contract import Finding
from shared.policy.definitions import Name
from shared.store.contract import Draft, Stored
from shared.telemetry.journal import recent_events
from shared.telemetry.signals import Event
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore, MemoryTransaction

DEADLINES = Deadlines(ConflictSettings())
HOUR = 3600.0


def finding(name: str = "p", *, urgency: Any = "immediate", **facts: Any) -> Finding:
    target = Name("SecurityPolicy", facts.pop("tenant", "common"), name)
    return Finding("unresolved_name", target, "network:A", urgency=urgency, facts=facts)


class World:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = VirtualClock()
        self.restart()

    def restart(self) -> None:
        self.task = RemindOfConflicts(self.store, clock=self.clock, metrics=Metrics())

    async def found(self, *found: Finding) -> None:
        async def work(transaction: MemoryTransaction) -> None:
            known = await transaction.list()
            now = self.clock.now()
            for each in changes(found, known, seen_at=10**6, now=now, deadlines=DEADLINES):
                await transaction.put(each.draft)

        await self.store.transact(work)

    async def write(self, **fields: Any) -> None:
        async def work(transaction: MemoryTransaction) -> None:
            (each,) = await transaction.list()
            await transaction.put(Draft(each.key, {**each.spec, **fields}))

        await self.store.transact(work)

    @property
    def conflict(self) -> Stored:
        (found,) = self.store.objects.values()
        return found

    async def passes(self) -> int:
        return (await self.task.reconcile()).changed

    async def events(self) -> list[Event]:
        async with self.store.snapshot() as snapshot:
            return list(await recent_events(snapshot))


@pytest.fixture
def world() -> World:
    return World()


async def test_people_are_reminded_at_half_of_the_time_and_when_it_is_over_once_each(
    world: World,
) -> None:
    await world.found(finding())
    assert await world.passes() == 0
    world.clock.advance(2 * HOUR)
    assert await world.passes() == 1
    assert await world.passes() == 0
    world.restart()
    assert await world.passes() == 0
    world.clock.advance(2 * HOUR)
    assert await world.passes() == 1
    world.restart()
    assert await world.passes() == 0
    late, soon = await world.events()
    assert (soon.type, soon.severity) == ("conflict.due_soon", "warning")
    assert (late.type, late.severity) == ("conflict.overdue", "critical")
    assert late.object == world.conflict.key


async def test_who_was_down_at_half_of_the_time_tells_only_that_it_is_over(world: World) -> None:
    await world.found(finding())
    world.clock.advance(5 * HOUR)
    assert await world.passes() == 1
    assert [each.type for each in await world.events()] == ["conflict.overdue"]


async def test_nobody_is_reminded_of_what_is_put_off_or_settled(world: World) -> None:
    await world.found(finding())
    world.clock.advance(5 * HOUR)
    until = (world.clock.now() + timedelta(days=1)).isoformat()
    put_off = {"until": until, "by": "user:a", "reason": "r"}
    await world.write(state="deferred", deferred=put_off)
    assert await world.passes() == 0
    world.clock.advance(24 * HOUR)
    await world.found(finding())
    assert await world.passes() == 1
    await world.found()
    assert world.conflict.spec["state"] == "resolved"
    assert await world.passes() == 0


async def test_of_a_settled_conflict_nothing_is_remembered_and_a_new_one_counts_anew(
    world: World,
) -> None:
    await world.found(finding())
    world.clock.advance(5 * HOUR)
    await world.passes()
    await world.found()
    await world.passes()
    async with world.store.snapshot() as snapshot:
        assert await snapshot.records(SPACE) == {}
    await world.found(finding())
    assert await world.passes() == 0
    world.clock.advance(4 * HOUR)
    assert await world.passes() == 1


async def test_of_many_there_is_one_event_for_all(world: World) -> None:
    await world.found(*(finding(f"p{number}") for number in range(MANY + 1)))
    world.clock.advance(5 * HOUR)
    assert await world.passes() == 1
    (event,) = await world.events()
    assert event.message == f"{MANY + 1} conflicts are overdue: hanse conflicts list"
    assert await world.passes() == 0


async def test_the_server_s_journal_names_no_tenant_s_conflict(world: World) -> None:
    await world.found(finding(tenant="rival"))
    world.clock.advance(5 * HOUR)
    await world.passes()
    (event,) = await world.events()
    assert event.object is None
    assert "rival" not in str(event.to_json())


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_deadline_is_kept_when_the_conflict_says_something_else(world: World) -> None:
    await world.found(finding(urgency="normal"))
    opened = at(world.conflict.spec["deadline"])
    assert opened == world.clock.now() + timedelta(days=7)
    world.clock.advance(HOUR)
    await world.found(finding(urgency="normal", rules=["r"]))
    assert world.conflict.spec["facts"]["rules"] == ["r"]
    assert at(world.conflict.spec["deadline"]) == opened
    # More urgent, the sooner counts; less urgent again, nobody gets more time.
    await world.found(finding())
    sooner = world.clock.now() + timedelta(hours=4)
    assert at(world.conflict.spec["deadline"]) == sooner
    await world.found(finding(urgency="deferrable"))
    assert at(world.conflict.spec["deadline"]) == sooner
    # Gone and back, it is a new matter.
    await world.found()
    await world.found(finding(urgency="deferrable"))
    assert at(world.conflict.spec["deadline"]) == world.clock.now() + timedelta(days=30)


async def test_a_conflict_of_an_earlier_release_is_given_a_deadline_once(world: World) -> None:
    await world.found(finding())
    known = {
        name: value
        for name, value in world.conflict.spec.items()
        if name not in ("since", "deadline")
    }

    async def work(transaction: MemoryTransaction) -> None:
        await transaction.put(Draft(world.conflict.key, known))

    await world.store.transact(work)
    await world.found(finding())
    revision = world.conflict.revision
    assert due(world.conflict.spec, world.clock.now() + timedelta(hours=4)) == "overdue"
    await world.found(finding())
    assert world.conflict.revision == revision


def test_a_site_has_its_own_spans() -> None:
    now = VirtualClock().now()
    own = Deadlines(ConflictSettings(immediate=60.0))
    assert at(own.of_new("immediate", now)["deadline"]) == now + timedelta(minutes=1)


def test_the_spans_are_settings_of_the_site(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("conflicts: {immediate: 3600}\n")
    found = load(tmp_path, {"HANSE_SDSP_CONFLICTS__NORMAL": "7200"}).conflicts
    assert (found.immediate, found.normal, found.deferrable) == (3600, 7200, 30 * 86400)
