"""The tests' clock does what the real one does, when told to."""

import asyncio

from tests.fakes.clock import VirtualClock


async def test_who_sleeps_wakes_when_the_time_has_come() -> None:
    clock = VirtualClock()
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleep("long", 5))
        group.create_task(sleep("short", 2))
        await group.create_task(sleep("none", 0))
        await clock.sleepers(2)
        assert clock.deadlines == [2, 5]
        clock.advance(1.5)
        assert woken == [("none", 0)]
        await clock.pass_time(10)
    assert woken == [("none", 0), ("short", 2), ("long", 5)]
    assert clock.monotonic() == 11.5


async def test_an_event_ends_a_wait_and_time_does_too() -> None:
    clock = VirtualClock()
    event = asyncio.Event()
    waits = [asyncio.ensure_future(clock.wait(event, seconds)) for seconds in (1, 3, None)]
    await clock.sleepers(2)
    clock.advance(1)
    assert await waits[0] is False
    event.set()
    assert await waits[1] is True
    assert await waits[2] is True
    assert clock.deadlines == []
    assert await clock.wait(event, 0) is True
    event.clear()
    assert await clock.wait(event, 0) is False


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = VirtualClock()
    task = asyncio.ensure_future(clock.sleep(1))
    await clock.sleepers()
    task.cancel()
    await asyncio.wait([task])
    assert clock.deadlines == []
    assert task.cancelled()


async def test_the_wall_clock_may_jump_and_nobody_wakes() -> None:
    clock = VirtualClock()
    before = clock.now()
    clock.jump(-3600)
    assert (clock.now() - before).total_seconds() == -3600
    assert clock.monotonic() == 0
