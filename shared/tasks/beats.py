"""A stream that is never silent: what a source yields, and a beat whenever it pauses."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, TypeVar

from shared.clock import Clock
from shared.tasks.group import Group

Item = TypeVar("Item")
Beat = TypeVar("Beat")

_END: Final = object()


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
