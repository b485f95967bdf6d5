"""One process at a time works in a data folder, or several that know of each other.

Two servers on one folder would each believe to be the only one: both would renew the certificates
there, and each would publish configurations that the other knows nothing of.  The kernel drops the
lock with the process, however that ends, so no stale lock is ever in the way.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shared.errors import Conflict

LOCK_FILE: Final = "lock"


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold a folder while the block runs; Conflict (`already_running`) if another process does."""
    with _held(folder, fcntl.LOCK_EX):
        yield


@contextmanager
def one_of_several(folder: Path) -> Iterator[None]:
    """Hold a folder together with others that do so, and against only_process(); Conflict."""
    with _held(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def _held(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise Conflict(
                f"another process works in {folder}; stop that one first", code="already_running"
            ) from exc
        yield
    finally:
        os.close(descriptor)
