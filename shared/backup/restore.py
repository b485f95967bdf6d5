"""Stand a server up again from a backup, whole or not at all.

Everything is built in DATA/.restoring; what is in DATA is not touched meanwhile.  One rename, that
of the file `ready` into place, decides: before it a kill leaves DATA as it was, after it the
pieces are moved into place, by us or by whoever looks next (complete()).  What was there before
is moved to DATA/replaced-TIME, and only if that was asked for.
"""

import asyncio
import json
import os
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from shared.backup.archive import ArchiveReader, file_faults, opened, sync_folder
from shared.backup.contents import Home, check, database_in, place
from shared.backup.manifest import SERVERS, Manifest, damaged, stamp
from shared.backup.reading import (
    Progress,
    compare,
    counted,
    counters_of,
    files_of,
    lines_of,
)
from shared.clock import Clock
from shared.errors import Conflict
from shared.failpoints import failpoint
from shared.ids import Incarnation, Revision
from shared.store.contract import AuditRecord, Position
from shared.store.dump import columns_of, known_schemas, newest_schema
from shared.store.load import incarnation_at, load_store
from shared.tasks.lock import LOCK_FILE, only_process

Result = TypeVar("Result")

STAGE: Final = ".restoring"
EMBEDDED: Final = "sqlite"
"""As a database: SQLite in the folder."""

_NEW: Final = "new"
_READY: Final = "ready"
_BEGUN: Final = "begun"

# What may lie in a folder that counts as empty.
_IGNORED: Final = (LOCK_FILE, STAGE, "backups", "lost+found")
_REPLACED: Final = "replaced-"


@dataclass(frozen=True, slots=True)
class Restored:
    """A server that stands again; `before` is where its former content went."""

    manifest: Manifest
    position: Position
    before: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be restored.  `database` is a URL, or EMBEDDED; None: as the backup's settings
    say.  With `replace`, what is in the folder is moved aside.
    """

    archive: Path
    database: str | None = None
    replace: bool = False


class Restorer:
    """Restores into one server's folder."""

    def __init__(self, home: Home, *, clock: Clock, executor: Executor) -> None:
        """Of `home`, name and URL are not known yet; the backup says them."""
        self._home = home
        self._clock = clock
        self._executor = executor

    async def restore(self, order: Order, *, progress: Progress = lambda *_: None) -> Restored:
        """Restore; the store gets a new incarnation.

        Conflict: `already_running`, `not_empty`, `store_exists`, `other_server`,
        `backup_too_new`, `schema_too_new`; Invalid: `not_a_backup`, `backup_cut_off`,
        `backup_damaged`; NotFound (`no_backup`); StorageFull; Unavailable.
        """
        data = self._home.data
        with opened(order.archive) as reader:
            self._check(reader.manifest)
            with file_faults(f"restore into {data}", code="restore_failed"):
                data.mkdir(mode=0o700, parents=True, exist_ok=True)
                with only_process(data):
                    complete(data)
                    if not order.replace:
                        _check_empty(data)
                    return await self._restore(reader, order, progress)

    def _check(self, manifest: Manifest) -> None:
        if manifest.server != self._home.server:
            raise Conflict(
                f"this is {manifest.describe()}, not of {SERVERS[self._home.server]}; restore it "
                f"with hanse {manifest.server} restore",
                code="other_server",
            )
        schema = manifest.store.schema_
        if schema not in known_schemas():
            raise Conflict(
                f"the backup's store has schema {schema}, which is newer than this program's "
                f"{newest_schema()}: restore it with release {manifest.release} or a newer one",
                code="schema_too_new",
            )
        if manifest.store.tables.keys() != columns_of(schema).keys():
            raise damaged("its manifest lists other tables than its schema has")

    async def _restore(self, reader: ArchiveReader, order: Order, progress: Progress) -> Restored:
        stage = _Stage(self._home.data / STAGE)
        contents = files_of(reader)
        check(self._home, contents)
        database = order.database or database_in(contents)
        database = None if database == EMBEDDED else database
        incarnation, is_loaded = await self._begin(stage, reader.manifest, database)
        home = replace(self._home, data=stage.new)
        await self._run(partial(place, home, contents, stage.new, database=database))
        if not is_loaded:
            url = database or f"sqlite:///{home.database_file}"
            await self._load(reader, url, incarnation, progress)
        failpoint("restore.loaded")
        before = await self._run(partial(stage.publish, at=self._clock.now()))
        store = reader.manifest.store
        position = Position(Incarnation(str(incarnation)), Revision(store.revision), store.digest)
        return Restored(reader.manifest, position, before)

    async def _begin(
        self, stage: "_Stage", manifest: Manifest, database: str | None
    ) -> tuple[uuid.UUID, bool]:
        """Return the incarnation that is to be, and whether the store is there already.

        It is if an earlier try was killed between the database's commit and the folder's.
        """
        found = None if database is None else await incarnation_at(database)
        if found is not None:
            if stage.begun() != [manifest.id, found]:
                raise Conflict(
                    "there is a store in that database already; name an empty one by --database",
                    code="store_exists",
                )
            incarnation, is_loaded = uuid.UUID(found), True
        else:
            incarnation, is_loaded = uuid.uuid4(), False
        await self._run(partial(stage.begin, [manifest.id, str(incarnation)]))
        return incarnation, is_loaded

    async def _load(
        self, reader: ArchiveReader, url: str, incarnation: uuid.UUID, progress: Progress
    ) -> None:
        manifest = reader.manifest
        total = sum(table.rows for table in manifest.store.tables.values())
        await load_store(
            url,
            counted(lines_of(reader, self._run), "restoring", total, progress),
            counters=counters_of(manifest),
            incarnation=incarnation,
            check=partial(compare, manifest, self._run),
            record=self._record(manifest, incarnation),
            schema=manifest.store.schema_,
        )

    def _record(self, manifest: Manifest, incarnation: uuid.UUID) -> AuditRecord:
        return AuditRecord(
            at=self._clock.now(),
            request_id=f"restore-{incarnation}",
            identity="system",
            action="store.restore",
            outcome="restored",
            diff={
                "backup": manifest.id,
                "createdAt": manifest.created_at.isoformat(),
                "revision": manifest.store.revision,
                "incarnation": [manifest.store.incarnation, str(incarnation)],
            },
        )

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


