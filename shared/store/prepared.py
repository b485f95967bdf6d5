"""Statements of the hot paths, compiled once.

SQLAlchemy finds a compiled statement by walking the whole expression, which takes longer than to
execute a small one; and SQLite's upserts it compiles anew each time.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from sqlalchemy import CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ClauseElement

from shared.failpoints import failpoint
from shared.store.onehop import OneHopConnection

Values = Mapping[str, Any]


Step = tuple[str, list[Any]]
"""A statement in the driver's own terms, and the arguments of each time it is executed."""


class Prepared:
    """A statement with named parameters, whose values are numbers and text as drivers take them."""

    def __init__(self, statement: ClauseElement) -> None:
        self.statement = statement
        self._compiled: dict[str, tuple[str, Sequence[str] | None]] = {}

    async def run(self, connection: AsyncConnection, values: Values) -> CursorResult[Any]:
        sql, order = self._compile(connection)
        return await connection.exec_driver_sql(sql, _arguments(values, order))

    def with_rows(self, connection: AsyncConnection, rows: Sequence[Values]) -> "Step":
        """Return the statement and its arguments for each row, for run_all."""
        sql, order = self._compile(connection)
        return sql, [_arguments(row, order) for row in rows]

    def _compile(self, connection: AsyncConnection) -> tuple[str, Sequence[str] | None]:
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled = self.statement.compile(dialect=dialect)
            # Of a dialect with positions, the names in their order.
            self._compiled[dialect.name] = (str(compiled), getattr(compiled, "positiontup", None))
        return self._compiled[dialect.name]


def _arguments(values: Values, order: Sequence[str] | None) -> Any:
    return dict(values) if order is None else tuple(values[name] for name in order)


async def run_all(connection: AsyncConnection, steps: Sequence[Step]) -> None:
    """Execute each statement for each of its rows, in one trip to the database."""
    raw = (await connection.get_raw_connection()).driver_connection
    if isinstance(raw, OneHopConnection):
        await raw.hop(_run_all, steps)
        return
    assert isinstance(raw, psycopg.AsyncConnection)
    async with raw.pipeline(), raw.cursor() as cursor:
        for sql, arguments in steps:
            await cursor.executemany(sql, arguments)


def _run_all(connection: sqlite3.Connection, steps: Sequence[Step]) -> None:
    failpoint("store.flush.disk")
    for sql, arguments in steps:
        connection.executemany(sql, arguments)
