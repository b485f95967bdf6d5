"""Fill an empty database with the rows of a dump: all of them in one transaction, or none.

The store so made has an incarnation of its own: whoever followed the one that was dumped is told
that the history is another, and lists again.
"""

import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Integer, Table, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.errors import Conflict, Invalid
from shared.ids import Incarnation, Revision
from shared.store.chain import chained_row, new_tip
from shared.store.contract import AuditRecord, Position
from shared.store.dump import DUMPED, Counters, Dump, columns_of, newest_schema
from shared.store.engine import Database, Dialect, parse_url
from shared.store.mapping import audit_record_of, load
from shared.store.migrate import make_tables
from shared.store.search import insert_words, page_words, words_of
from shared.store.tables import audit, chains, counter, pages

Lines = AsyncIterator[tuple[str, list[bytes]]]
"""Pages of a dump's lines, each with its table; tables and pages may come in any order."""

_COLUMNS: Final[Mapping[str, Mapping[str, tuple[type, bool]]]] = {
    name: {
        str(column.name): (int if isinstance(column.type, Integer) else str, bool(column.nullable))
        for column in table.c
    }
    for name, table in DUMPED.items()
}
"""By table and column: the type of its values, and whether there may be none."""


async def load_store(
    url: str,
    lines: Lines,
    *,
    counters: Counters,
    incarnation: uuid.UUID,
    check: Callable[[Dump], Awaitable[None]],
    record: AuditRecord | None = None,
    schema: str | None = None,
) -> Position:
    """Make a store of a dump in a database that has none; return where it stands.

    `check` sees it whole before it is committed, and raises if it isn't as it should be.
    `record` becomes the last of the audit trail, a chain of its own.  `schema` is the dump's, if it
    isn't this program's.  Conflict (`store_exists`); Invalid
    (`backup_damaged`) for a line that is no row; StorageFull; Unavailable.  After any of them,
    and after a kill, the database still has no store.
    """
    position = Position(Incarnation(str(incarnation)), Revision(counters.revision), counters.digest)
    database = Database(parse_url(url))
    schema = schema or newest_schema()
    known = columns_of(schema)
    try:
        database.prepare_file(create=True)
        await make_tables(database)
        async with database.write() as connection:
            if (await connection.execute(select(counter.c.id))).first() is not None:
                raise Conflict(
                    f"there is a store in {database.name} already; restore into an empty place",
                    code="store_exists",
                )
            async for table, page in lines:
                await _insert(connection, database.dialect, table, page, known)
            values = {**asdict(counters), "incarnation": position.incarnation, "id": 1}
            await connection.execute(counter.insert(), values)
            await check(Dump(connection, position, counters, schema))
            if record is not None:
                await _append(connection, database.dialect, counters.audit_number + 1, record)
            await connection.commit()
        return position
    finally:
        await database.close()


async def incarnation_at(url: str) -> str | None:
    """Return which life of a store is in a database; None if there is none."""
    database = Database(parse_url(url))
    if database.dialect is Dialect.SQLITE:
        await database.close()
        return None
    try:
        await make_tables(database)
        async with database.read() as connection:
            found = (await connection.execute(select(counter.c.incarnation))).scalar()
        return None if found is None else str(found)
    finally:
        await database.close()


async def _insert(
    connection: AsyncConnection,
    dialect: Dialect,
    name: str,
    lines: Iterable[bytes],
    known: Mapping[str, Sequence[str]],
) -> None:
    table = DUMPED.get(name)
    if table is None or name not in known:
        raise Invalid(f"the backup has a table {name[:40]!r}, which is unknown", code=_DAMAGED)
    rows = [_row(table, line, known[name]) for line in lines]
    try:
        await connection.execute(table.insert(), rows)
    except IntegrityError as exc:
        raise Invalid(f"the backup has a row of {table.name} twice", code=_DAMAGED) from exc
    words: list[dict[str, Any]] = []
    if table is audit:
        absent = dict.fromkeys(column.name for column in audit.c)
        words = [
            {"number": number, "words": words_of(record)}
            for number, record in (audit_record_of(absent | row) for row in rows)
        ]
    elif table is pages:
        words = [{"number": row["first"], "words": page_words(row["body"])} for row in rows]
    if words:
        await connection.execute(insert_words(dialect), words)


async def _append(
    connection: AsyncConnection, dialect: Dialect, number: int, record: AuditRecord
) -> None:
    row, tip = chained_row(new_tip(secrets.token_hex(8)), number, record, record.at)
    await connection.execute(audit.insert(), row)
    words = {"number": number, "words": words_of(record)}
    await connection.execute(insert_words(dialect), words)
    head = {"chain": tip.chain, "position": tip.position, "hash": row["hash"]}
    await connection.execute(chains.insert(), {**head, "number": number, "sealed": 0})
    await connection.execute(update(counter).values(audit_number=number))


def _row(table: Table, line: bytes, columns: Sequence[str]) -> dict[str, Any]:
    try:
        row = load(line.decode())
    except ValueError as exc:
        raise Invalid(f"a line of table {table.name} is not JSON", code=_DAMAGED) from exc
    if not isinstance(row, dict) or row.keys() != {*columns}:
        raise Invalid(f"a line of table {table.name} has other columns", code=_DAMAGED)
    for name in columns:
        wanted, may_be_absent = _COLUMNS[table.name][name]
        value = row[name]
        if type(value) is not wanted and not (value is None and may_be_absent):
            raise Invalid(
                f"a line of table {table.name} has a {type(value).__name__} as {name}",
                code=_DAMAGED,
            )
    return row


_DAMAGED: Final = "backup_damaged"
