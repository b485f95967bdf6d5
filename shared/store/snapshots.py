"""Consistent views of the store: a read transaction, or what is in memory."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.ids import Key, Revision
from shared.store import looking, reading
from shared.store.contract import EVERYTHING, JSON, Change, Position, Selection, Stored
from shared.store.engine import Database
from shared.store.recent import UNKNOWN, Mark, Recent


def mark_in(row: Mapping[str, Any]) -> Mark:
    """Return where the store stands by the counter's row."""
    at = reading.position_in(row)
    return Mark(at.incarnation, at.revision, at.digest, row["status_sequence"])


class SqlSnapshot:
    """A read transaction at one revision; made by SqlStore.snapshot."""

    def __init__(
        self,
        connection: AsyncConnection,
        position: Position,
        *,
        latest: Mark | None,
        recent: Recent,
    ) -> None:
        """`latest` is where the store stands if that is the position, else None."""
        self._connection = connection
        self._position = position
        self._at = None if latest else position.revision
        self._latest = latest
        self._recent = recent

    @property
    def position(self) -> Position:
        return self._position

    async def get(self, key: Key) -> Stored | None:
        return await reading.find(self._connection, key, self._at)

    async def list(
        self,
        selection: Selection = EVERYTHING,
        *,
        after: Key | None = None,
        limit: int | None = None,
    ) -> Sequence[Stored]:
        if self._latest is not None and limit is not None:
            kept = await self._kept(selection, after, limit)
            if kept is not None:
                return kept
        found = await reading.find_all(
            self._connection, selection, at=self._at, after=after, limit=limit
        )
        if self._latest is not None and limit is not None:
            for each in found:
                self._recent.keep(each.key, each, self._latest)
        return found

    async def _kept(
        self, selection: Selection, after: Key | None, limit: int
    ) -> Sequence[Stored] | None:
        """Return a page of what is in memory; None unless all of it is, as of this revision."""
        test = reading.label_test(selection)
        size = reading.PAGE if selection.labels else limit
        page: list[Stored] = []
        while len(page) < limit:
            keys = await reading.keys_behind(self._connection, selection, after=after, limit=size)
            if self._recent.mark != self._latest:
                return None
            for key in keys:
                stored = self._recent.get(key)
                if not isinstance(stored, Stored):
                    return None
                if test(stored.labels):
                    page.append(stored)
            if len(keys) < size:
                break
            after = keys[-1]
        return page[:limit]

    async def deleted(self, since: Revision, selection: Selection = EVERYTHING) -> Sequence[Change]:
        upto = self._position.revision
        return await reading.deletions_since(self._connection, since, upto, selection)

    async def records(self, space: str) -> Mapping[str, JSON]:
        return await reading.records_of(self._connection, space)

    async def record(self, space: str, name: str) -> JSON | None:
        return await reading.record_of(self._connection, space, name)


class RecentSnapshot:
    """A view of what is kept in memory; made by SqlStore.recent.

    What isn't kept is looked up alone if the store still stands there, and from then on in a
    read transaction as of that revision.
    """

    def __init__(self, recent: Recent, database: Database, stack: AsyncExitStack) -> None:
        """`recent` has been refreshed at least once; `stack` closes what is opened."""
        assert recent.mark is not None
        self._mark = recent.mark
        self._recent = recent
        self._database = database
        self._stack = stack
        self._opened: SqlSnapshot | None = None

    @property
    def position(self) -> Position:
        return self._mark.position

    async def get(self, key: Key) -> Stored | None:
        if self._opened is None and self._recent.mark == self._mark:
            kept = self._recent.get(key)
            if kept is not UNKNOWN:
                return kept
            mark, stored = await looking.find(self._database, key)
            if mark == self._mark:
                self._recent.keep(key, stored, mark)
                return stored
        return await (await self._open()).get(key)

    async def list(
        self,
        selection: Selection = EVERYTHING,
        *,
        after: Key | None = None,
        limit: int | None = None,
    ) -> Sequence[Stored]:
        return await (await self._open()).list(selection, after=after, limit=limit)

    async def deleted(self, since: Revision, selection: Selection = EVERYTHING) -> Sequence[Change]:
        return await (await self._open()).deleted(since, selection)

    async def records(self, space: str) -> Mapping[str, JSON]:
        return await (await self._open()).records(space)

    async def record(self, space: str, name: str) -> JSON | None:
        return await (await self._open()).record(space, name)

    async def _open(self) -> SqlSnapshot:
        if self._opened is None:
            connection = await self._stack.enter_async_context(self._database.read())
            then = await reading.position_at(connection, self._mark.revision)
            now = mark_in(await reading.counters(connection))
            latest = now if then == now.position else None
            self._opened = SqlSnapshot(connection, then, latest=latest, recent=self._recent)
        return self._opened
