"""Streams that end when they are left, and that are never silent."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from shared.clock import Clock
from shared.tasks.group import Group

Item = TypeVar("Item")
Beat = TypeVar("Beat")

_END: Final = object()


@asynccontextmanager
async def closing(source: AsyncIterator[Item]) -> AsyncIterator[AsyncIterator[Item]]:
    """Yield `source`, and close it on leaving if it can be closed.

    A generator that is merely dropped is closed when the collector finds it, and until then holds
    what it holds: a place among the watchers, a connection.
    """
    try:
        yield source
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def with_beats(
    source: AsyncIterator[Item], beat: Beat, *, period: float, clock: Clock
) -> AsyncGenerator[Item | Beat, None]:
    """Yield what `source` yields, and `beat` after each `period` seconds without anything.

    The source is asked for at most one item ahead.  Close the generator (aclose) in the task
    that iterates over it.
    """
    ready = asyncio.Event()
    taken = asyncio.Event()
    items: list[Item | object] = []

    async def pump() -> None:
        async with closing(source):
            async for item in source:
                items.append(item)
                ready.set()
                await taken.wait()
                taken.clear()
        items.append(_END)
        ready.set()

    async with Group() as group:
        group.start(pump(), name="pump")
        while True:
            if not await clock.wait(ready, period):
                yield beat
                continue
            ready.clear()
            item = items.pop()
            if item is _END:
                return
            taken.set()
            yield item  # type: ignore[misc]  # all but _END are the source's
