"""Flows that a site has seen: what is asked of whoever keeps them, and a file that does."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import IO, Final, Protocol

from shared.errors import Invalid, NotFound
from shared.policy.flow_columns import FlowColumns, Observed
from shared.telemetry.flow_lines import FlowReader
from shared.telemetry.instants import instant_of

_BLOCK: Final = 1 << 21
_KEPT: Final = 2_000_000  # flows, some 100 MiB
_GZIP: Final = b"\x1f\x8b"


class RecordedFlows(Protocol):
    """Keeps the flows that a site has seen."""

    def since(self, moment: datetime | None) -> Observed:
        """Return the flows last seen at a moment or later, and those that say no time; None: all.

        It may take seconds.  NotFound (`no_flows_file`), Invalid (`invalid_flow`) and TooLarge
        (`too_many_flows`) say what keeps them from being read.
        """
        ...


class FlowFile:
    """Recorded flows in a file, one a line in JSON, which may be compressed by gzip.

    The file may grow meanwhile: a last line without its end that isn't JSON is left out.  What was
    read is kept until the file is another, unless it is very much.
    """

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self._lock = Lock()
        self._known: tuple[tuple[int, ...], FlowColumns] | None = None

    def since(self, moment: datetime | None) -> Observed:
        with self._lock:
            found = self._columns()
        if moment is not None:
            found = found.seen_since(instant_of(moment))
        return Observed(found, moment)

    def _columns(self) -> FlowColumns:
        try:
            stat = self._path.stat()
            version = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if self._known is not None and self._known[0] == version:
                return self._known[1]
            self._known = None
            found = read_flow_file(self._path)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise NotFound(f"there is no file {self._path}", code="no_flows_file") from exc
        except OSError as exc:
            said = exc.strerror or "it can't be read"
            raise Invalid(f"{self._path}: {said}", code="invalid_flow") from exc
        if len(found) <= _KEPT:
            self._known = version, found
        return found


def read_flow_file(path: Path) -> FlowColumns:
    """Return the flows of a file.

    OSError; Invalid (`invalid_flow`) names each bad line, up to a hundred; TooLarge
    (`too_many_flows`).
    """
    reader = FlowReader(str(path))
    try:
        with _opened(path) as lines:
            for block in _blocks(lines):
                reader.read(block, is_last=not block.endswith(b"\n"))
                if reader.is_hopeless:
                    break
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise Invalid(f"{path} is no whole gzip file: {exc}", code="invalid_flow") from exc
    if reader.faults:
        raise Invalid(
            f"{path} has lines that are no flows", code="invalid_flow", fields=reader.faults
        )
    return reader.columns()


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        compressed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        if not compressed:
            yield file
            return
        with gzip.open(file) as inner:
            yield inner  # type: ignore[misc]  # it is typed for both of its modes


def _blocks(lines: IO[bytes]) -> Iterator[bytes]:
    """Yield blocks of whole lines; the last may have no end."""
    rest = b""
    while block := lines.read(_BLOCK):
        whole, newline, begun = block.rpartition(b"\n")
        if newline:
            yield rest + whole + newline
            rest = begun
        else:
            rest += block
            if len(rest) > _BLOCK:
                yield rest + b"\n"  # no flow is so long: reading it says so
                rest = b""
    if rest:
        yield rest
