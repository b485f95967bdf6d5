"""Read a backup, and compare a store with it."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from shared.backup.archive import ArchiveReader
from shared.backup.manifest import Manifest, Part, damaged
from shared.errors import Conflict
from shared.store.dump import Counters, Dump

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many rows are done, and of how many."""

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs what blocks a thread in another one."""

_PAGE = 200


async def compare(manifest: Manifest, run: Run, dump: Dump) -> None:
    """Raise Conflict (`backup_differs`) unless a store has exactly a backup's content, and
    HanseError (`store_damaged`) unless that is sound.
    """
    for table, wanted in manifest.store.tables.items():
        digest = hashlib.sha256()
        rows = 0
        async for lines in dump.lines(table):
            rows += len(lines)
            await run(partial(digest.update, b"".join(lines)))
        if (rows, digest.hexdigest()) != (wanted.rows, wanted.sha256):
            raise Conflict(
                f"what was restored has other {table} than the backup says; it is not kept",
                code="backup_differs",
            )
    await dump.check_sound()


def files_of(reader: ArchiveReader) -> dict[str, bytes]:
    """Return the single files of a backup by id."""
    parts = (part for part in reader.manifest.parts if part.id.startswith("file."))
    return {part.id: reader.read(part) for part in parts}


async def lines_of(
    reader: ArchiveReader, run: Run, *, backwards: bool = False
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Yield a backup's rows, a part at a time; `backwards` shows that their order is free."""
    parts = [part for part in reader.manifest.parts if part.id.startswith("store.")]
    for part in reversed(parts) if backwards else parts:
        table, lines = await run(partial(_lines, reader, part))
        for start in range(0, len(lines), _PAGE):
            yield table, lines[start : start + _PAGE]


def _lines(reader: ArchiveReader, part: Part) -> tuple[str, list[bytes]]:
    content = reader.read(part)
    if not content.endswith(b"\n"):
        raise damaged(f"its part {part.id} ends within a line")
    return part.id.split(".")[1], content.splitlines()


async def counted(
    lines: AsyncIterator[tuple[str, list[bytes]]], doing: str, total: int, progress: Progress
) -> AsyncIterator[tuple[str, list[bytes]]]:
    done = 0
    async for table, page in lines:
        yield table, page
        done += len(page)
        progress(doing, done, total)


def counters_of(manifest: Manifest) -> Counters:
    store = manifest.store
    return Counters(
        revision=store.revision,
        digest=store.digest,
        oldest=store.oldest,
        status_sequence=store.status_sequence,
        audit_number=store.audit_number,
    )
