"""Files of backups: their names, and how one comes to have its name."""

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from shared.backup.archive import sync_folder
from shared.backup.contents import Home
from shared.backup.manifest import stamp
from shared.errors import Conflict
from shared.failpoints import failpoint

SUFFIX: Final = ".hanse"
_PARTIAL: Final = ".partial"
_TRIAL: Final = ".trial"


def file_name(home: Home, policy: str, at: datetime) -> str:
    """Return a name that no other backup has: whose it is, when it was made, and chance."""
    return f"{owner_of(home, policy)}-{stamp(at)}-{secrets.token_hex(4)}{SUFFIX}"


def owner_of(home: Home, policy: str) -> str:
    """Return the id by which a server finds the backups that one of its policies made."""
    text = f"{home.server}\0{home.name}\0{policy}"
    return f"{home.server}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Partial:
    """A backup that has no name yet, and a folder for trying it."""

    file: BinaryIO
    path: Path
    folder: Path

    def publish(self, path: Path) -> None:
        if path.exists():
            raise _exists(path)
        # First, for with the name gone nobody would know it for what it is.
        shutil.rmtree(self.folder)
        self.path.rename(path)
        failpoint("backup.replaced")
        sync_folder(path.parent)


@contextmanager
def partial_file(path: Path) -> Iterator[Partial]:
    """Open what becomes `path`; on any way out but publish() nothing of it stays."""
    if path.exists():
        raise _exists(path)
    sweep(path.parent, path.name)
    name = f".{path.name}.{secrets.token_hex(4)}"
    partial, folder = path.with_name(name + _PARTIAL), path.with_name(name + _TRIAL)
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w+b") as file:
        # Held while we live, so that nobody sweeps it away.
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            folder.mkdir(mode=0o700)
            failpoint("backup.created")
            yield Partial(file, partial, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            partial.unlink(missing_ok=True)


def sweep(folder: Path, prefix: str) -> list[Path]:
    """Remove what killed writers left of backups whose names begin so; return what it was."""
    removed = []
    for partial in sorted(folder.iterdir()):
        if not (partial.name.startswith(f".{prefix}") and partial.name.endswith(_PARTIAL)):
            continue
        with partial.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(partial.with_suffix(_TRIAL), ignore_errors=True)
            partial.unlink(missing_ok=True)
            removed.append(partial)
    return removed


def _exists(path: Path) -> Conflict:
    return Conflict(f"{path} is there already; give another name", code="backup_exists")
