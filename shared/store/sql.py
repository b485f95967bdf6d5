"""The store on SQLite, PostgreSQL or CockroachDB; see contract.Store."""

import random
import uuid
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.clock import Clock
from shared.ids import Key, Revision
from shared.store import reading, search
from shared.store.commit import GroupCommit, Unit
from shared.store.compaction import compact
from shared.store.contract import (
    EVERYTHING,
    JSON,
    AuditRecord,
    Bookmark,
    Change,
    Commit,
    Committed,
    Position,
    Selection,
    Snapshot,
    StatusChange,
    Store,
    Stored,
    Transaction,
)
from shared.store.engine import Database, parse_url
from shared.store.flush import REQUEST_LIFE, committed_requests
from shared.store.mapping import microseconds
from shared.store.migrate import migrate
from shared.store.tail import Tail
from shared.store.transaction import SqlTransaction
from shared.store.watch import Watches

Result = TypeVar("Result")


async def open_store(
    url: str, *, clock: Clock, create: bool = False, source: random.Random | None = None
) -> Store:
    """Open the store at `sqlite:///PATH`, `postgresql://…` or `cockroachdb://…`.

    Its schema is brought up to date.  With `create`, an empty database becomes a new store with
    an incarnation of its own.  `source` draws uids and the delays of retries; without one it is
    the system's.  Raises Invalid (`invalid_store_url`); NotFound (`no_store`); Conflict
    (`schema_too_new`); Unavailable.
    """
    source = source or random.SystemRandom()
    database = Database(parse_url(url))
    database.prepare_file(create=create)
    await migrate(
        database,
        create=create,
        incarnation=uuid.UUID(int=source.getrandbits(128), version=4),
        at=microseconds(clock.now()),
    )
    return SqlStore(database, clock=clock, source=source)


class SqlSnapshot:
    """A read transaction at one revision; made by SqlStore.snapshot."""

    def __init__(self, connection: AsyncConnection, position: Position, *, latest: bool) -> None:
        self._connection = connection
        self._position = position
        self._at = None if latest else position.revision

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
        return await reading.find_all(
            self._connection, selection, at=self._at, after=after, limit=limit
        )

    async def deleted(self, since: Revision, selection: Selection = EVERYTHING) -> Sequence[Change]:
        upto = self._position.revision
        return await reading.deletions_since(self._connection, since, upto, selection)

    async def records(self, space: str) -> Mapping[str, JSON]:
        return await reading.records_of(self._connection, space)

    async def record(self, space: str, name: str) -> JSON | None:
        return await reading.record_of(self._connection, space, name)


class SqlStore:
    """Made by open_store."""

    def __init__(self, database: Database, *, clock: Clock, source: random.Random) -> None:
        self._database = database
        self._clock = clock
        self._tail = Tail(database, clock=clock)
        self._watches = Watches(database, self._tail, clock=clock)
        self._writer = GroupCommit(
            database, published=self._tail.publish, clock=clock, source=source
        )

    async def position(self) -> Position:
        async with self._database.read() as connection:
            return reading.position_in(await reading.counters(connection))

    @asynccontextmanager
    async def snapshot(self, at: Revision | None = None) -> AsyncIterator[Snapshot]:
        async with self._database.read() as connection:
            latest = reading.position_in(await reading.counters(connection))
            position = latest if at is None else await reading.position_at(connection, at)
            yield SqlSnapshot(connection, position, latest=position == latest)

    async def transact(
        self,
        work: Callable[[Transaction], Awaitable[Result]],
        *,
        request_id: str | None = None,
        validated_at: Revision | None = None,
        depends_on: Selection | None = None,
    ) -> Committed[Result]:
        return await self._writer.run(
            Unit(work, request_id=request_id, validated_at=validated_at, depends_on=depends_on)
        )

    async def committed(self, request_id: str) -> Revision | None:
        since = microseconds(self._clock.now() - REQUEST_LIFE)
        async with self._database.read() as connection:
            row = await reading.counters(connection)
            found = await committed_requests(
                connection, [request_id], since=since, incarnation=row["incarnation"]
            )
        return found[request_id].revision if found else None

    async def put_status(self, statuses: Mapping[Key, JSON | None]) -> None:
        async def work(transaction: SqlTransaction) -> None:
            await transaction.put_statuses(statuses)

        await self._writer.run(Unit(work))

    def watch(
        self, after: Revision, *, selection: Selection = EVERYTHING
    ) -> AsyncIterator[Commit | Bookmark]:
        return self._watches.commits(after, selection)

    def watch_status(self, after: int) -> AsyncIterator[StatusChange]:
        return self._watches.statuses(after)

    async def history(
        self, key: Key, *, before: Revision | None = None, limit: int = 100
    ) -> Sequence[Change]:
        async with self._database.read() as connection:
            return await reading.history_of(connection, key, before=before, limit=limit)

    async def audit_records(
        self,
        *,
        tenants: Iterable[str] | None = None,
        key: Key | None = None,
        text: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Sequence[tuple[int, AuditRecord]]:
        query = search.audit_query(
            self._database.dialect,
            tenants=tenants,
            key=key,
            words=text,
            before=before,
            limit=limit,
        )
        async with self._database.read() as connection:
            return await search.find_records(connection, query)

    async def audit(self, records: Sequence[AuditRecord]) -> None:
        async def work(transaction: SqlTransaction) -> None:
            for record in records:
                await transaction.audit(record)

        await self._writer.run(Unit(work))

    async def compact(self, before: Revision) -> None:
        await compact(self._database, before)

    async def close(self) -> None:
        self._tail.close()
        await self._database.close()
