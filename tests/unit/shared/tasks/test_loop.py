import asyncio
import logging
import random
from collections.abc import Callable

import pytest

from shared.backoff import Backoff
from shared.errors import Unavailable
from shared.tasks.group import Group
from shared.tasks.loop import Loop, Outcome
from tests.fakes.clock import VirtualClock


class Scripted:
    """Does in each pass what the script says next, the last step for ever."""

    name = "scripted"

    def __init__(self, *script: Outcome | Exception) -> None:
        self.script = list(script)
        self.passes = 0
        self.during: Callable[[], None] = lambda: None

    async def reconcile(self) -> Outcome:
        self.passes += 1
        self.during()
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return step


def looped(reconciler: Scripted, clock: VirtualClock, *, settle: float = 0.0) -> Loop:
    backoff = Backoff(first=4.0, longest=4.0, source=random.Random(1))
    return Loop(reconciler, period=60.0, settle=settle, backoff=backoff, clock=clock)


async def test_a_pass_is_made_at_once_and_then_every_period() -> None:
    clock, reconciler = VirtualClock(), Scripted(Outcome())
    async with Group() as group:
        group.start(looped(reconciler, clock).run(), name="loop")
        await clock.sleepers()
        assert reconciler.passes == 1
        await clock.pass_time(59)
        assert reconciler.passes == 1
        await clock.pass_time(122)
        assert reconciler.passes == 4


async def test_a_burst_of_activations_is_one_pass() -> None:
    clock, reconciler = VirtualClock(), Scripted(Outcome())
    loop = looped(reconciler, clock, settle=1.0)
    async with Group() as group:
        group.start(loop.run(), name="loop")
        await clock.sleepers()
        for _ in range(10):
            loop.activate()
            await asyncio.sleep(0)
        await clock.pass_time(2)
        assert reconciler.passes == 2


async def test_a_change_during_a_pass_causes_another_pass() -> None:
    clock, reconciler = VirtualClock(), Scripted(Outcome())
    loop = looped(reconciler, clock)

    def once() -> None:
        if reconciler.passes == 1:
            loop.activate()

    reconciler.during = once
    async with Group() as group:
        group.start(loop.run(), name="loop")
        await clock.pass_time(1)
        assert reconciler.passes == 2


async def test_a_failing_pass_is_retried_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock = VirtualClock()
    reconciler = Scripted(
        Unavailable("the store is away"), ValueError("a bug"), Outcome(failed={"a": "b"}), Outcome()
    )
    loop = looped(reconciler, clock)
    async with Group() as group:
        group.start(loop.run(), name="loop")
        await clock.sleepers()
        assert loop.status.failing
        await clock.pass_time(20)

    assert reconciler.passes == 4
    assert not loop.status.failing
    assert loop.status.finished_at is not None
    assert [record.message for record in caplog.records] == [
        "reconciling fails, will retry",
        "reconciling recovered",
    ]


async def test_cancelling_ends_a_loop() -> None:
    clock = VirtualClock()
    loop = looped(Scripted(Outcome()), clock)
    async with Group() as group:
        task = group.start(loop.run(), name="loop")
        await clock.sleepers()
        task.cancel()
        await group.wait()
        assert task.cancelled()
