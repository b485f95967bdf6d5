"""Write out what a batch of units has gathered: a statement per table, whatever their number."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Dialect as SQLDialect
from sqlalchemy import Table, bindparam, delete, literal_column, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ClauseElement

from shared.ids import Incarnation, Key, Revision
from shared.store.chain import Tip, chained_row
from shared.store.contract import Position
from shared.store.engine import Dialect
from shared.store.mapping import (
    dump,
    key_row,
    microseconds,
    object_row,
    version_row,
)
from shared.store.pages import make_pages
from shared.store.prepared import Prepared, Step, Values
from shared.store.search import insert_words, words_of, words_of_page
from shared.store.tables import (
    KEY,
    audit,
    chains,
    commits,
    counter,
    objects,
    pages,
    records,
    requests,
    seals,
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
        self._put_page = Prepared(pages.insert())
        self._put_seal = Prepared(seals.insert())
        put_chain = insert(chains)
        moved = {name: put_chain.excluded[name] for name in ("position", "hash", "number")}
        self._put_chain = Prepared(
            put_chain.on_conflict_do_update(index_elements=["chain"], set_=moved)
        )
        self._mark_sealed = Prepared(
            update(chains)
            .where(chains.c.chain == bindparam("which"))
            .values(sealed=bindparam("upto"))
        )
        self._count = Prepared(_COUNT)
        self._find_request = Prepared(_FIND_REQUEST)

    @property
    def statements(self) -> Sequence[ClauseElement]:
        """All that may be executed, for those who want to see them compiled."""
        own = (each for each in vars(self).values() if isinstance(each, Prepared))
        return [*(each.statement for each in own), _FORGET]

    def steps(self, batch: Batch, sql: SQLDialect, tip: Tip) -> list[Step]:
        """Return what writes everything and counts it; audit records follow a chain's `tip`."""
        work = [
            *self._objects(batch),
            *self._log(batch),
            *self._statuses(batch),
            *self._records(batch),
            *self._audit(batch, tip),
            *self._seals(batch),
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

    def _audit(self, batch: Batch, tip: Tip) -> Iterator[Work]:
        """Yield what appends the batch's audit records to a chain, in the order of numbers."""
        rows: list[dict[str, Any]] = []
        page_rows: list[dict[str, Any]] = []
        words: list[dict[str, Any]] = []
        start, now = tip, batch.now
        records = [(number, [each], False) for number, each in batch.audits]
        for number, group, is_page in sorted(
            [*records, *((number, [*page], True) for number, page in batch.pages)],
            key=itemgetter(0),
        ):
            if not is_page:
                row, tip = chained_row(tip, number, group[0], now)
                rows.append(row)
                words.append({"number": number, "words": words_of(group[0])})
                continue
            made, tip = make_pages(tip, number, group, now)
            for row, part in made:
                page_rows.append(row)
                words.append({"number": row["first"], "words": words_of_page(part)})
        yield self._put_audit, rows
        yield self._put_page, page_rows
        yield self._put_words, words
        if tip is not start:
            batch.tip = tip
            last = {"hash": tip.digest.hex(), "number": batch.audit_number, "sealed": 0}
            yield self._put_chain, [{"chain": tip.chain, "position": tip.position, **last}]

    def _seals(self, batch: Batch) -> Iterator[Work]:
        rows = [
            {
                "sequence": each.sequence,
                "body": each.body,
                "hash": each.hash,
                "signature": each.signature,
            }
            for each in batch.seals
        ]
        yield self._put_seal, rows
        sealed = [{"which": chain, "upto": position} for chain, position in batch.sealed.items()]
        yield self._mark_sealed, sealed


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
