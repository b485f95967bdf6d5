import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.tasks.group import Group
from shared.tasks.streams import closing, with_beats
from tests.fakes.clock import VirtualClock


async def test_a_silent_source_gets_beats_and_loses_nothing() -> None:
    clock = VirtualClock()
    gate = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        yield 1
        await gate.wait()
        yield 2
        yield 3

    heard: list[object] = []
    beats = with_beats(source(), "beat", period=5.0, clock=clock)

    async def listen() -> None:
        async for each in beats:
            heard.append(each)  # noqa: PERF401 - it is read while it grows

    async with Group() as group:
        group.start(listen(), name="listen")
        await clock.pass_time(11)
        assert heard == [1, "beat", "beat"]
        gate.set()
        await clock.pass_time(1)
        await group.wait()
    assert heard == [1, "beat", "beat", 2, 3]


async def test_closing_the_stream_closes_its_source() -> None:
    closed = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    beats = with_beats(source(), 0, period=5.0, clock=VirtualClock())
    assert await anext(beats) == 1
    await beats.aclose()
    assert closed.is_set()


async def test_an_error_of_the_source_comes_through() -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        raise ValueError("broken")

    beats = with_beats(source(), 0, period=5.0, clock=VirtualClock())
    assert await anext(beats) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(beats)


async def test_a_source_that_is_left_early_is_closed() -> None:
    closed = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.set()

    async with closing(source()) as items:
        async for _ in items:
            break
    assert closed.is_set()
