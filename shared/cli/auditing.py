"""Verify and export the audit trail: of a server, of a store, of a backup, of an export."""

import asyncio
import contextlib
import hashlib
import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import orjson

from shared.audit.export import verify_lines
from shared.audit.verify import Finding, Report, Signers
from shared.audit.walk import verify
from shared.backup.archive import opened
from shared.backup.reading import compare, counters_of, lines_of
from shared.cli.client import Client
from shared.cli.output import Plain, console, print_data
from shared.cli.session import print_note, session
from shared.clock import SystemClock
from shared.errors import Invalid, NotFound
from shared.pki.certificates import Certificate, certificates_from_pem
from shared.pki.credentials import CredentialsDirectory
from shared.store.contract import Store
from shared.store.load import load_store
from shared.store.sql import open_store

_LARGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What to verify; none of the first four: the server of a context."""

    export: Path | None = None
    data: Path | None = None
    store: str | None = None
    backup: Path | None = None
    roots: Path | None = None
    seal: str | None = None
    context: str | None = None


async def export(context: str | None, to: Path | None, *, after: int | None) -> None:
    """Append what is new to a file, or print it; the file then ends with a whole export."""
    async with session(context) as opened_session:
        if to is None:
            await _download(opened_session.client, sys.stdout.buffer, after=after or 0)
            return
        begin = _end_of(to) if after is None else after
        with to.open("ab") as file:
            os.fchmod(file.fileno(), 0o600)
            count = await _download(opened_session.client, file, after=begin)
        print_note(f"{count} records written to {to}")


async def verify_and_show(where: Where, form: Plain) -> bool:
    """Verify, print what was found, and return whether nothing was."""
    seal = _expected(where.seal)
    report, rooted = await _verified(where)
    if seal is not None and (finding := _missing(report, seal)) is not None:
        report.findings.append(finding)
    if form is Plain.TABLE:
        _show(report, rooted=rooted)
    else:
        print_data(_document(report, rooted=rooted), form)
    return report.sound


async def _verified(where: Where) -> tuple[Report, bool]:
    roots = _roots(where)
    if where.export is not None:
        with _readable(where.export) as file:
            return _of_lines(file, roots), roots is not None
    if where.backup is not None:
        async with _restored(where.backup) as store:
            return await verify(store.ledger, roots=roots), roots is not None
    if where.store is not None or where.data is not None:
        url = where.store or _store_of(where.data or Path())
        store = await open_store(url, clock=SystemClock())
        try:
            return await verify(store.ledger, roots=roots), roots is not None
        finally:
            await store.close()
    async with session(where.context) as opened_session:
        roots = roots or certificates_from_pem(opened_session.context.ca)
        with tempfile.TemporaryFile() as file:
            await _download(opened_session.client, file, after=0)
            file.seek(0)
            return _of_lines(file, roots), True


def _of_lines(lines: Iterable[bytes], roots: tuple[Certificate, ...] | None) -> Report:
    return verify_lines(lines, check=lambda signers: Signers(signers, roots).check)


async def _download(client: Client, file: IO[bytes], *, after: int) -> int:
    count = 0
    async with aclosing(client.audit_export(after=after)) as lines:
        async for line in lines:
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            count += line.get("type") == "record"
    file.flush()
    return count


def _end_of(file: Path) -> int:
    """Return the number of the last record in an export; a line cut short is taken off."""
    last = 0
    if not file.exists():
        return last
    with file.open("rb+") as opened_file:
        whole = 0
        for line in opened_file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            try:
                document = orjson.loads(line)
                if document["type"] in ("record", "end"):
                    last = max(last, int(document["number"]))
            except (ValueError, KeyError, TypeError) as exc:
                raise Invalid(f"{file} is no export to continue", code="not_an_export") from exc
        opened_file.truncate(whole)
    return last


def _roots(where: Where) -> tuple[Certificate, ...] | None:
    if where.roots is not None:
        try:
            return certificates_from_pem(where.roots.read_text("ascii", errors="replace"))
        except OSError as exc:
            raise NotFound(f"{where.roots} can't be read: {exc.strerror}", code="no_roots") from exc
    if where.data is not None:
        return CredentialsDirectory(where.data / "pki" / "server").load_public()[1]
    return None


def _store_of(data: Path) -> str:
    for name in ("fsm.sqlite", "sdsp.sqlite"):
        if (data / name).exists():
            return f"sqlite:///{data / name}"
    raise NotFound(f"there is no store in {data}; give its URL by --store", code="no_store")


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as exc:
        raise NotFound(f"{path} can't be read: {exc.strerror}", code="no_export") from exc


@asynccontextmanager
async def _restored(archive: Path) -> AsyncIterator[Store]:
    """Stand a backup's store up in a folder of its own, for as long as the block runs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hanse-verify-")))
        executor = stack.enter_context(ThreadPoolExecutor(1))
        reader = stack.enter_context(opened(archive))
        manifest, url = reader.manifest, f"sqlite:///{folder / 'store.sqlite'}"

        async def run(work: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(executor, work)

        await load_store(
            url,
            lines_of(reader, run),
            counters=counters_of(manifest),
            incarnation=uuid.uuid4(),
            check=partial(compare, manifest, run),
            schema=manifest.store.schema_,
        )
        store = await open_store(url, clock=SystemClock())
        try:
            yield store
        finally:
            await store.close()


def _expected(seal: str | None) -> tuple[int, str] | None:
    if seal is None:
        return None
    sequence, _, digest = seal.partition(":")
    if not sequence.isdecimal() or len(digest) != hashlib.sha256().digest_size * 2:
        raise Invalid("--seal is SEQUENCE:HASH, the hash with 64 digits", code="invalid_seal")
    return int(sequence), digest.lower()


def _missing(report: Report, seal: tuple[int, str]) -> Finding | None:
    sequence, digest = seal
    if sequence in report.hashes:
        if report.hashes[sequence] == digest:
            return None
        message = f"seal {sequence}: it is another than the one that was kept elsewhere"
        return Finding("fork", message, sequence=sequence)
    message = f"seal {sequence}: it was kept elsewhere, and is not there"
    return Finding("seal_missing", message, sequence=sequence)


def _document(report: Report, *, rooted: bool) -> dict[str, Any]:
    last = report.last_seal
    return {
        "sound": report.sound,
        "records": report.records,
        "first": report.first,
        "last": report.last,
        "chains": report.chains,
        "seals": report.seals,
        "lastSeal": f"{last.sequence}:{last.hash}" if last else None,
        "sealedAt": report.sealed_at.isoformat() if report.sealed_at else None,
        "unsealed": report.unsealed,
        "unchained": report.unchained,
        "signersTraced": rooted,
        "findings": [
            {
                "code": each.code,
                "message": each.message,
                "number": each.number,
                "sequence": each.sequence,
            }
            for each in report.findings
        ],
    }


def _show(report: Report, *, rooted: bool) -> None:
    to = console()
    span = f"{report.first} to {report.last}" if report.first is not None else "none"
    print(f"records: {report.records} ({span}) in {report.chains} chains")
    sealed = f", the last at {report.sealed_at:%Y-%m-%d %H:%M:%S} UTC" if report.sealed_at else ""
    print(f"seals:   {report.seals}{sealed}")
    if report.last_seal is not None:
        print(f"seal to keep elsewhere: {report.last_seal.sequence}:{report.last_seal.hash}")
    if report.unsealed:
        print(f"the last {report.unsealed} records came after the last seal")
    if report.unchained:
        print(f"{report.unchained} records are from before there were chains, which prove nothing")
    if not rooted and report.seals:
        print("no root was given, so any signer was taken: give --roots")
    if report.sound:
        to.print("[green]sound[/]: nothing was changed, removed, inserted or cut off")
        return
    for each in report.findings:
        to.print(f"[bold red]{each.code}[/] {each.message}", soft_wrap=True, markup=True)