class _Stage:
    """DATA/.restoring: what is to come into DATA."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.new: Final = path / _NEW

    def begun(self) -> list[str] | None:
        """Return which backup an earlier try restored, and as which incarnation."""
        try:
            found = json.loads((self.path / _BEGUN).read_text("ascii"))
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, list) else None

    def begin(self, what: list[str]) -> None:
        """Clear what an earlier try left and remember this one."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(self.new, ignore_errors=True)
        _write(self.path, _BEGUN, what)
        failpoint("restore.begun")
        self.new.mkdir(mode=0o700)

    def publish(self, *, at: datetime) -> Path | None:
        """Decide for what is in `new`, durably, and move it into DATA."""
        data = self.path.parent
        for folder, _, files in os.walk(self.new, topdown=False):
            for name in files:
                _sync(Path(folder) / name)
            sync_folder(Path(folder))
        old = sorted(each.name for each in data.iterdir() if _counts(each.name))
        before = f"{_REPLACED}{stamp(at)}" if old else None
        plan = {
            "new": sorted(each.name for each in self.new.iterdir()),
            "old": old,
            "before": before,
        }
        _write(self.path, _READY, plan)
        failpoint("restore.decided")
        complete(data)
        return data / before if before else None


def complete(data: Path) -> bool:
    """Move a restored server into its place if a restore has decided to; return whether so.

    May be cut short and run again at any step.  The caller holds the folder's lock.
    """
    stage = data / STAGE
    try:
        plan = json.loads((stage / _READY).read_text("ascii"))
    except FileNotFoundError:
        return False
    new, waiting = stage / _NEW, plan["new"]
    # While all that is new still waits, what bears its names in DATA is old.
    if all((new / name).exists() for name in waiting) and plan["before"]:
        before = data / plan["before"]
        before.mkdir(mode=0o700, exist_ok=True)
        for name in plan["old"]:
            with suppress(FileNotFoundError):
                (data / name).rename(before / name)
        sync_folder(before)
        sync_folder(data)
        failpoint("restore.aside")
    for name in waiting:
        with suppress(FileNotFoundError):
            (new / name).rename(data / name)
    sync_folder(data)
    failpoint("restore.moved")
    (stage / _READY).unlink()
    shutil.rmtree(stage)
    sync_folder(data)
    return True


def complete_restore(data: Path) -> None:
    """End a restore that was cut short after it had decided; servers call it when they start.

    Conflict (`already_running`) if somebody is at it.
    """
    if (data / STAGE / _READY).exists():
        with only_process(data):
            complete(data)


def _check_empty(data: Path) -> None:
    found = sorted(each.name for each in data.iterdir() if _counts(each.name))
    if found:
        raise Conflict(
            f"{data} is not empty ({', '.join(found[:3])}); restore into an empty folder, or give "
            "--replace, which moves what is there aside",
            code="not_empty",
        )


def _counts(name: str) -> bool:
    return name not in _IGNORED and not name.startswith(_REPLACED)


def _write(folder: Path, name: str, value: object) -> None:
    draft = folder / f".{name}"
    draft.write_text(json.dumps(value), "ascii")
    _sync(draft)
    draft.rename(folder / name)
    sync_folder(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
