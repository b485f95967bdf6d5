"""Watches: every later commit once and in order, then bookmarks while it is quiet.

A watcher has a position and no buffer.  The store's tail gives it recent commits; one too slow
for that reads the log from the database, and one too slow even for the log's compaction is cut
off with RevisionCompacted.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from sqlalchemy import select
from sqlalchemy.sql import Select

from shared.clock import Clock
from shared.ids import Revision
from shared.store import reading
from shared.store.contract import Bookmark, Commit, Selection, StatusChange
from shared.store.engine import Database
from shared.store.mapping import status_change_of
from shared.store.tables import KEY, status
from shared.store.tail import Tail

QUIET: Final = 5.0
"""Seconds until a bookmark; half of what the feed promises its clients."""
HANDFUL: Final = 64
"""Commits a watcher takes from the ring at once, so that a slow one holds on to few."""


class Watches:
    def __init__(self, database: Database, tail: Tail, *, clock: Clock) -> None:
        self._database = database
        self._tail = tail
        self._clock = clock

    async def commits(
        self, after: Revision, selection: Selection
    ) -> AsyncIterator[Commit | Bookmark]:
        """See Store.watch."""
        at = await self._start(after)
        if at.revision == self._tail.revision:
            yield at
        told = self._clock.monotonic()
        while True:
            commits = self._tail.since(at.revision, HANDFUL)
            if commits is None:
                commits = await self._from_log(at.revision)
            skipped = False
            for commit in commits:
                at = Bookmark(commit.revision, commit.digest)
                part = _part(commit, selection)
                skipped = part is None
                if part is not None:
                    yield part
            if commits:
                if skipped:
                    yield at
                told = self._clock.monotonic()
                continue
            # A bookmark says that nothing happened, so only what was read since then allows one.
            if not await self._news(at.revision) and self._tail.read_at >= told:
                yield at
                told = self._clock.monotonic()

    async def statuses(self, after: int) -> AsyncIterator[StatusChange]:
        """See Store.watch_status."""
        async with self._database.read() as connection:
            row = await reading.counters(connection)
        self._tail.start(reading.position_in(row), row["status_sequence"])
        while True:
            async with self._database.read() as connection:
                rows = (await connection.execute(_statuses_after(after))).all()
            for each in rows:
                change = status_change_of(each)
                after = change.sequence
                yield change
            if len(rows) < reading.PAGE:
                # What is on its way to the tail has been read already, so at least that far.
                seen = max(after, self._tail.status)
                await self._statuses_beyond(seen)

    async def _statuses_beyond(self, seen: int) -> None:
        while not await self._tail.wait(lambda: self._tail.status > seen, QUIET):
            pass

    async def _start(self, after: Revision) -> Bookmark:
        async with self._database.read() as connection:
            row = await reading.counters(connection)
            reading.check_resumable(after, row)
            position = await reading.position_at(connection, after)
        self._tail.start(reading.position_in(row), row["status_sequence"])
        return Bookmark(position.revision, position.digest)

    async def _from_log(self, after: Revision) -> list[Commit]:
        async with self._database.read() as connection:
            reading.check_resumable(after, await reading.counters(connection))
            return await reading.commits_after(connection, after)

    async def _news(self, revision: int) -> bool:
        return await self._tail.wait(lambda: self._tail.revision > revision, QUIET)


def _part(commit: Commit, selection: Selection) -> Commit | None:
    """Return what of a commit is selected: all of it as itself, so that it is shared."""
    changes = tuple(each for each in commit.changes if reading.matches(selection, each))
    if len(changes) == len(commit.changes):
        return commit
    return replace(commit, changes=changes) if changes else None


def _statuses_after(after: int) -> Select[tuple[object, ...]]:
    columns = (*(status.c[name] for name in KEY), status.c.status, status.c.sequence)
    query = select(*columns).where(status.c.sequence > after)
    return query.order_by(status.c.sequence).limit(reading.PAGE)
