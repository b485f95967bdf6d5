"""Make a backup: written beside its place, restored for a trial, and only then given its name.

Whoever sees a backup under its name sees a good one: the store in it has been restored into a
fresh database and compared with what was read, row by row (by digest), and its history's digests
have been worked out anew.
"""

import asyncio
import hashlib
import os
import secrets
import threading
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from shared.backup.archive import ArchiveReader, ArchiveWriter, file_faults
from shared.backup.contents import Home, check, collect, unchanging
from shared.backup.manifest import Manifest, StoreContent, Table
from shared.backup.partial import partial_file
from shared.backup.reading import (
    Progress,
    compare,
    counted,
    counters_of,
    files_of,
    lines_of,
)
from shared.clock import Clock
from shared.failpoints import failpoint
from shared.store.dump import DUMPED, Dump, open_dump
from shared.store.load import load_store

Result = TypeVar("Result")
PART: Final = 4 << 20
"""Bytes of lines in a part, or a little more."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that is good."""

    path: Path
    size: int
    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a backup is to be: `path` is its file, which must not be there yet."""

    path: Path
    keys: bool = True
    policy: str = ""


class BackupMaker:
    """Makes backups of one server, beside it."""

    def __init__(self, home: Home, *, clock: Clock, executor: Executor) -> None:
        """`executor` is where compressing and writing block a thread."""
        self._home = home
        self._clock = clock
        self._executor = executor

    async def make(self, wish: Wish, *, progress: Progress = lambda *_: None) -> Made:
        """Make a backup and prove that it can be restored.

        Conflict (`backup_exists`, `backup_differs`); StorageFull; Unavailable
        (`backup_destination_unavailable`); else as open_dump().  After any of them, and after a
        cancellation, nothing is left under the name, and nothing beside it.
        """
        stopped = threading.Event()
        making = _Making(self._home, wish, clock=self._clock, progress=progress, stopped=stopped)
        try:
            return await self.run(lambda: asyncio.run(making.make()))
        except asyncio.CancelledError:
            stopped.set()
            raise

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run what blocks a thread in the executor."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


class _Making:
    """One backup on its way, in a thread and an event loop of its own: the server's goes on."""

    def __init__(
        self,
        home: Home,
        wish: Wish,
        *,
        clock: Clock,
        progress: Progress,
        stopped: threading.Event,
    ) -> None:
        self._home = home
        self._wish = wish
        self._clock = clock
        self._progress = progress
        self._stopped = stopped

    async def make(self) -> Made:
        path = self._wish.path
        with (
            file_faults(f"write the backup {path}", code="backup_destination_unavailable"),
            partial_file(path) as draft,
        ):
            manifest = await self._write(draft.file)
            reader = ArchiveReader(draft.file)
            await self._verify(reader, draft.folder)
            failpoint("backup.tried")
            size = os.fstat(draft.file.fileno()).st_size
            draft.publish(path)
            return Made(path, size, manifest)

    async def _write(self, file: BinaryIO) -> Manifest:
        packer = _Packer(ArchiveWriter(file))
        async with AsyncExitStack() as stack:
            # The CAs and the store are of one moment: what the store publishes of them follows
            # the files, so it may be older, never newer.
            with unchanging(self._home):
                files = [*collect(self._home, keys=self._wish.keys)]
                dump = await stack.enter_async_context(open_dump(self._home.url))
            for name, content in files:
                packer.archive.add(name, content)
            total = await dump.rows()
            done = 0
            for table in DUMPED:
                async for lines in dump.lines(table):
                    await self._step(partial(packer.add, table, lines))
                    done += len(lines)
                    self._progress("writing", done, total)
                await self._step(partial(packer.end, table))
            stored = _content(dump, packer.tables)
        manifest = Manifest(
            id=uuid.UUID(bytes=secrets.token_bytes(16), version=4).hex,
            created_at=self._clock.now(),
            release=version("hanse"),
            server=self._home.server,
            name=self._home.name,
            policy=self._wish.policy,
            keys=self._wish.keys,
            store=stored,
            parts=packer.archive.parts,
        )

        def finish() -> None:
            failpoint("backup.parts.written")
            packer.archive.finish(manifest)
            file.flush()
            os.fsync(file.fileno())
            failpoint("backup.synced")

        await self._step(finish)
        return manifest

    async def _verify(self, reader: ArchiveReader, folder: Path) -> None:
        """Restore the store into a fresh database and compare; Conflict (`backup_differs`)."""
        manifest = reader.manifest
        check(self._home, files_of(reader))
        url = f"sqlite:///{folder / 'store.sqlite'}"
        total = sum(table.rows for table in manifest.store.tables.values())
        lines = lines_of(reader, self._step, backwards=True)
        await load_store(
            url,
            counted(lines, "verifying", total, self._progress),
            counters=counters_of(manifest),
            incarnation=uuid.UUID(int=0, version=4),
            check=partial(compare, manifest, self._step),
        )

    async def _step(self, work: Callable[[], Result]) -> Result:
        """Do the next piece, unless nobody waits for it any more."""
        if self._stopped.is_set():
            raise asyncio.CancelledError
        return work()


class _Packer:
    """Gathers lines into parts, and each table's digest; used by one thread at a time."""

    def __init__(self, archive: ArchiveWriter) -> None:
        self.archive = archive
        self.tables: dict[str, Table] = {}
        self._buffer: list[bytes] = []
        self._size = 0
        self._number = 0
        self._rows = 0
        self._digest = hashlib.sha256()

    def add(self, table: str, lines: Iterable[bytes]) -> None:
        for line in lines:
            self._digest.update(line)
            self._buffer.append(line)
            self._size += len(line)
            self._rows += 1
            if self._size >= PART:
                self._flush(table)

    def end(self, table: str) -> None:
        if self._buffer:
            self._flush(table)
        self.tables[table] = Table(rows=self._rows, sha256=self._digest.hexdigest())
        self._number, self._rows, self._digest = 0, 0, hashlib.sha256()

    def _flush(self, table: str) -> None:
        self._number += 1
        self.archive.add(f"store.{table}.{self._number:06}", b"".join(self._buffer))
        self._buffer, self._size = [], 0


def _content(dump: Dump, tables: dict[str, Table]) -> StoreContent:
    counters = dump.counters
    return StoreContent(
        schema_=dump.schema,
        incarnation=dump.position.incarnation,
        revision=counters.revision,
        digest=counters.digest,
        oldest=counters.oldest,
        status_sequence=counters.status_sequence,
        audit_number=counters.audit_number,
        tables=tables,
    )
