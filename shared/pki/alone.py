"""Processes that share a folder of keys change it one after another."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOCK_FILE: Final = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold `folder` while the block runs; whoever else wants it, in any process, waits that long.

    The kernel lets go of it with the process, however that ends.  Hold no folder twice: the
    second would wait for the first for ever.
    """
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
