"""Streams that end when they are left, that are never silent, and that many may share.

A source of lines may yield a Place instead of a line: from there on lines are the same for many
readers, and whoever makes them writes them, ready, to each reader's connection.  No reader's task
is woken for it.  A reader that is slow, or for whom something else must be said, gets up from its
seat and is served by its own iterator again.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeVar

from shared.clock import Clock
from shared.tasks.group import Group

Item = TypeVar("Item")
Beat = TypeVar("Beat")

_END: Final = object()

LONG: Final = 64 * 1024
"""Bytes.  Longer lines are never written ready: each reader takes them in pieces, as it can."""


class Seat(Protocol):
    """A reader's connection, as those see it who write to many."""

    def offer(self, chunk: bytes) -> bool:
        """Send what chunk_of() made; False, and nothing sent, if that can't or mustn't be now."""


class Place(Protocol):
    """What an iterator of lines yields where its reader may sit down."""

    async def take(self, seat: Seat) -> None:
        """Have lines sent by `seat` until it refuses one; then the iterator goes on from there."""


def chunk_of(lines: bytes) -> bytes:
    """Return whole lines as one chunk of the chunked coding (RFC 9112 §7.1)."""
    return b"%x\r\n%b\r\n" % (len(lines), lines)


class Standing:
    """The seat of a reader that takes lines from its iterator only."""

    def offer(self, chunk: bytes) -> bool:  # noqa: ARG002 - a Seat's, and it takes nothing
        return False


async def only_lines(source: AsyncIterator[bytes | Place]) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a source, whole, and wait where others would sit down."""
    begun: list[bytes] = []
    async with closing(source):
        async for each in source:
            if not isinstance(each, bytes):
                await each.take(Standing())
                continue
            begun.append(each)
            if each.endswith(b"\n"):
                yield b"".join(begun)
                begun.clear()


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
