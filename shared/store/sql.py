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
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

from shared.clock import Clock
from shared.ids import Key, Revision
from shared.store import looking, reading, search
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
    Ledger,
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
from shared.store.ledger import SqlLedger
from shared.store.mapping import microseconds
from shared.store.migrate import migrate
from shared.store.recent import UNKNOWN, Recent
from shared.store.snapshots import RecentSnapshot, SqlSnapshot, mark_in
from shared.store.tail import Tail
from shared.store.transaction import Batch, SqlTransaction, mark_of
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


class SqlStore:
    """Made by open_store."""

    def __init__(self, database: Database, *, clock: Clock, source: random.Random) -> None:
        self._database = database
        self._clock = clock
        self._tail = Tail(database, clock=clock)
        self._watches = Watches(database, self._tail, clock=clock)
        self._recent = Recent(partial(looking.look, database))
        self._writer = GroupCommit(
            database, recent=self._recent, published=self._publish, clock=clock, source=source
        )
        self.ledger: Ledger = SqlLedger(database, self._writer)

    def _publish(self, batch: Batch) -> None:
        counted = batch.counted
        base = Position(counted.incarnation, counted.revision, counted.digest)
        self._recent.advance(
            mark_of(counted), mark_of(batch.counter), batch.objects, batch.statuses
        )
        self._tail.publish(base, batch.commits, batch.status_sequence)

    async def position(self) -> Position:
        async with self._database.read() as connection:
            return reading.position_in(await reading.counters(connection))

    @asynccontextmanager
    async def snapshot(self, at: Revision | None = None) -> AsyncIterator[Snapshot]:
        async with self._database.read() as connection:
            row = await reading.counters(connection)
            latest = reading.position_in(row)
            position = latest if at is None else await reading.position_at(connection, at)
            mark = mark_in(row) if position == latest else None
            yield SqlSnapshot(connection, position, latest=mark, recent=self._recent)

    async def latest(self, key: Key) -> Stored | None:
        await self._recent.refresh()
        kept = self._recent.get(key)
        if kept is not UNKNOWN:
            return kept
        mark, stored = await looking.find(self._database, key)
        self._recent.keep(key, stored, mark)
        return stored

    @asynccontextmanager
    async def recent(self) -> AsyncIterator[Snapshot]:
        if self._recent.mark is None:
            await self._recent.refresh()
        async with AsyncExitStack() as stack:
            yield RecentSnapshot(self._recent, self._database, stack)

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
        committed: bool = False,
        without: Iterable[str] = (),
        before: int | None = None,
        limit: int = 100,
    ) -> Sequence[tuple[int, AuditRecord]]:
        wanted = search.Wanted(
            tenants=None if tenants is None else frozenset(tenants),
            key=key,
            words=text,
            committed=committed,
            without=frozenset(without),
            before=before,
            limit=limit,
        )
        async with self._database.read() as connection:
            return await search.find_records(connection, self._database.dialect, wanted)

    async def audit(self, records: Sequence[AuditRecord], *, request_id: str | None = None) -> None:
        if not records:
            return

        async def work(transaction: SqlTransaction) -> None:
            await transaction.audit_page(records)

        await self._writer.run(Unit(work, request_id=request_id))

    async def compact(self, before: Revision) -> None:
        await compact(self._database, before)

    async def close(self) -> None:
        self._tail.close()
        await self._database.close()
