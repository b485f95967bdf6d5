"""Machines' disks: real SQLite files in memory, reached without threads.

A statement takes a drawn time and is then executed on the loop.  A killed process loses its
connections and what it had not committed; what was committed is in the file, as after kill -9.
"""

import asyncio
import random
import shutil
import sqlite3
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from shared.clock import SystemClock
from shared.store import onehop, tail
from shared.store.engine import Database, parse_url
from shared.store.sql import SqlStore, open_store
from tests.simulation.clock import SimulatedClock
from tests.simulation.loop import Killed, SimulatedLoop, current

_MEMORY = Path("/dev/shm")


class Fragile(sqlite3.Connection):
    """SQLite on a machine whose disk may be full, and which may die at a commit."""

    def execute(self, sql: str, /, *arguments: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            self._befall(lambda: super(Fragile, self).execute(sql))
        return super().execute(sql, *arguments)

    def executemany(self, sql: str, rows: Any, /) -> sqlite3.Cursor:
        machine = current().machine
        if machine is not None and machine.full:
            raise _full()
        return super().executemany(sql, rows)

    def commit(self) -> None:
        self._befall(super().commit)
        super().commit()

    def _befall(self, commit: Callable[[], object]) -> None:
        machine = current().machine
        if machine is None or current().severed:
            return
        if machine.full:
            raise _full()
        if machine.meets_its_end():
            # Half of the time what it says last is written.
            if machine.source.random() < 0.5:
                commit()
            machine.note("dies at a commit")
            machine.kill()
            raise Killed("at a commit")


def _full() -> sqlite3.Error:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    return error


class InlineConnection(onehop.OneHopConnection):
    """A connection whose statements run on the simulated loop, and die with their process."""

    def __init__(self, database: str, **options: Any) -> None:
        super().__init__(
            # The garbage collector may find it in any thread.
            lambda: sqlite3.connect(
                database, factory=Fragile, **(options | {"check_same_thread": False, "timeout": 0})
            ),
            iter_chunk_size=64,
        )
        self._process = current()
        self._process.on_kill.append(self.lose)

    def __del__(self) -> None:
        # The machine it was on is gone: nobody has forgotten to close it.
        self.lose()

    def __await__(self) -> Any:
        return self._open().__await__()

    def lose(self) -> None:
        """Drop the connection as a kill does: what isn't committed is undone."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def close(self) -> None:
        self.lose()
        if self.lose in self._process.on_kill:
            self._process.on_kill.remove(self.lose)

    def stop(self) -> None:
        self.lose()

    async def _open(self) -> "InlineConnection":
        await self._on_disk(self._really_open)
        return self

    def _really_open(self) -> None:
        if self._process.alive and not self._process.severed:
            self._connection = self._connector()
            # What a slow disk does is drawn; what is lost when the power goes is not tried here.
            self._connection.execute("PRAGMA synchronous=OFF")

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._connection is None:
            raise ValueError("Connection closed")
        return await self._on_disk(partial(fn, *args, **kwargs))

    async def _on_disk(self, function: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        future = loop.create_future()

        def run() -> None:
            if self._process.severed:
                future.cancel()
            if future.done():
                return
            try:
                result = function()
            except Killed:
                raise
            except Exception as exc:  # noqa: BLE001 - it is its caller's
                if getattr(exc, "sqlite_errorname", None) == "SQLITE_BUSY":
                    # Another process writes.  SQLite would wait for it, and with it the world.
                    loop.call_later(loop.lag(), run)
                    return
                future.set_exception(exc)
            else:
                future.set_result(result)

        loop.call_later(loop.lag(), run)
        return await future


@contextmanager
def inline() -> Iterator[None]:
    """Have all SQLite stores that are opened in the block run on the simulated loop."""
    real, period = onehop.connect, tail.PERIOD
    users = [
        module
        for name, module in sys.modules.items()
        if name.startswith("shared.store") and getattr(module, "connect", None) is real
    ]
    for module in users:
        vars(module)["connect"] = InlineConnection
    # Each of our stores has one process, which tells itself; looking twenty times a second would
    # be most of a run's work.
    vars(tail)["PERIOD"] = 2.0
    try:
        yield
    finally:
        for module in users:
            vars(module)["connect"] = real
        vars(tail)["PERIOD"] = period


def empty_store() -> bytes:
    """Return the file of a store in which nothing was ever written."""
    loop = SimulatedLoop(random.Random(0))
    with tempfile.TemporaryDirectory() as folder, inline():
        path = Path(folder) / "store.db"

        async def create() -> None:
            store = await open_store(f"sqlite:///{path}", clock=SystemClock(), create=True)
            await store.close()

        try:
            loop.run(create())
        finally:
            loop.bury()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return path.read_bytes()


class Disk:
    """One machine's folder: the store, and whatever its program writes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder

    @property
    def store(self) -> Path:
        return self.folder / "store.db"

    def create(self, template: bytes, incarnation: uuid.UUID) -> None:
        """Make a store with a life of its own."""
        self.store.write_bytes(template)
        _name(self.store, incarnation)

    def copy(self, to: Path) -> None:
        """Take a consistent copy of the store, whatever writes to it now."""
        source, target = sqlite3.connect(self.store), sqlite3.connect(to)
        source.backup(target)
        source.close()
        target.close()

    def restore(self, backup: Path, incarnation: uuid.UUID | None) -> None:
        """Put a copy in the store's place; without a new incarnation nobody is told."""
        for path in self.folder.glob("store.db*"):
            path.unlink()
        shutil.copyfile(backup, self.store)
        if incarnation is not None:
            _name(self.store, incarnation)

    def open(self, *, clock: SimulatedClock, source: random.Random) -> SqlStore:
        """Open the store for the process that runs now."""
        return SqlStore(Database(parse_url(f"sqlite:///{self.store}")), clock=clock, source=source)


def temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder that costs no disk, where there is one."""
    place = _MEMORY if _MEMORY.is_dir() else None
    return tempfile.TemporaryDirectory(prefix="simulation-", dir=place)


def _name(path: Path, incarnation: uuid.UUID) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE counter SET incarnation = ?", (str(incarnation),))
    connection.commit()
    connection.close()
