"""aiosqlite with one hop to its thread per statement.

SQLAlchemy's adapter hops four times: for a cursor, to execute, to fetch, to close.  Each hop costs
more than most of our statements, so here executing does all of it.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import aiosqlite


class OneHopCursor:
    """What SQLAlchemy uses of a cursor; its rows are there once it has executed."""

    def __init__(self, connection: "OneHopConnection") -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.lastrowid: int | None = None
        self.rowcount = -1

    async def execute(self, operation: str, parameters: Any = ()) -> None:
        await self._connection.hop(self._run, operation, parameters, many=False)

    async def executemany(self, operation: str, parameters: Iterable[Any]) -> None:
        await self._connection.hop(self._run, operation, parameters, many=True)

    async def fetchall(self) -> Sequence[Any]:
        return self._rows

    async def close(self) -> None:
        """Nothing is left to close."""

    def _run(
        self, connection: sqlite3.Connection, operation: str, parameters: Any, *, many: bool
    ) -> None:
        cursor = connection.cursor()
        try:
            if many:
                cursor.executemany(operation, parameters)
            else:
                cursor.execute(operation, parameters)
            self.description = cursor.description
            self.lastrowid = cursor.lastrowid
            self.rowcount = cursor.rowcount
            if cursor.description:
                self._rows = cursor.fetchall()
        finally:
            cursor.close()


class OneHopConnection(aiosqlite.Connection):
    # SQLAlchemy awaits what this returns, and uses no more of it than OneHopCursor has.
    async def cursor(self) -> OneHopCursor:  # type: ignore[override]
        return OneHopCursor(self)

    async def hop(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """Run `function(sqlite3 connection, …)` in the connection's thread; return its result."""
        # Private and untyped, but what every method of aiosqlite.Connection does.
        return await self._execute(function, self._conn, *arguments, **options)  # type: ignore[no-untyped-call]


def connect(database: str, **options: Any) -> OneHopConnection:
    """Make a connection, to be awaited; as aiosqlite.connect."""
    connection = OneHopConnection(lambda: sqlite3.connect(database, **options), iter_chunk_size=64)
    # A forgotten connection mustn't keep the process alive.
    connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does
    return connection
