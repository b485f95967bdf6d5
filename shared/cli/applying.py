"""`hanse apply` and `hanse delete`: documents and names into one transaction, all or nothing."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

from shared.cli.answers import Applied, Base, Delete, Object, Put, Result
from shared.cli.kinds import find_kind
from shared.cli.output import Output, print_data, print_faults
from shared.cli.session import Session, session
from shared.cli.sources import Sources, read_sources
from shared.errors import HanseError, Invalid, NotFound, RevisionConflict
from shared.ids import COMMON, Key, parse_name
from shared.model.documents import to_plain


@dataclass(frozen=True, slots=True)
class WriteArguments:
    """How something is written, and how it is told."""

    dry_run: bool
    force: bool
    reason: str | None
    form: Output
    base: Base | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """Objects of a kind by their names."""

    kind: str
    names: Sequence[str]
    tenant: str
    scope: str | None


async def apply(context: str | None, files: Sequence[str], how: WriteArguments) -> None:
    """Create or replace every object of the files, in one revision."""
    async with session(context) as opened:
        sources = read_sources(files, opened)
        applied = await write(opened, sources, how)
    print_applied(applied, how, sources)


async def write(opened: Session, sources: Sources, how: WriteArguments) -> Applied:
    """Write documents that have been read; with a base, only while it stands (`base_moved`)."""
    operations = [_put(to_plain(each.envelope), each.source.data) for each in sources.documents]
    return await send(opened, operations, how, sources)


async def delete_files(
    context: str | None, files: Sequence[str], how: WriteArguments, *, ignore_absent: bool
) -> None:
    """Delete every object that the files speak of, in one revision."""
    async with session(context) as opened:
        sources = read_sources(files, opened)
        await _delete(opened, sources.keys, how, sources, ignore_absent=ignore_absent)


async def delete_names(
    context: str | None, names: Names, how: WriteArguments, *, ignore_absent: bool
) -> None:
    """Delete objects of a kind, in one revision."""
    kind = find_kind(names.kind).name
    async with session(context) as opened:
        scope = names.scope or opened.default_scope
        wanted = dict.fromkeys(parse_name(each) for each in names.names)
        keys = [Key(kind, names.tenant, scope, each) for each in wanted]
        await _delete(opened, keys, how, None, ignore_absent=ignore_absent)


async def _delete(
    opened: Session,
    keys: Sequence[Key],
    how: WriteArguments,
    sources: Sources | None,
    *,
    ignore_absent: bool,
) -> None:
    if ignore_absent:
        keys = [key for key in keys if await find(opened, key) is not None]
        sources = None  # the documents and the operations are no longer one to one
        if not keys:
            return
    operations = [Delete(key.kind, key.name, key.tenant, key.scope) for key in keys]
    applied = await send(opened, operations, how, sources)
    print_applied(applied, how, sources)


async def find(opened: Session, key: Key) -> Object | None:
    """Return an object, or None if there is none."""
    try:
        return await opened.client.get(key.kind, key.name, tenant=key.tenant, scope=key.scope)
    except NotFound:
        return None


async def send(
    opened: Session,
    operations: Sequence[Put | Delete],
    how: WriteArguments,
    sources: Sources | None,
) -> Applied:
    """Write in one transaction; of a refusal say where in the sources it is."""
    try:
        try:
            return await opened.client.transaction(
                operations,
                dry_run=how.dry_run,
                force=how.force,
                reason=how.reason,
                base=how.base,
            )
        except Invalid as exc:
            if not confirms_lock_out(exc):
                raise
        return await opened.client.transaction(
            operations, dry_run=how.dry_run, force=True, reason=how.reason, base=how.base
        )
    except HanseError as exc:
        if sources is not None:
            sources.locate(exc)
        if isinstance(exc, RevisionConflict) and any(each.if_match for each in operations):
            exc.add_note(
                "a document says of which revision it is: get it again and edit that, or take its "
                "metadata.revision out to replace whatever is there"
            )
        raise


def confirms_lock_out(refusal: Invalid) -> bool:
    """Ask on a terminal, if a write is refused for nothing but that it locks its author out."""
    codes = {each.code for each in refusal.fields} or {refusal.code}
    if codes != {"would_lock_out"} or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(refusal.message, file=sys.stderr)
    return typer.confirm("Write it all the same?", default=False, err=True)


def _put(document: dict[str, Any], data: Any) -> Put:
    """Return the operation; a document that says which revision it is of replaces only that."""
    revision = data["metadata"].get("revision")
    if revision is not None and revision < 1:
        raise Invalid("metadata.revision counts from 1; leave it out", code="invalid_value")
    return Put(document, revision)


def print_applied(applied: Applied, how: WriteArguments, sources: Sources | None) -> None:
    """Print what became of each object."""
    warnings = [each.error for each in applied.warnings]
    print_faults(map(sources.located, warnings) if sources else warnings, label="warning")
    if how.form in (Output.JSON, Output.YAML):
        print_data(_data(applied), how.form)
        return
    for result in applied.results:
        name = f"{result.object.kind.lower()}/{result.object.name}"
        if how.form is Output.NAME:
            print(name)
            continue
        dry = " (dry run)" if applied.dry_run else ""
        print(f"{name}{place_text(result.object)} {outcome_of(result)}{dry}")


def outcome_of(result: Result) -> str:
    """Return the word that kubectl has for what became of an object."""
    if result.operation == "delete":
        return "deleted"
    if result.created:
        return "created"
    return "configured" if result.changed else "unchanged"


def place_text(found: Object) -> str:
    """Return where an object is, if not in tenant common and the server's own scope."""
    parts = []
    if found.tenant != COMMON:
        parts.append(f"tenant {found.tenant}")
    if found.scope not in ("", "federation", "site"):
        parts.append(found.scope)
    return f" ({', '.join(parts)})" if parts else ""


def _data(applied: Applied) -> dict[str, Any]:
    return {
        "revision": applied.revision,
        "dryRun": applied.dry_run,
        "results": [
            {**each.object.key._asdict(), "outcome": outcome_of(each)} for each in applied.results
        ],
        "warnings": [
            {"path": each.error.path, "code": each.error.code, "message": each.error.message}
            for each in applied.warnings
        ],
    }
