"""`hanse rollback`: write an object as it was at an earlier revision, as a new one.

It is a write like any other, with its rights, its judgement and its audit record: what would be
refused today is refused, also if it stood once.
"""

import difflib
import sys
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import typer

from shared.cli.answers import Change, Object, Put
from shared.cli.applying import WriteArguments, find, place_text, print_applied, send
from shared.cli.differing import lines_of, print_line
from shared.cli.gitops.ownership import with_systems_of
from shared.cli.output import Output, print_data
from shared.cli.session import Session, print_note, session
from shared.errors import Invalid, NotFound
from shared.ids import Key
from shared.model.kinds import KINDS

_LONGEST_REASON: Final = 2000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which object, and as it was at which revision of the store.

    `confirmed` means that nobody is to be asked.
    """

    key: Key
    revision: int
    confirmed: bool


async def rollback(context: str | None, wanted: Wanted, how: WriteArguments) -> None:
    """Write an object's labels, annotations and spec as they were, once that is confirmed."""
    if KINDS[wanted.key.kind].secret:
        raise Invalid(
            f"of a {wanted.key.kind} no version is kept that could be written again; set a new "
            "secret instead",
            code="secret_not_kept",
        )
    async with session(context) as opened:
        key = wanted.key._replace(scope=wanted.key.scope or opened.default_scope)
        then = await _version(opened, key, wanted.revision)
        now = await find(opened, key)
        if not _differ(now, then, key):
            _print_unchanged(then, wanted, how)
            return
        if not wanted.confirmed and not how.dry_run:
            _confirm(now, then, wanted.revision, key)
        # Who owns it, and what was applied last, is not taken back.
        written = with_systems_of(then.as_written(), now.as_written() if now else None)
        operation = Put(written, now.revision if now else 0)
        said = _reason(wanted.revision, how.reason)
        how = WriteArguments(how.dry_run, how.force, said, how.form)
        applied = await send(opened, [operation], how, None)
    if how.dry_run and how.form is Output.TABLE:
        _print_difference(now, then, wanted.revision, key, stderr=False)
    print_applied(applied, how, None)


async def _version(opened: Session, key: Key, revision: int) -> Object:
    """Return an object as it was at a revision; NotFound (`no_such_version`)."""
    change = await _change(opened, key, before=revision + 1)
    if change is not None and change.operation == "put":
        return change.object
    # NotFound if it was never there, or may not be seen.
    latest = await _change(opened, key, before=None)
    if change is not None:
        why = f"it had been deleted by revision {change.revision}"
        advice = f"give an earlier one, such as {change.revision - 1}"
    else:
        why = "it was created later, or that version is no longer kept"
        advice = f"hanse history {key.kind} {key.name} lists what there is"
    if latest is None:
        advice = "nothing of it is kept"
    raise NotFound(
        f"at revision {revision} there was no {key}: {why}; {advice}", code="no_such_version"
    )


async def _change(opened: Session, key: Key, *, before: int | None) -> Change | None:
    """Return the last change of an object, or the last before a revision; None if none is kept."""
    changes = opened.client.history(
        key.kind, key.name, tenant=key.tenant, scope=key.scope, before=before, limit=1
    )
    async with aclosing(changes):
        async for each in changes:
            return each
    return None


def _differ(now: Object | None, then: Object, key: Key) -> bool:
    return now is None or lines_of(now.as_written(), key) != lines_of(then.as_written(), key)


def _confirm(now: Object | None, then: Object, revision: int, key: Key) -> None:
    """Show what changes and ask; Invalid (`not_confirmed`)."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Invalid(
            "nobody is here to confirm it; pass --yes if it is meant, or --dry-run to see what "
            "would change",
            code="not_confirmed",
        )
    _print_difference(now, then, revision, key, stderr=True)
    if not typer.confirm("Write it so?", default=False, err=True):
        raise Invalid("not confirmed; nothing was written", code="not_confirmed")


def _print_difference(
    now: Object | None, then: Object, revision: int, key: Key, *, stderr: bool
) -> None:
    before = lines_of(now.as_written(), key) if now else []
    name = f"{KINDS[key.kind].plural}/{key.name}"
    old = f"live/{name} (revision {now.revision})" if now else "/dev/null"
    new = f"{name} as of revision {revision}"
    after = lines_of(then.as_written(), key)
    for line in difflib.unified_diff(before, after, old, new, lineterm=""):
        print_line(line, stderr=stderr)


def _print_unchanged(then: Object, wanted: Wanted, how: WriteArguments) -> None:
    if how.form in (Output.JSON, Output.YAML):
        result = {**then.key._asdict(), "outcome": "unchanged"}
        data = {"revision": None, "dryRun": how.dry_run, "results": [result], "warnings": []}
        print_data(data, how.form)
        return
    name = f"{then.kind.lower()}/{then.name}"
    print(name if how.form is Output.NAME else f"{name}{place_text(then)} unchanged")
    print_note(f"it is as it was at revision {wanted.revision}")


def _reason(revision: int, given: str | None) -> str:
    said = f"rollback to revision {revision}"
    return f"{said}: {given}"[:_LONGEST_REASON] if given else said
