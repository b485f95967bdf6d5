"""When exceptions are announced, on a clock that the test moves."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from sdsp.tasks.announce_expiries import AnnounceExpiries
from shared.ids import COMMON, FEDERATION, SITE, Key
from shared.metrics.names import Metrics
from shared.model.inventory import Site
from shared.model.override import Override
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, Documents, SiteInputs
from shared.store.contract import Draft
from shared.telemetry.journal import recent_events
from shared.telemetry.signals import Event
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore, MemoryTransaction

DAY = 86_400.0
KEY = Key("Override", COMMON, SITE, "line-7")


class World:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = VirtualClock()
        self.spec: dict[str, Any] = {}

    async def write(self, expires_at: datetime | None) -> None:
        self.spec = {
            "target": {"kind": "SecurityPolicy", "name": "p"},
            "reason": "line 7",
            "spec": {"rules": [{"name": "r", "from": "any", "to": "any", "action": "allow"}]},
        }
        if expires_at is not None:
            self.spec["expiresAt"] = expires_at.isoformat()

        async def work(transaction: MemoryTransaction) -> None:
            await transaction.put(Draft(KEY, self.spec))

        await self.store.transact(work)

    async def passes(self) -> list[Event]:
        """Make two passes of a task that has just begun; return all events, the first first."""
        document = Document(KEY, Override.model_validate(self.spec), {})
        site = Document(Key("Site", COMMON, FEDERATION, "s1"), Site(), {})
        inputs = SiteInputs("s1", Documents([site]), Documents([document]), self.clock.now())
        newest = SimpleNamespace(planner=SitePlanner(inputs))
        with ThreadPoolExecutor(1) as executor:
            task: Any = AnnounceExpiries(
                self.store,
                newest=lambda: newest,
                now=self.clock.now,
                executor=executor,
                metrics=Metrics(),
            )
            await task.reconcile()
            await task.reconcile()
        async with self.store.snapshot() as snapshot:
            return list(reversed(await recent_events(snapshot)))


@pytest.fixture
def world() -> World:
    return World()


async def test_it_is_announced_a_week_before_and_a_day_before_once_each(world: World) -> None:
    await world.write(world.clock.now() + timedelta(days=8))
    counts = []
    for _ in range(20):
        counts.append(len(await world.passes()))
        world.clock.advance(DAY / 2)
    assert counts == [0, 0] + [1] * 12 + [2] * 6


async def test_one_that_is_written_shortly_before_its_end_is_announced_once(world: World) -> None:
    await world.write(world.clock.now() + timedelta(hours=3))
    assert len(await world.passes()) == 1
    world.clock.advance(3600)
    assert len(await world.passes()) == 1


async def test_another_end_is_announced_for_itself_and_no_end_never(world: World) -> None:
    first = world.clock.now() + timedelta(days=5)
    await world.write(first)
    await world.passes()
    await world.write(first + timedelta(days=1))
    assert [each.fields["expiresAt"] for each in await world.passes()] == [
        first.isoformat(),
        (first + timedelta(days=1)).isoformat(),
    ]
    await world.write(None)
    assert len(await world.passes()) == 2
