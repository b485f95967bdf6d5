"""Overrides expire by themselves, once, and with a record."""

from datetime import timedelta
from typing import Any

import pytest

from sdsp.overrides import EXPIRED
from sdsp.steady import SteadyTime
from sdsp.tasks.expire_overrides import ExpireOverrides
from shared.store.contract import Draft
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore, MemoryTransaction
from tests.unit.sdsp.world import NOW, key

O = key("Override", "o")  # noqa: E741 - the override
TARGET = {"kind": "SecurityPolicy", "name": "p"}


async def put(
    store: MemoryStore, annotations: dict[str, str] | None = None, **hours: float
) -> None:
    ends = (NOW + timedelta(**hours)).isoformat()
    spec: dict[str, Any] = {"target": TARGET, "reason": "r", "spec": {}, "expiresAt": ends}

    async def work(transaction: MemoryTransaction) -> None:
        await transaction.put(Draft(O, spec, annotations=annotations or {}))

    await store.transact(work)


class World:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = VirtualClock()
        self.task = ExpireOverrides(self.store, now=SteadyTime(self.clock).now)

    async def passes(self) -> int:
        return (await self.task.reconcile()).changed

    def expired(self) -> list[str]:
        return [each.action for each in self.store.audits]


@pytest.fixture
def world() -> World:
    return World()


async def test_an_override_expires_at_its_time_once_and_with_a_record(world: World) -> None:
    await put(world.store, hours=1)
    world.clock.advance(3599)
    assert await world.passes() == 0
    world.clock.advance(1)
    assert await world.passes() == 1
    assert await world.passes() == 0
    assert world.store.objects[O].annotations[EXPIRED] == world.clock.now().isoformat()
    assert world.expired() == ["override.expire"]
    assert world.store.at.revision == 2


async def test_an_override_with_a_later_end_expires_again(world: World) -> None:
    await put(world.store, hours=1)
    world.clock.advance(3600)
    await world.passes()
    mark = world.store.objects[O].annotations
    await put(world.store, dict(mark), hours=2)
    assert await world.passes() == 0
    world.clock.advance(3600)
    assert await world.passes() == 1


async def test_an_override_never_expires_early_because_the_clock_leapt(world: World) -> None:
    await put(world.store, hours=1)
    world.clock.jump(365 * 86400)
    assert await world.passes() == 0
    world.clock.jump(-365 * 86400)
    world.clock.advance(3600)
    assert await world.passes() == 1


@pytest.mark.parametrize(
    "mark", ["", "soon", "2026-01-01", "2126-01-01T00:00:00+00:00", "2026-01-01T02:00:00"]
)
async def test_a_mark_of_a_persons_own_neither_hides_an_expiry_nor_breaks_the_task(
    mark: str, world: World
) -> None:
    await put(world.store, {EXPIRED: mark}, hours=1)
    world.clock.advance(3600)
    assert await world.passes() == 1
    assert await world.passes() == 0
