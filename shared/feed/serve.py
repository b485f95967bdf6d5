"""The server's half of a feed: one bounded outbox per watcher, and a line at least every so often.

Whoever makes changes puts encoded lines into each watcher's Outbox and never waits.  While its
watcher keeps up, an outbox stays empty: lines go straight to the connection (shared.tasks.streams)
and wake nobody.  A watcher that doesn't keep up fills its own outbox; then it is cut off, and
resumes by position.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from shared.clock import Clock
from shared.feed.wire import encode_end, encode_hello
from shared.tasks.streams import LONG, Place, Seat, chunk_of

# Half of the ten seconds within which a follower is promised a word.
BOOKMARK_PERIOD: Final = 5.0

# A guess: a hundred changes of policy.  A thousand watchers that all stand still cost 256 MiB; one
# very large change goes to all of them from one copy.
OUTBOX_BYTES: Final = 256 * 1024
OUTBOX_LINES: Final = 1024

TOO_SLOW: Final = "too_slow"


class Outbox:
    """Encoded lines on their way to one watcher."""

    def __init__(self, *, most_bytes: int = OUTBOX_BYTES, most_lines: int = OUTBOX_LINES) -> None:
        self._most_bytes = most_bytes
        self._most_lines = most_lines
        self._lines: deque[tuple[bytes, ...]] = deque()
        self._size = 0
        self._end: str | None = None
        self._seat: Seat | None = None
        self.arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def is_closed(self) -> bool:
        return self._end is not None

    def sit(self, seat: Seat) -> bool:
        """Send by `seat` what is offered from now on; False if something else comes first."""
        if self._lines or self.is_closed:
            return False
        self._seat = seat
        return True

    def rise(self) -> None:
        """Keep what is offered again, until it is taken."""
        self._seat = None

    def offer(self, *parts: bytes) -> bool:
        """Add a line; return False, and end the stream, if the watcher is too far behind.

        It may be given in parts, which others may share.  An empty outbox takes a line of any
        size.
        """
        if self.is_closed:
            return False
        size = sum(map(len, parts))
        if self._seat is not None:
            if size <= LONG and self._seat.offer(chunk_of(b"".join(parts))):
                return True
            self.rise()
        full = self._size + size > self._most_bytes and self._lines
        if full or len(self._lines) >= self._most_lines:
            self._lines.clear()
            self._size = 0
            self.close(TOO_SLOW)
            return False
        self._lines.append(parts)
        self._size += size
        self.arrived.set()
        return True

    def close(self, reason: str) -> None:
        """End the stream with a last word, after what is in the outbox."""
        if self._end is None:
            self._end = reason
            self.arrived.set()

    def take(self) -> list[bytes]:
        """Return all that waits, the last word included: in one piece, if that isn't long."""
        self.arrived.clear()
        parts = [part for line in self._lines for part in line]
        size = self._size
        self._lines.clear()
        self._size = 0
        if self._end is not None:
            parts.append(encode_end(self._end))
        return [b"".join(parts)] if parts and size <= LONG else parts


async def serve_lines(
    outbox: Outbox,
    *,
    bookmark: Callable[[], bytes],
    clock: Clock,
    period: float = BOOKMARK_PERIOD,
) -> AsyncIterator[bytes | Place]:
    """Yield the greeting, then what comes into the outbox, bookmarks, and places to sit down.

    `bookmark` makes one from the state of now; it is asked only while the outbox is empty.  A
    yield may hold several lines, or a part of a long one.  Ends after the outbox is closed.
    """
    yield encode_hello()
    place = _AtOutbox(outbox, bookmark=bookmark, clock=clock, period=period)
    while True:
        closed = outbox.is_closed
        for piece in outbox.take():
            yield piece
        if closed:
            return
        yield place


class _AtOutbox:
    """Where a watcher sits as long as its outbox can stay empty."""

    def __init__(
        self, outbox: Outbox, *, bookmark: Callable[[], bytes], clock: Clock, period: float
    ) -> None:
        self._outbox = outbox
        self._bookmark = bookmark
        self._clock = clock
        self._period = period

    async def take(self, seat: Seat) -> None:
        if not self._outbox.sit(seat):
            return
        try:
            while not await self._clock.wait(self._outbox.arrived, self._period):
                self._outbox.offer(self._bookmark())
        finally:
            self._outbox.rise()
