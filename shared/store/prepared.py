"""Statements of the hot paths, compiled once.

SQLAlchemy finds a compiled statement by walking the whole expression, which takes longer than to
execute a small one; and SQLite's upserts it compiles anew each time.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import CursorResult
from sqlalchemy import Dialect as SQLDialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ClauseElement

from shared.failpoints import failpoint
from shared.store.onehop import OneHopConnection

if TYPE_CHECKING:
    from psycopg import AsyncConnection as AsyncPostgres

Values = Mapping[str, Any]


Step = tuple[str, list[Any]]
"""A statement in the driver's own terms, and the arguments of each time it is executed."""


class Prepared:
    """A statement with named parameters, whose values are numbers and text as drivers take them."""

    def __init__(self, statement: ClauseElement) -> None:
        self.statement = statement
        self._compiled: dict[str, tuple[str, Callable[[Values], Any]]] = {}

    async def run(self, connection: AsyncConnection, values: Values) -> CursorResult[Any]:
        sql, arguments = self._compile(connection.dialect)
        return await connection.exec_driver_sql(sql, arguments(values))

    def with_rows(self, dialect: SQLDialect, rows: Sequence[Values]) -> "Step":
        """Return the statement and its arguments for each row, for run_all."""
        sql, arguments = self._compile(dialect)
        return sql, [arguments(row) for row in rows]

    def _compile(self, dialect: SQLDialect) -> tuple[str, Callable[[Values], Any]]:
        found = self._compiled.get(dialect.name)
        if found is None:
            compiled = self.statement.compile(dialect=dialect)
            # Of a dialect with positions, the names in their order.
            order = getattr(compiled, "positiontup", None)
            fixed = {name: value for name, value in compiled.params.items() if value is not None}
            found = self._compiled[dialect.name] = (str(compiled), _arguments(order, fixed))
        return found


def _arguments(order: Sequence[str] | None, fixed: Values) -> Callable[[Values], Any]:
    """Return what makes a driver's arguments of a statement's values, `fixed` ones aside."""
    if fixed:
        # Such as LIMIT has.
        inner = _arguments(order, {})
        return lambda values: inner({**fixed, **values})
    if order is None:
        return dict
    if len(order) > 1:
        return itemgetter(*order)
    return lambda values: tuple(values[name] for name in order)


async def run_all(connection: AsyncConnection, steps: Sequence[Step]) -> None:
    """Execute each statement for each of its rows, in one trip to the database."""
    raw = (await connection.get_raw_connection()).driver_connection
    if isinstance(raw, OneHopConnection):
        await raw.hop(execute_all, steps)
        return
    remote = cast("AsyncPostgres", raw)
    async with remote.pipeline(), remote.cursor() as cursor:
        for sql, arguments in steps:
            await cursor.executemany(sql, arguments)
    # Behind a pipeline PostgreSQL 15 doesn't begin to count the time that a session is idle in its
    # transaction: whoever stood still here would hold the lock for ever.
    await remote.execute("")


def execute_all(connection: sqlite3.Connection, steps: Sequence[Step]) -> None:
    failpoint("store.flush.disk")
    for sql, arguments in steps:
        connection.executemany(sql, arguments)
