"""Connections to SQLite for what must be quick: one hop to their thread does a whole transaction.

A hop to another thread and back costs more than most of our statements, and SQLAlchemy's way to
one more than the hop; so here a transaction is a function that runs in the connection's thread.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple

from shared.failpoints import failpoint
from shared.store.faults import translated
from shared.store.onehop import OneHopConnection, connect
from shared.store.prepared import Step, execute_all

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

    async def run(
        self,
        attempt: str,
        work: Callable[[sqlite3.Connection, *Arguments], Result],
        *arguments: *Arguments,
    ) -> Result:
        """Run `work(connection, …)` in the connection's thread; `attempt` as for translated()."""
        with translated(attempt):
            connection = self._connection or await self._open()
            result: Result = await connection.hop(work, *arguments)
            return result

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _open(self) -> OneHopConnection:
        async with self._opening:
            if self._connection is None:
                # None: whoever wants a transaction says BEGIN.
                connection = connect(self._path, timeout=self._wait, isolation_level=None)
                await connection
                await connection.hop(_prepare, self._pragmas)
                self._connection = connection
            return self._connection


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
