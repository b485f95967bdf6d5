"""Write out what a batch of units has gathered: a statement per table, whatever their number."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Dialect as SQLDialect
from sqlalchemy import Table, bindparam, delete, literal_column, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ClauseElement

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
from shared.store.prepared import Prepared, Step, Values
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


Work = tuple[Prepared, Sequence[Values]]


class Flush:
    """The statements of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        insert = sqlite.insert if dialect is Dialect.SQLITE else postgresql.insert

        def upsert(table: Table, keys: Sequence[str]) -> Prepared:
            statement = insert(table)
            rest = {
                column.name: statement.excluded[column.name]
                for column in table.columns
                if column.name not in keys
            }
            return Prepared(statement.on_conflict_do_update(index_elements=list(keys), set_=rest))

        def remove(table: Table, keys: Sequence[str]) -> Prepared:
            terms = (table.c[name] == bindparam(f"old_{name}") for name in keys)
            return Prepared(delete(table).where(*terms))

        self._put_object = upsert(objects, KEY)
        self._delete_object = remove(objects, KEY)
        self._put_status = upsert(status, KEY)
        self._delete_status = remove(status, KEY)
        self._put_record = upsert(records, ("space", "name"))
        self._delete_record = remove(records, ("space", "name"))
        # One that is too old to be honoured may still be there.
        self._put_request = upsert(requests, ("id",))
        self._put_words = Prepared(insert_words(dialect))
        self._notify = (
            Prepared(text("SELECT pg_notify(:channel, '')"))
            if dialect is Dialect.POSTGRESQL
            else None
        )
        self._put_version = Prepared(versions.insert())
        self._put_commit = Prepared(commits.insert())
        self._put_audit = Prepared(audit.insert())
        self._count = Prepared(_COUNT)
        self._find_request = Prepared(_FIND_REQUEST)

    @property
    def statements(self) -> Sequence[ClauseElement]:
        """All that may be executed, for those who want to see them compiled."""
        own = (each for each in vars(self).values() if isinstance(each, Prepared))
        return [*(each.statement for each in own), _FORGET]

    def steps(self, batch: Batch, sql: SQLDialect) -> list[Step]:
        """Return what writes everything and counts it."""
        work = [
            *self._objects(batch),
            *self._log(batch),
            *self._statuses(batch),
            *self._records(batch),
            *self._audit(batch),
            (self._count, [_counted(batch)]),
        ]
        if self._notify is not None:
            work.append((self._notify, [{"channel": CHANNEL}]))
        return [each.with_rows(sql, rows) for each, rows in work if rows]

    def find_request(self, sql: SQLDialect, request_id: str, *, since: int) -> Step:
        """Return what finds a request that was committed since then."""
        return self._find_request.with_rows(sql, [{"request": request_id, "since": since}])

    def _objects(self, batch: Batch) -> Iterator[Work]:
        gone = [key for key, stored in batch.objects.items() if stored is None]
        yield self._delete_object, [_old(KEY, key) for key in gone]
        yield self._put_object, [object_row(stored) for stored in batch.objects.values() if stored]

    def _log(self, batch: Batch) -> Iterator[Work]:
        at = microseconds(batch.now)
        rows: list[dict[str, Any]] = []
        log: list[dict[str, Any]] = []
        for commit in batch.commits:
            own = [version_row(change, i) for i, change in enumerate(commit.changes)]
            size = sum(len(row["spec"]) for row in own)
            rows += own
            log.append(
                {"revision": commit.revision, "digest": commit.digest, "size": size, "at": at}
            )
        yield self._put_version, rows
        yield self._put_commit, log
        yield (
            self._put_request,
            [
                {"id": id_, "revision": where.revision, "digest": where.digest, "at": at}
                for id_, where in batch.requests.items()
            ],
        )

    def _statuses(self, batch: Batch) -> Iterator[Work]:
        gone = [key for key, value in batch.statuses.items() if value is None]
        yield self._delete_status, [_old(KEY, key) for key in gone]
        rows = [
            {**key_row(key), "status": dump(value[1]), "sequence": value[0]}
            for key, value in batch.statuses.items()
            if value is not None
        ]
        yield self._put_status, rows

    def _records(self, batch: Batch) -> Iterator[Work]:
        gone = [where for where, value in batch.records.items() if value is None]
        yield self._delete_record, [_old(("space", "name"), where) for where in gone]
        rows = [
            {"space": space, "name": name, "value": dump(value)}
            for (space, name), value in batch.records.items()
            if value is not None
        ]
        yield self._put_record, rows

    def _audit(self, batch: Batch) -> Iterator[Work]:
        yield self._put_audit, [audit_row(*each) for each in batch.audits]
        words = [{"number": number, "words": words_of(record)} for number, record in batch.audits]
        yield self._put_words, words


def _counted(batch: Batch) -> dict[str, Any]:
    return {
        "new_revision": batch.position.revision,
        "new_digest": batch.position.digest,
        "new_sequence": batch.status_sequence,
        "new_number": batch.audit_number,
    }


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
    .where(counter.c.id == literal_column("1"))
    .values(
        revision=bindparam("new_revision"),
        digest=bindparam("new_digest"),
        status_sequence=bindparam("new_sequence"),
        audit_number=bindparam("new_number"),
    )
)
_FIND_REQUEST: Final = select(requests.c.id).where(
    requests.c.id == bindparam("request"), requests.c.at >= bindparam("since")
)
_FORGET: Final = delete(requests).where(requests.c.at < bindparam("before"))
