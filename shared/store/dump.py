"""Read a store out, whole, as of one revision, in a form that no database owns.

Every row is a line of JSON, its columns sorted by name, and each table's lines come in the order
of its primary key: equal stores give equal lines, whatever database they live in.  Everything is
read in one read transaction, so the server may go on writing meanwhile; memory is bounded by a
page.  What can be derived (the audit trail's words) is left out.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Table, func, literal, select, tuple_
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.errors import Conflict, HanseError
from shared.ids import Revision
from shared.store import reading
from shared.store.contract import Position
from shared.store.digest import chain
from shared.store.engine import Database, parse_url
from shared.store.mapping import canonical
from shared.store.migrate import scripts
from shared.store.tables import (
    KEY,
    audit,
    chains,
    commits,
    objects,
    pages,
    records,
    requests,
    seals,
    status,
    versions,
)

PAGE: Final = 500
"""Rows read at once, or fewer if they are large."""
PAGE_BYTES: Final = 1 << 20
_FIRST_PAGE: Final = 20

DUMPED: Final[Mapping[str, Table]] = {
    table.name: table
    for table in (
        *(objects, versions, commits, status, records, requests, audit),
        *(pages, chains, seals),
    )
}
"""The tables that hold content, by name; the counter's one row stands in Counters."""

_ADDED: Final[Mapping[str, frozenset[str]]] = {
    "audit": frozenset({"authority", "credential", "duration", "chain", "position", "hash"}),
    **{
        each.name: frozenset(str(column.name) for column in each.c)
        for each in (pages, chains, seals)
    },
}
"""Columns by table that the first schema hadn't."""


def columns_of(schema: str) -> Mapping[str, Sequence[str]]:
    """Return the columns by table that a dump has, of a schema that this program knows."""
    new = _ADDED if schema == "0001" else {}
    columns = {
        name: [
            str(column.name)
            for column in table.c
            if str(column.name) not in new.get(name, frozenset())
        ]
        for name, table in DUMPED.items()
    }
    return {name: names for name, names in columns.items() if names}


@dataclass(frozen=True, slots=True)
class Counters:
    """The counter's row but for the incarnation, which names one life and isn't handed on."""

    revision: int
    digest: str
    oldest: int
    status_sequence: int
    audit_number: int


class Dump:
    """A store as of one revision; made by open_dump."""

    def __init__(
        self, connection: AsyncConnection, position: Position, counters: Counters, schema: str
    ) -> None:
        self.position: Final = position
        self.counters: Final = counters
        self.schema: Final = schema
        self._connection = connection

    async def lines(self, table: str) -> AsyncIterator[list[bytes]]:
        """Yield a table's rows as lines of JSON, each with its newline, a page at a time."""
        source = DUMPED[table]
        order = list(source.primary_key.columns)
        names = columns_of(self.schema)[table]
        query = select(*(source.c[name] for name in names)).order_by(*order)
        after: Sequence[object] | None = None
        size = _FIRST_PAGE
        while True:
            page = query.limit(size)
            if after is not None:
                page = page.where(tuple_(*order) > tuple_(*map(literal, after)))
            rows = (await self._connection.execute(page)).all()
            lines = [canonical(dict(zip(names, row, strict=True))) + b"\n" for row in rows]
            if lines:
                yield lines
            if len(rows) < size:
                return
            size = _next_size(lines)
            after = [getattr(rows[-1], str(column.name)) for column in order]

    async def rows(self) -> int:
        """Return how many rows there are in all tables, for those who show progress."""
        counts = [select(func.count()).select_from(each) for each in DUMPED.values()]
        return sum([(await self._connection.execute(each)).scalar_one() for each in counts])

    async def check_sound(self) -> None:
        """Raise HanseError (`store_damaged`) unless history, digests and objects agree.

        The digest chain is worked out anew from the oldest commit of the log on.
        """
        digest = (await reading.position_at(self._connection, self._oldest)).digest
        at = self._oldest
        while commits_ := await reading.commits_after(self._connection, at):
            for each in commits_:
                digest = chain(digest, each.changes)
                if digest != each.digest:
                    raise _damaged(f"its history is not what revision {each.revision} sealed")
                at = each.revision
        if (at, digest) != (self.position.revision, self.position.digest):
            raise _damaged("its log ends before its last revision")
        if await self._count_strays():
            raise _damaged("an object differs from the last version in its history")

    @property
    def _oldest(self) -> Revision:
        return Revision(self.counters.oldest)

    async def _count_strays(self) -> int:
        """Return how many objects are not their own last version, either way."""
        same = [objects.c[name] == versions.c[name] for name in (*KEY, "revision", "spec", "uid")]
        known = select(versions.c.revision).where(*same, versions.c.operation == "put").exists()
        later = versions.alias("later")
        overtaken = (
            select(later.c.revision)
            .where(
                *(later.c[name] == versions.c[name] for name in KEY),
                later.c.revision > versions.c.revision,
            )
            .exists()
        )
        alive = select(objects.c.revision).where(*same).exists()
        lost = (
            select(func.count())
            .select_from(versions)
            .where(versions.c.operation == "put", ~overtaken, ~alive)
        )
        strays = select(func.count()).select_from(objects).where(~known)
        found = [(await self._connection.execute(each)).scalar_one() for each in (strays, lost)]
        return sum(found)


@asynccontextmanager
async def open_dump(url: str) -> AsyncIterator[Dump]:
    """Read a store at one revision, beside whoever serves it; nothing is locked or changed.

    NotFound (`no_store`); Conflict (`schema_too_new`, `schema_too_old`); Unavailable.
    """
    database = Database(parse_url(url))
    database.prepare_file(create=False)
    try:
        async with database.read() as connection:
            schema = await connection.run_sync(_schema, database.name)
            row = await reading.counters(connection)
            counters = Counters(
                **{name: row[name] for name in Counters.__dataclass_fields__}  # one row, one type
            )
            yield Dump(connection, reading.position_in(row), counters, schema)
    finally:
        await database.close()


def newest_schema() -> str:
    """Return the schema that this program knows and writes."""
    head = scripts().get_current_head()
    assert head is not None, "there is a first migration"
    return head


def known_schemas() -> frozenset[str]:
    return frozenset(each.revision for each in scripts().walk_revisions())


def _schema(connection: Connection, name: str) -> str:
    """Return the database's schema if it is ours; Conflict, HanseError."""
    present = set(MigrationContext.configure(connection).get_current_heads())
    if present == {newest_schema()}:
        return newest_schema()
    if present - known_schemas():
        raise Conflict(
            f"the store {name} has schema {', '.join(sorted(present))}, which is newer than this "
            f"program's {newest_schema()}: use the release that serves it",
            code="schema_too_new",
        )
    raise Conflict(
        f"the store {name} has an older schema than this program's {newest_schema()}; start its "
        "server once with this release, which upgrades it",
        code="schema_too_old",
    )


def _next_size(lines: Sequence[bytes]) -> int:
    """Return how many rows to read next, if they are like those before."""
    average = max(1, sum(map(len, lines)) // len(lines))
    return min(PAGE, 4 * len(lines), max(1, PAGE_BYTES // average))


def _damaged(why: str) -> HanseError:
    return HanseError(f"the store is damaged: {why}", code="store_damaged")
