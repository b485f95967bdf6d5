"""The file of a backup: a tar archive of small compressed parts, the manifest last.

Parts are written one after another and may be read in any order.  Nothing is ever unpacked by the
names in an archive: a part is an id, and where its content goes the program knows.  The same
content makes the same bytes, whenever it is written.
"""

import errno
import gzip
import hashlib
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from shared.backup.manifest import LARGEST, Manifest, Part, damaged, seal, unseal
from shared.errors import Invalid, NotFound, StorageFull, Unavailable

MANIFEST: Final = "manifest.json"
LARGEST_PART: Final = 128 << 20
"""Bytes of a part when decompressed; we write parts of a few MiB, but one line is never cut."""

_LEVEL: Final = 6
_MEMBER: Final = re.compile(r"(?P<id>[a-z][-a-z.0-9]{0,80})\.gz")
_MOST_PARTS: Final = 1_000_000


class ArchiveWriter:
    """Writes parts to an open file; not thread-safe."""

    def __init__(self, file: BinaryIO) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        self._parts: list[Part] = []

    def add(self, part_id: str, content: bytes) -> None:
        packed = gzip.compress(content, _LEVEL, mtime=0)
        self._write(f"{part_id}.gz", packed)
        digest = hashlib.sha256(packed).hexdigest()
        self._parts.append(Part(id=part_id, size=len(packed), sha256=digest))

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(self._parts)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, which makes the archive one that can be read."""
        self._write(MANIFEST, seal(manifest))
        self._tar.close()

    def _write(self, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o600
        self._tar.addfile(info, BytesIO(content))


class ArchiveReader:
    """An archive that is whole as far as its manifest and the sizes of its parts tell."""

    def __init__(self, file: BinaryIO) -> None:
        """Invalid (`not_a_backup`, `backup_damaged`, `backup_cut_off`), Conflict."""
        self._file = file
        self._where = _members(file)
        place = self._where.pop(MANIFEST, None)
        if place is None:
            raise _cut_off("it has no manifest")
        if place[1] > LARGEST:
            raise damaged("its manifest is too large")
        self.manifest: Final = unseal(self._at(*place))
        self._check_complete()

    def read(self, part: Part) -> bytes:
        """Return a part's content; Invalid (`backup_damaged`)."""
        start, size = self._where[part.id]
        packed = self._at(start, size)
        if hashlib.sha256(packed).hexdigest() != part.sha256:
            raise damaged(f"its part {part.id} has been changed")
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            content = unpacker.decompress(packed, LARGEST_PART)
        except zlib.error as exc:
            raise damaged(f"its part {part.id} can't be decompressed") from exc
        if not unpacker.eof or unpacker.unused_data:
            raise damaged(f"its part {part.id} is cut off or too large")
        return content

    def _at(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)

    def _check_complete(self) -> None:
        wanted = {part.id: part.size for part in self.manifest.parts}
        if len(wanted) != len(self.manifest.parts):
            raise damaged("its manifest names a part twice")
        for name in self._where.keys() ^ wanted.keys():
            word = "lacks" if name in wanted else "has, unknown to its manifest,"
            raise damaged(f"it {word} the part {name}")
        for name, size in wanted.items():
            if self._where[name][1] != size:
                raise damaged(f"its part {name} has another size")


def _members(file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Return where the content of each member lies, and how long it is, by id."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(tarfile.BLOCKSIZE)
    if not start:
        raise _cut_off("it is empty")
    if start[257:262] != b"ustar":
        raise Invalid("this is no backup of Hanse", code="not_a_backup")
    # A whole archive ends in two blocks of zeros and fills its last record.
    file.seek(max(0, size - 2 * tarfile.BLOCKSIZE))
    if size % tarfile.RECORDSIZE or file.read().strip(b"\0"):
        raise _cut_off("its end is missing")
    file.seek(0)
    found: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for count, member in enumerate(tar):
                name = _id_of(member)
                if name is None or name in found or count > _MOST_PARTS:
                    raise damaged(f"it has a member {member.name[:80]!r} that none may have")
                found[name] = (member.offset_data, member.size)
    except (tarfile.TarError, EOFError, ValueError) as exc:
        raise damaged("it is no whole tar archive") from exc
    return found


def _id_of(member: tarfile.TarInfo) -> str | None:
    if not member.isreg() or member.issparse():
        return None
    if member.name == MANIFEST:
        return MANIFEST
    found = _MEMBER.fullmatch(member.name)
    return found["id"] if found else None


@contextmanager
def opened(path: Path) -> Iterator[ArchiveReader]:
    """Open an archive; NotFound, Unavailable (`backup_unreadable`), else as ArchiveReader."""
    try:
        with path.open("rb") as file:
            yield ArchiveReader(file)
    except (FileNotFoundError, IsADirectoryError) as exc:
        raise NotFound(f"there is no backup at {path}", code="no_backup") from exc
    except OSError as exc:
        if exc.filename not in (None, str(path)):
            raise
        raise Unavailable(
            f"the backup {path} can't be read: {exc.strerror}", code="backup_unreadable"
        ) from exc


@contextmanager
def file_faults(attempt: str, *, code: str) -> Iterator[None]:
    """Turn a file system's errors into ours; `attempt` says what was tried, and where."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"could not {attempt}: no space is left there; free some and try again"
            ) from exc
        raise Unavailable(f"could not {attempt}: {exc.strerror or exc}", code=code) from exc


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cut_off(why: str) -> Invalid:
    return Invalid(f"the backup is cut off: {why}; use another one", code="backup_cut_off")
