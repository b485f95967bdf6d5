"""Write out what a batch of units has gathered: a statement per table, whatever their number."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import Executable

from shared.ids import Incarnation, Key, Revision
from shared.store.contract import Position
from shared.store.engine import Dialect
from shared.store.mapping import (
    audit_row,
    dump,
    key_row,
    microseconds,
    object_row,
    version_row,
)
from shared.store.search import insert_words, words_of
from shared.store.tables import (
    KEY,
    audit,
    commits,
    counter,
    objects,
    records,
    requests,
    status,
    versions,
)
from shared.store.transaction import Batch

REQUEST_LIFE: Final = timedelta(hours=24)
CHANNEL: Final = "hanse_store"
"""PostgreSQL's NOTIFY channel; a channel is its database's own."""

Rows = Sequence[Mapping[str, Any]]


class Flush:
    """The statements of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        insert = sqlite.insert if dialect is Dialect.SQLITE else postgresql.insert

        def upsert(table: Table, keys: Sequence[str]) -> Executable:
            statement = insert(table)
            rest = {
                column.name: statement.excluded[column.name]
                for column in table.columns
                if column.name not in keys
            }
            return statement.on_conflict_do_update(index_elements=list(keys), set_=rest)

        def remove(table: Table, keys: Sequence[str]) -> Executable:
            terms = (table.c[name] == bindparam(f"old_{name}") for name in keys)
            return delete(table).where(*terms)

        self._put_object = upsert(objects, KEY)
        self._delete_object = remove(objects, KEY)
        self._put_status = upsert(status, KEY)
        self._delete_status = remove(status, KEY)
        self._put_record = upsert(records, ("space", "name"))
        self._delete_record = remove(records, ("space", "name"))
        # One that is too old to be honoured may still be there.
        self._put_request = upsert(requests, ("id",))
        self._put_words = insert_words(dialect)
        self._notify = (
            text("SELECT pg_notify(:channel, '')") if dialect is Dialect.POSTGRESQL else None
        )

    @property
    def statements(self) -> Sequence[Executable]:
        """All that may be executed, for those who want to see them compiled."""
        return [
            *(self._put_object, self._delete_object, self._put_status, self._delete_status),
            *(self._put_record, self._delete_record, self._put_words),
            *(versions.insert(), commits.insert(), self._put_request, audit.insert()),
            *(_COUNT, _FORGET),
        ]

    async def write(self, batch: Batch) -> None:
        """Write everything and count it; the caller commits."""
        run = _Runner(batch.connection)
        await self._write_objects(batch, run)
        await self._write_statuses(batch, run)
        await self._write_records(batch, run)
        await self._write_audit(batch, run)
        at = microseconds(batch.now)
        await run.many(
            self._put_request,
            [
                {"id": id_, "revision": where.revision, "digest": where.digest, "at": at}
                for id_, where in batch.requests.items()
            ],
        )
        await batch.connection.execute(
            _COUNT,
            {
                "new_revision": batch.position.revision,
                "new_digest": batch.position.digest,
                "new_sequence": batch.status_sequence,
                "new_number": batch.audit_number,
            },
        )
        if self._notify is not None:
            await batch.connection.execute(self._notify, {"channel": CHANNEL})

    async def _write_objects(self, batch: Batch, run: "_Runner") -> None:
        gone = [key for key, stored in batch.objects.items() if stored is None]
        await run.many(self._delete_object, [_old(KEY, key) for key in gone])
        there = [object_row(stored) for stored in batch.objects.values() if stored]
        await run.many(self._put_object, there)
        rows: list[dict[str, Any]] = []
        log: list[dict[str, Any]] = []
        for commit in batch.commits:
            versions_of = [version_row(each, i) for i, each in enumerate(commit.changes)]
            rows += versions_of
            log.append(
                {
                    "revision": commit.revision,
                    "digest": commit.digest,
                    "size": sum(len(row["spec"]) for row in versions_of),
                    "at": microseconds(batch.now),
                }
            )
        await run.many(versions.insert(), rows)
        await run.many(commits.insert(), log)

    async def _write_statuses(self, batch: Batch, run: "_Runner") -> None:
        gone = [key for key, value in batch.statuses.items() if value is None]
        await run.many(self._delete_status, [_old(KEY, key) for key in gone])
        rows = [
            {**key_row(key), "status": dump(value[1]), "sequence": value[0]}
            for key, value in batch.statuses.items()
            if value is not None
        ]
        await run.many(self._put_status, rows)

    async def _write_records(self, batch: Batch, run: "_Runner") -> None:
        gone = [where for where, value in batch.records.items() if value is None]
        await run.many(self._delete_record, [_old(("space", "name"), where) for where in gone])
        rows = [
            {"space": space, "name": name, "value": dump(value)}
            for (space, name), value in batch.records.items()
            if value is not None
        ]
        await run.many(self._put_record, rows)

    async def _write_audit(self, batch: Batch, run: "_Runner") -> None:
        await run.many(audit.insert(), [audit_row(*each) for each in batch.audits])
        words = [{"number": number, "words": words_of(record)} for number, record in batch.audits]
        await run.many(self._put_words, words)


class _Runner:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def many(self, statement: Executable, rows: Rows) -> None:
        if rows:
            # One row goes as itself: executemany takes a slower road in every driver.
            await self._connection.execute(statement, rows[0] if len(rows) == 1 else rows)


async def committed_requests(
    connection: AsyncConnection, ids: Sequence[str], *, since: int, incarnation: Incarnation
) -> dict[str, Position]:
    """Return where each request that was committed since then left the store."""
    query = select(requests).where(requests.c.id.in_(ids), requests.c.at >= since)
    return {
        row.id: Position(incarnation, Revision(row.revision), row.digest)
        for row in await connection.execute(query)
    }


async def forget_requests(connection: AsyncConnection, *, before: int) -> None:
    await connection.execute(_FORGET, {"before": before})


def _old(names: Sequence[str], values: Key | tuple[str, str]) -> dict[str, str]:
    return {f"old_{name}": value for name, value in zip(names, values, strict=True)}


_COUNT: Final = (
    update(counter)
    .where(counter.c.id == 1)
    .values(
        revision=bindparam("new_revision"),
        digest=bindparam("new_digest"),
        status_sequence=bindparam("new_sequence"),
        audit_number=bindparam("new_number"),
    )
)
_FORGET: Final = delete(requests).where(requests.c.at < bindparam("before"))
