"""Connections to SQLite for what must be quick: one hop to their thread does a whole transaction.

A hop to another thread and back costs more than most of our statements, and SQLAlchemy's way to
one more than the hop; so here a transaction is a function that runs in the connection's thread.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple

from shared.errors import HanseError, Unavailable
from shared.failpoints import failpoint
from shared.store.faults import translated
from shared.store.onehop import OneHopConnection, connect
from shared.store.prepared import Step, execute_all
from shared.store.settling import to_its_end

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

Row = tuple[Any, ...]


class Lane:
    """One connection, opened when it is first used."""

    def __init__(self, path: str, *, pragmas: Sequence[str], wait: float) -> None:
        self._path = path
        self._pragmas = pragmas
        self._wait = wait
        self._connection: OneHopConnection | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def run(
        self,
        attempt: str,
        work: Callable[[sqlite3.Connection, *Arguments], Result],
        *arguments: *Arguments,
    ) -> Result:
        """Run `work(connection, …)` in the connection's thread; `attempt` as for translated()."""
        try:
            with translated(attempt):
                connection = self._connection or await self._open()
                result: Result = await connection.hop(work, *arguments)
                return result
        except (HanseError, ValueError) as exc:
            # ValueError is aiosqlite's word for a connection that was closed meanwhile.
            if self._closed and not isinstance(exc, Unavailable):
                raise _closed() from exc
            raise

    async def close(self) -> None:
        """Close it for good; whoever comes later gets Unavailable (`store_closed`)."""
        async with self._opening:
            self._closed = True
            if self._connection is not None:
                await self._connection.close()
                self._connection = None

    async def _open(self) -> OneHopConnection:
        async with self._opening:
            if self._closed:
                raise _closed()
            if self._connection is None:
                # Whoever opens it may leave; a connection half open would have no owner.
                await to_its_end(self._connect())
            assert self._connection is not None
            return self._connection

    async def _connect(self) -> None:
        # None: whoever wants a transaction says BEGIN.
        connection = connect(self._path, timeout=self._wait, isolation_level=None)
        prepared = False
        await connection
        try:
            await connection.hop(_prepare, self._pragmas)
            prepared = True
        finally:
            if not prepared:
                await connection.close()
        self._connection = connection


def _closed() -> Unavailable:
    return Unavailable("the store has been closed", code="store_closed")


@dataclass(slots=True)
class Conditional:
    """Statements to execute and commit if the counter still is what it was.

    `unheard` are statements that must find nothing.  Without `steps` it is only looked.
    """

    expected: Row
    counter: Step
    unheard: Sequence[Step]
    steps: Sequence[Step]
    committing: bool = False
    """It got as far as COMMIT, of which nobody knows how it ended."""

    def run(self, connection: sqlite3.Connection) -> bool:
        """Return whether it was so, and thus done."""
        if not self.steps:
            return self._holds(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not self._holds(connection):
                return False
            execute_all(connection, self.steps)
            failpoint("store.disk.written")
            self.committing = True
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return True

    def _holds(self, connection: sqlite3.Connection) -> bool:
        found = read_one(connection, self.counter)
        if found != [self.expected]:
            return False
        return not any(read_one(connection, step) for step in self.unheard)


def read_together(connection: sqlite3.Connection, *steps: Step) -> list[list[Row]]:
    """Return the rows of each statement, all of one state of the database."""
    connection.execute("BEGIN")
    try:
        return [connection.execute(sql, arguments[0]).fetchall() for sql, arguments in steps]
    finally:
        connection.execute("ROLLBACK")


def read_one(connection: sqlite3.Connection, step: Step) -> list[Row]:
    """Return the rows of one statement."""
    sql, arguments = step
    return connection.execute(sql, arguments[0]).fetchall()


def _prepare(connection: sqlite3.Connection, pragmas: Sequence[str]) -> None:
    for pragma in pragmas:
        connection.execute(pragma)
