"""`hanse staged`, `promote` and `stage`: what staged policies would do, and enforcing them.

Promoting is a write like any other, with its rights, its judgement and its audit record.  What
nodes have counted is shown before; it is what would change if all that is staged were enforced.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import typer

from shared.cli.answers import Object, Put, moment_of
from shared.cli.applying import WriteArguments, find, print_applied, send
from shared.cli.columns import age_text
from shared.cli.output import Output, print_data, print_table
from shared.cli.session import Session, print_note, session
from shared.clock import Clock, SystemClock
from shared.errors import Invalid, NotFound
from shared.ids import COMMON, Key

JSON = Mapping[str, Any]
Stage = Literal["enforced", "staged"]

KINDS: Final = ("SecurityPolicy", "Override")
"""What may be staged: policies, and exceptions to them."""


async def staged(
    context: str | None, name: str | None, form: Output, *, clock: Clock | None = None
) -> None:
    """Print what is staged here, and what nodes have counted for it."""
    async with session(context) as opened:
        found = await _staged(opened, name)
    if form in (Output.JSON, Output.YAML):
        print_data({"items": list(found)}, form)
        return
    if form is Output.NAME:
        for each in found:
            print(f"securitypolicy/{each['name']}")
        return
    if not found:
        print_note("nothing is staged" if name is None else f"{name} is not staged")
        return
    print_counts(found, (clock or SystemClock()).now())


def print_counts(found: Sequence[JSON], now: datetime) -> None:
    """Print what was counted, at a site by rule, at the FSM by site."""
    by_site = any("sites" in each for each in found)
    rows: list[Sequence[object]] = []
    for each in found:
        parts = _parts(each)
        rows += [[_title(each), where, *_cells(counts, now)] for where, counts in parts]
        if not parts:
            rows.append([_title(each), "(none)", "", "", "", ""])
    where = "SITE" if by_site else "RULE"
    print_table(["POLICY", where, "WOULD DENY", "WOULD ALLOW", "LAST", "SINCE"], rows)


def _parts(each: JSON) -> list[tuple[str, JSON | None]]:
    """Return the counts of a policy by site, or at a site by rule."""
    if "sites" in each:
        return [(part["site"], part.get("staged")) for part in each["sites"]]
    return [(part["rule"], {**part, "since": each["since"]}) for part in each["rules"]]


def _cells(counts: JSON | None, now: datetime) -> list[object]:
    if counts is None:
        return ["not counted", "", "", ""]
    return [
        counts["wouldDeny"],
        counts["wouldAllow"],
        _ago(counts.get("lastAt"), now) or "never",
        _ago(counts.get("since"), now),
    ]


def _ago(moment: Any, now: datetime) -> str:
    found = moment_of(moment)
    return f"{age_text(found, now)} ago" if found else ""


def _title(each: JSON) -> str:
    tenant = each.get("tenant", COMMON)
    return str(each["name"]) + ("" if tenant == COMMON else f" (tenant {tenant})")


async def _staged(opened: Session, name: str | None) -> list[JSON]:
    """Return what is staged at the server, with its counts."""
    found = await opened.client.status()
    if opened.site is None:
        items = [each for each in found["policies"] if each.get("stage") == "staged"]
    else:
        items = found.get("staged", [])
    return [each for each in items if name in (None, each["name"])]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which object is to be staged, or enforced; `confirmed` means that nobody is to be asked."""

    key: Key
    stage: Stage
    confirmed: bool


async def change_stage(
    context: str | None, wanted: Wanted, how: WriteArguments, *, clock: Clock | None = None
) -> None:
    """Write another stage, once what that does was shown and confirmed.

    RevisionConflict if somebody else writes the object meanwhile.
    """
    if wanted.key.kind not in KINDS:
        raise Invalid(
            f"a {wanted.key.kind} has no stage; only {' and '.join(KINDS)} have", code="no_stage"
        )
    async with session(context) as opened:
        key = wanted.key._replace(scope=wanted.key.scope or opened.default_scope)
        now = await find(opened, key)
        if now is None:
            raise NotFound(f"there is no {key}")
        document = _with_stage(now, wanted.stage)
        if document is None:
            print(f"{key.kind.lower()}/{key.name} unchanged")
            print_note(f"it is {wanted.stage} already")
            return
        if not how.dry_run:
            lines = await _consequences(opened, key, wanted.stage, (clock or SystemClock()).now())
            _confirm(key, wanted, lines)
        applied = await send(opened, [Put(document, now.revision)], how, None)
    print_applied(applied, how, None)


def _with_stage(now: Object, stage: Stage) -> dict[str, Any] | None:
    """Return the object as it is to be written; None if it is so already."""
    document = now.as_written()
    spec = document["spec"] = dict(document["spec"])
    if now.kind == "Override":
        spec["spec"] = spec = dict(spec["spec"])
        document["spec"].pop("basedOn", None)
    if spec.get("stage", "enforced") == stage:
        return None
    spec.pop("stage", None)
    if stage == "staged":
        spec["stage"] = stage
    return document


async def _consequences(opened: Session, key: Key, stage: Stage, now: datetime) -> list[str]:
    """Return in sentences what is known of what the change does."""
    if stage == "staged":
        return ["Its rules are enforced no longer; nodes only count what they would do."]
    found = await _staged(opened, None)
    name = key.name
    if key.kind == "Override":
        found = [each for each in found if _is_of(each, key)]
    else:
        found = [each for each in found if (each["name"], each["tenant"]) == (name, key.tenant)]
    lines = [
        f"  {where}: {_sentence(counts, now)}"
        for each in found
        for where, counts in _parts(each)
        if "sites" not in each or each["scope"] == key.scope
    ]
    if not lines:
        return ["No node has counted anything for it."]
    head = "What nodes have counted, with all that is staged taken together:"
    return [head, *lines]


def _is_of(each: JSON, key: Key) -> bool:
    wanted = {"kind": key.kind, "scope": key.scope, "name": key.name}
    return wanted in each.get("objects", ())


def _sentence(counts: JSON | None, now: datetime) -> str:
    if counts is None:
        return "not counted: nothing was heard of it from there"
    since = _ago(counts.get("since"), now)
    last = _ago(counts.get("lastAt"), now)
    text = f"would newly deny {counts['wouldDeny']} and allow {counts['wouldAllow']} connections"
    return f"{text}, counted since {since}" + (f", the last {last}" if last else "")


def _confirm(key: Key, wanted: Wanted, lines: Sequence[str]) -> None:
    """Show what is known, and ask; Invalid (`not_confirmed`)."""
    for line in lines:
        print_note(line)
    if wanted.confirmed:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Invalid(
            "nobody is here to confirm it; pass --yes if it is meant", code="not_confirmed"
        )
    question = "Enforce" if wanted.stage == "enforced" else "No longer enforce"
    if not typer.confirm(f"{question} {key}?", default=False, err=True):
        raise Invalid("not confirmed; nothing was written", code="not_confirmed")
