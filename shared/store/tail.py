"""The end of the log, read once per process and shared by all its watchers.

Whoever waits for news while nobody else looks, looks: it reads the counter when a hint comes (a
commit of this process, a NOTIFY) or 50 ms have passed, and each new commit once.  Hints may be
lost; the counter is what counts.  A bounded ring of recent commits is kept: a watcher has no
buffer of its own, just a position, and one that falls behind the ring reads from the database.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from shared.clock import Clock
from shared.errors import Gone, Unavailable
from shared.store import looking, reading
from shared.store.contract import Commit, Position
from shared.store.engine import Database
from shared.store.mapping import text_size
from shared.store.notify import Listener

log = logging.getLogger(__name__)

PERIOD: Final = 0.05
"""Seconds between two reads of the counter."""
RING_CHANGES: Final = 8192
"""Changes kept, in whole commits; the last commit is kept whatever its size."""
RING_BYTES: Final = 8 << 20
"""Of JSON text kept likewise; a guess: what a few thousand changes of policy have."""
OVERHEAD: Final = 1000
"""Bytes that a change counts besides its text."""


class Tail:
    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._listener = Listener(database, heard=self.hint, clock=clock)
        self._ring: deque[Commit] = deque()
        self._sizes: deque[int] = deque()
        self._changes = self._bytes = 0
        self._floor = 0
        self._head: Position | None = None
        self._status = 0
        self._read_at = float("-inf")
        self._hint = asyncio.Event()
        self._elsewhere = False
        self._waiters: dict[asyncio.Event, Callable[[], bool]] = {}
        self._looking = False
        self._failing = False
        self._end: Gone | Unavailable | None = None

    @property
    def revision(self) -> int:
        """The last revision known here."""
        return self._head.revision if self._head else 0

    @property
    def status(self) -> int:
        """The last status sequence known here."""
        return self._status

    @property
    def read_at(self) -> float:
        """When the counter was last read, by the monotonic clock."""
        return self._read_at

    def hint(self) -> None:
        """Say that there may be news which only the database knows."""
        self._elsewhere = True
        self._hint.set()

    def start(self, position: Position, status: int) -> None:
        """Begin at a position just read, if this is the first."""
        if self._head is None:
            self._head = position
            self._floor = position.revision
            self._status = status
        elif position.revision > self._head.revision or status > self._status:
            self.hint()

    def publish(self, base: Position, commits: Sequence[Commit], status: int) -> None:
        """Take in this process's own commits, which follow `base`, without reading them back."""
        if self._head is not None and base == self._head:
            self._append(commits)
            self._status = max(self._status, status)
            # Under the commit's lock the counter was what is known here.
            self._read_at = self._clock.monotonic()
            self._tell()
            self._hint.set()
        else:
            self.hint()

    def close(self) -> None:
        self._end = Unavailable("the store has been closed", code="store_closed")
        self._listener.close()
        self.hint()
        self._tell()

    def since(self, after: int, limit: int) -> list[Commit] | None:
        """Return the next commits after a revision; None if the ring doesn't reach back so far."""
        if after < self._floor:
            return None
        missing = self.revision - after
        if missing <= 0:
            return []
        first = len(self._ring) - missing
        return list(islice(self._ring, first, first + limit))

    async def wait(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Wait, at most `seconds`, until `ready()` of what is known here; say whether it is.

        Raises Unavailable (`store_closed`); Gone (`history_diverged`) if the database was
        replaced beneath.
        """
        deadline = self._clock.monotonic() + seconds
        while not ready():
            if self._end is not None:
                raise self._end
            remaining = deadline - self._clock.monotonic()
            if remaining <= 0:
                return False
            if self._looking:
                await self._be_told(ready, remaining)
            else:
                await self._look(ready, min(remaining, PERIOD))
        return True

    async def _be_told(self, ready: Callable[[], bool], seconds: float) -> None:
        event = asyncio.Event()
        self._waiters[event] = ready
        try:
            await self._clock.wait(event, seconds)
        finally:
            del self._waiters[event]
            self._pass_on()

    async def _look(self, ready: Callable[[], bool], seconds: float) -> None:
        """Read the counter at the next hint, or after `seconds`."""
        self._looking = True
        try:
            await self._listener.listen()
            hinted = await self._clock.wait(self._hint, seconds)
            self._hint.clear()
            unread, self._elsewhere = self._elsewhere or not hinted, False
            if unread and not ready() and self._end is None:
                await self._catch_up()
        finally:
            self._looking = False
            self._pass_on()

    def _pass_on(self) -> None:
        """Have another waiter look, if nobody does: this one may be busy for long."""
        if not self._looking and self._waiters:
            next(iter(self._waiters)).set()

    async def _catch_up(self) -> None:
        try:
            await self._read()
        except Unavailable as exc:
            # Watches outlive a database's restart; until then there are no bookmarks.
            if not self._failing:
                log.warning(
                    "watching the store fails, will retry",
                    extra={"code": exc.code, "detail": exc.detail},
                )
            self._failing = True
            return
        if self._failing:
            log.info("watching the store recovered")
        self._failing = False

    async def _read(self) -> None:
        assert self._head is not None
        row = await looking.counters(self._database)
        position = reading.position_in(row)
        commits: list[Commit] = []
        if position.revision > self._head.revision:
            async with self._database.read() as connection:
                row = await reading.counters(connection)
                position = reading.position_in(row)
                # Where the log begins later, its commits don't follow what is known here.
                if self._head.revision >= row["oldest"]:
                    commits = await reading.commits_after(connection, self._head.revision)
        if position.incarnation != self._head.incarnation:
            self._end = Gone(
                "the store's database was replaced by another: list again",
                code="history_diverged",
            )
            self._tell()
            return
        self._read_at = self._clock.monotonic()
        if position.revision > self._head.revision:
            # Meanwhile this process's own commits may have been published.
            self._append([each for each in commits if each.revision > self._head.revision])
            if position.revision > self._head.revision:
                self._skip_to(position)
        self._status = max(self._status, row["status_sequence"])
        self._tell()

    def _append(self, commits: Sequence[Commit]) -> None:
        for commit in commits:
            assert self._head is not None
            size = _size_of(commit)
            self._ring.append(commit)
            self._sizes.append(size)
            self._changes += len(commit.changes)
            self._bytes += size
            self._head = Position(self._head.incarnation, commit.revision, commit.digest)
        while self._is_full() and len(self._ring) > 1:
            dropped = self._ring.popleft()
            self._changes -= len(dropped.changes)
            self._bytes -= self._sizes.popleft()
            self._floor = dropped.revision

    def _is_full(self) -> bool:
        return self._changes > RING_CHANGES or self._bytes > RING_BYTES

    def _skip_to(self, position: Position) -> None:
        """Begin the ring anew: too much has happened to keep it all, or to read it all."""
        self._ring.clear()
        self._sizes.clear()
        self._changes = self._bytes = 0
        self._head = position
        self._floor = position.revision

    def _tell(self) -> None:
        for event, ready in self._waiters.items():
            if self._end is not None or ready():
                event.set()


def _size_of(commit: Commit) -> int:
    return sum(
        OVERHEAD + text_size(change.before) + text_size(change.after) for change in commit.changes
    )
