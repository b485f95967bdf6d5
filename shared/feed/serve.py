"""The server's half of a feed: one bounded outbox per watcher, and a line at least every so often.

Whoever makes changes puts encoded lines into each watcher's Outbox and never waits.  A watcher
that doesn't keep up fills its own outbox; then it is cut off, and resumes by position.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from shared.clock import Clock
from shared.feed.wire import encode_end, encode_hello

# Half of the ten seconds within which a follower is promised a word.
BOOKMARK_PERIOD: Final = 5.0

# A guess: a few hundred changes of policy, or one very large one, for each of 1,000 watchers.
OUTBOX_BYTES: Final = 8 * 1024 * 1024
OUTBOX_LINES: Final = 1024

TOO_SLOW: Final = "too_slow"


class Outbox:
    """Encoded lines on their way to one watcher."""

    def __init__(self, *, most_bytes: int = OUTBOX_BYTES, most_lines: int = OUTBOX_LINES) -> None:
        self._most_bytes = most_bytes
        self._most_lines = most_lines
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._end: str | None = None
        self.arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def is_closed(self) -> bool:
        return self._end is not None

    def offer(self, line: bytes) -> bool:
        """Add a line; return False, and end the stream, if the watcher is too far behind.

        An empty outbox takes a line of any size.
        """
        if self.is_closed:
            return False
        full = self._size + len(line) > self._most_bytes and self._lines
        if full or len(self._lines) >= self._most_lines:
            self._lines.clear()
            self._size = 0
            self.close(TOO_SLOW)
            return False
        self._lines.append(line)
        self._size += len(line)
        self.arrived.set()
        return True

    def close(self, reason: str) -> None:
        """End the stream with a last word, after what is in the outbox."""
        if self._end is None:
            self._end = reason
            self.arrived.set()

    def take(self) -> bytes | None:
        """Return all that waits, the last word included; None if there is nothing."""
        self.arrived.clear()
        parts = list(self._lines)
        self._lines.clear()
        self._size = 0
        if self._end is not None:
            parts.append(encode_end(self._end))
        return b"".join(parts) or None


async def serve_lines(
    outbox: Outbox,
    *,
    bookmark: Callable[[], bytes],
    clock: Clock,
    period: float = BOOKMARK_PERIOD,
) -> AsyncIterator[bytes]:
    """Yield the greeting, then what comes into the outbox, and bookmarks while it is quiet.

    `bookmark` makes one from the state of now; it is asked only while the outbox is empty.  A
    yield may hold several lines.  Ends after the outbox is closed.
    """
    yield encode_hello()
    while True:
        if not await clock.wait(outbox.arrived, period):
            yield bookmark()
            continue
        closed = outbox.is_closed
        lines = outbox.take()
        if lines is not None:
            yield lines
        if closed:
            return
