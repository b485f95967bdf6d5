"""Connections to the three databases, and how a transaction begins in each.

A read transaction sees one state of the database from its first statement to its last.  A write
transaction's first statement takes the lock on which all writers of all processes queue, before
anything is read: reading first would cost a retry for nearly every commit under load.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, event, make_url, select
from sqlalchemy import Dialect as SQLDialect
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from shared.errors import Invalid, NotFound
from shared.store import onehop
from shared.store.faults import translated
from shared.store.lane import Lane
from shared.store.prepared import Prepared
from shared.store.tables import counter

READERS: Final = 8
"""Read connections kept open; a guess: SQLite's are a thread each."""
READERS_AT_MOST: Final = 32
CONNECTION_WAIT: Final = 15.0
"""Seconds to wait for a free connection."""
LOCK_WAIT: Final = 30.0
"""Seconds to queue for the write lock, and that a silent writer may hold it."""


class Dialect(StrEnum):
    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    COCKROACHDB = "cockroachdb"


_DRIVERS: Final = {
    Dialect.SQLITE: "sqlite+aiosqlite",
    Dialect.POSTGRESQL: "postgresql+psycopg",
    Dialect.COCKROACHDB: "cockroachdb+psycopg",
}


def parse_url(url: str) -> URL:
    """Read `sqlite:///PATH`, `postgresql://…` or `cockroachdb://…`; else Invalid."""
    try:
        parsed = make_url(url)
        dialect = Dialect(parsed.get_backend_name())
    except (ArgumentError, ValueError) as exc:
        raise Invalid(
            "the store's URL must be sqlite:///PATH, postgresql://… or cockroachdb://…",
            code="invalid_store_url",
        ) from exc
    if dialect is Dialect.SQLITE and parsed.database in (None, "", ":memory:"):
        raise Invalid("a SQLite store needs a file: sqlite:///PATH", code="invalid_store_url")
    return parsed.set(drivername=_DRIVERS[dialect])


class Database:
    """One database: read transactions, write transactions under the lock.

    Of SQLite, `lane` and `write_lane` are connections for what must be quick.
    """

    lane: Lane | None = None
    write_lane: Lane | None = None

    def __init__(self, url: URL) -> None:
        self.url = url
        self.dialect = Dialect(url.get_backend_name())
        if self.dialect is Dialect.SQLITE:
            self._reader, self._writer = _sqlite(url, READERS), _sqlite(url, 0)
            self.lane, self.write_lane = _lane(url, writes=False), _lane(url, writes=True)
        else:
            self._reader, self._writer = _server(url, self.dialect)

    def prepare_file(self, *, create: bool) -> None:
        """Make SQLite's file, readable for its owner only; NotFound if it may not be made."""
        if self.dialect is not Dialect.SQLITE:
            return
        path = Path(str(self.url.database))
        if path.exists():
            return
        if not create:
            raise NotFound(f"there is no store at {path}; create it first", code="no_store")
        with translated(f"create the store {path}"):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # SQLite gives its -wal and -shm files the mode of this one.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))

    @property
    def sql(self) -> SQLDialect:
        """What statements are compiled for."""
        return self._writer.dialect

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a read transaction; `execute` on its connection."""
        with translated("read the store"):
            async with self._reader.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Open a write transaction that holds the lock; what isn't committed is undone."""
        with translated("write to the store"):
            async with self._writer.connect() as connection:
                if self.dialect is Dialect.POSTGRESQL:
                    # Takes no snapshot: the first read, after the lock, sees all that was
                    # committed before it.
                    await connection.exec_driver_sql(_LOCK_COUNTER)
                yield connection

    @cached_property
    def counter_for_update(self) -> Prepared:
        """The statement that reads the counter first in a write transaction."""
        query = select(counter)
        cockroach = self.dialect is Dialect.COCKROACHDB
        return Prepared(query.with_for_update() if cockroach else query)

    def migrations(self) -> AsyncEngine:
        """Return an engine for schema changes; the caller disposes of it."""
        if self.dialect is Dialect.SQLITE:
            return _sqlite(self.url, 0)
        return create_async_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")

    def connect_arguments(self) -> dict[str, Any]:
        """Return psycopg's connection arguments, for a connection of one's own."""
        return dict(self._writer.dialect.create_connect_args(self.url)[1])

    async def close(self) -> None:
        for lane in (self.lane, self.write_lane):
            if lane is not None:
                await lane.close()
        await self._reader.dispose()
        await self._writer.dispose()


_LOCK_COUNTER: Final = "LOCK TABLE counter IN EXCLUSIVE MODE"


def _pragmas(*, writes: bool) -> list[str]:
    return [
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "PRAGMA foreign_keys=ON",
        f"PRAGMA query_only={'OFF' if writes else 'ON'}",
    ]


def _lane(url: URL, *, writes: bool) -> Lane:
    return Lane(str(url.database), pragmas=_pragmas(writes=writes), wait=LOCK_WAIT)


def _sqlite(url: URL, readers: int) -> AsyncEngine:
    """Return an engine of `readers` connections that read, or of one that writes."""
    engine = create_async_engine(
        url,
        # None: we say BEGIN ourselves, pysqlite's own idea of it comes too late.
        connect_args={
            "timeout": LOCK_WAIT,
            "isolation_level": None,
            "async_creator_fn": onehop.connect,
        },
        pool_size=readers or 1,
        max_overflow=READERS_AT_MOST - readers if readers else 0,
        pool_timeout=CONNECTION_WAIT if readers else LOCK_WAIT,
        # A connection given back within a transaction is rolled back in any case.
        pool_reset_on_return=None,
    )
    pragmas = _pragmas(writes=not readers)
    begin = "BEGIN" if readers else "BEGIN IMMEDIATE"

    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", start)
    return engine


def _server(url: URL, dialect: Dialect) -> tuple[AsyncEngine, AsyncEngine]:
    """Return engines to read and to write with."""
    milliseconds = int(LOCK_WAIT * 1000)
    options = f"-c lock_timeout={milliseconds} -c idle_in_transaction_session_timeout="
    # One write at a time is all the lock lets through; the second connection is for a
    # transaction that begins while the last one's is being given back.
    writer = create_async_engine(
        url,
        isolation_level="SERIALIZABLE",
        pool_size=2,
        max_overflow=0,
        pool_timeout=LOCK_WAIT,
        connect_args={"options": f"{options}{milliseconds}"},
    )
    # All writers are ordered by the lock, so a repeatable read is some revision's state; unlike
    # a serializable one it can't fail with 40001.  CockroachDB has no such level.
    reader = create_async_engine(
        url,
        isolation_level="REPEATABLE READ" if dialect is Dialect.POSTGRESQL else "SERIALIZABLE",
        pool_size=READERS,
        max_overflow=READERS_AT_MOST - READERS,
        pool_timeout=CONNECTION_WAIT,
        connect_args={"options": f"{options}0"},
    )
    return reader.execution_options(postgresql_readonly=True), writer
