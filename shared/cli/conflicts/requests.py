"""`hanse changerequests`: what sites ask their federation to change, shown, accepted or refused."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import typer

from shared.cli.answers import Object, minute_of, moment_of
from shared.cli.columns import age_text
from shared.cli.conflicts.federation import target_of
from shared.cli.conflicts.screen import Screen, show_versions
from shared.cli.output import Output, console, print_data, print_table
from shared.cli.session import Session, print_note, session
from shared.clock import SystemClock
from shared.errors import Forbidden, Invalid, NotFound
from shared.ids import FEDERATION, parse_name
from shared.model.documents import dump_line
from shared.policy.merging import exempted

JSON = Mapping[str, Any]
KIND: Final = "ChangeRequest"

_WORDS: Final = {
    "both": "asked for, and changed since, not alike",
    "alike": "asked for, and changed alike since",
    "local": "asked for",
    "global": "changed since",
}


@dataclass(frozen=True, slots=True)
class Named:
    """A change request by its name; the tenant is looked for where it isn't given."""

    context: str | None
    name: str
    tenant: str | None


@dataclass(frozen=True, slots=True)
class _Shown:
    """A request with its target as it is now; None if that is gone, or not for these eyes."""

    request: Object
    current: Object | None

    @property
    def versions(self) -> Mapping[str, JSON]:
        """What the site knew, what it asks for, and what there is now."""
        spec = self.request.spec
        base = (spec.get("base") or {}).get("spec") or {}
        found = {"base": exempted(base), "local": exempted(spec.get("spec") or {})}
        if self.current is not None:
            found["global"] = exempted(self.current.spec)
        return found

    @property
    def has_moved(self) -> bool:
        versions = self.versions
        return "global" in versions and versions["global"] != versions["base"]


async def list_requests(
    context: str | None, tenant: str | None, site: str | None, form: Output, *, everything: bool
) -> bool:
    """Print change requests, the oldest first; return whether one is open."""
    fields = [] if everything else ["spec.state!=accepted,spec.state!=refused"]
    fields += [] if everything else ["spec.state!=withdrawn"]
    fields += [f"spec.site={parse_name(site)}"] if site is not None else []
    async with session(context) as opened:
        found = [
            each
            async for each in opened.client.list(
                KIND, tenant=tenant, fields=",".join(fields) or None
            )
        ]
    found.sort(key=lambda each: (_state(each) != "open", str(each.spec.get("at", "")), each.name))
    if form in (Output.JSON, Output.YAML):
        print_data({"items": [each.document for each in found]}, form)
    elif form is Output.NAME:
        for each in found:
            print(f"changerequest/{each.name}")
    elif found:
        _print_list(found, SystemClock().now(), wide=form is Output.WIDE)
    else:
        print_note("no change requests" if everything else "no change request is open")
    return any(_state(each) == "open" for each in found)


def _print_list(found: Sequence[Object], now: datetime, *, wide: bool) -> None:
    columns = ["NAME", "SITE", "TARGET", "STATE", "ASKED"]
    columns += ["BY", "CONFLICT", "WHY"] if wide else []
    rows = []
    for each in found:
        spec = each.spec
        asked = f"{age_text(moment_of(spec.get('at')), now)} ago"
        row = [each.name, spec["site"], target_of(spec["target"]), _state(each), asked]
        more = [spec.get("requestedBy", ""), spec.get("conflict", ""), spec["reason"]]
        rows.append([*row, *more] if wide else row)
    print_table(columns, rows)


async def show_request(named: Named, form: Output) -> None:
    """Print a change request: who asks, why, and what it would change."""
    async with session(named.context) as opened:
        shown = await _shown(opened, named)
    if not _print_other(shown.request, form):
        _show(shown, _screen(named.context))


async def decide(
    named: Named,
    decision: Literal["accept", "refuse"],
    reason: str,
    form: Output,
    *,
    confirmed: bool,
    target_revision: int | None = None,
) -> None:
    """Accept or refuse a change request, once what it would change was shown and confirmed."""
    async with session(named.context) as opened:
        opened.require_fsm(f"hanse changerequests {decision}")
        shown = await _shown(opened, named)
        seen = target_revision
        if decision == "accept" and not confirmed and _state(shown.request) == "open":
            _confirm(shown)
            # What was looked at is what is accepted.
            seen = shown.current.revision if shown.current is not None else None
        decided = await opened.client.decide_change_request(
            shown.request.name,
            decision,
            reason=reason,
            tenant=shown.request.tenant,
            target_revision=seen,
            if_match=shown.request.revision,
        )
    if not _print_other(decided, form):
        spec = decided.spec
        at = f" at revision {spec['revision']}" if "revision" in spec else ""
        text = f"{decided.name} is {_state(decided)}{at}; site {spec['site']} is told."
        console().print(text, markup=False, soft_wrap=True)


async def _shown(opened: Session, named: Named) -> _Shown:
    """Return the request and its target; NotFound if there is no such request."""
    name = parse_name(named.name.removeprefix("changerequest/"))
    fields = f"metadata.name={name}"
    async for each in opened.client.list(KIND, tenant=named.tenant, fields=fields):
        return _Shown(each, await _target(opened, each))
    raise NotFound(f"there is no change request {name}; hanse changerequests list --all shows all")


async def _target(opened: Session, request: Object) -> Object | None:
    target = request.spec["target"]
    try:
        return await opened.client.get(
            target["kind"],
            target["name"],
            tenant=target.get("tenant", "common"),
            scope=request.spec.get("scope", FEDERATION),
        )
    except (NotFound, Forbidden):
        return None


def _show(shown: _Shown, screen: Screen) -> None:
    spec = shown.request.spec
    print_text = screen.text
    print_text(f"{shown.request.name}: {_state(shown.request)}")
    print_text("")
    print_text(
        f"Site {spec['site']} asks that {target_of(spec['target'])} becomes what the site says "
        f"(its conflict: {spec.get('conflict', '')})."
    )
    asked = f"{spec.get('requestedBy', '')} asked at {minute_of(spec.get('at'))}"
    print_text(f"{asked}: {dump_line(spec['reason'])}")
    if spec.get("decidedBy"):
        answer = dump_line(spec.get("answer", ""))
        when = minute_of(spec.get("decidedAt"))
        print_text(f"{spec['decidedBy']} {_state(shown.request)} it at {when}: {answer}")
    elif spec.get("answer"):
        print_text(f"{_state(shown.request)}: {dump_line(spec['answer'])}")
    if shown.current is None:
        print_text("What it would change is gone, or not for you to see.")
    elif shown.has_moved and _state(shown.request) == "open":
        base = spec["base"]["revision"]
        print_text(
            f"It has changed since the site asked: from revision {base} to "
            f"{shown.current.revision}. To accept takes back what was changed since."
        )
    print_text("")
    titles = {"base": "BASE", "local": "ASKED", "global": "CURRENT"}
    show_versions(shown.versions, screen, titles=titles, words=_WORDS)
    if _state(shown.request) == "open":
        print_text("")
        for word in ("accept", "refuse"):
            screen.command_line("changerequests", word, shown.request.name, "--reason", "WHY")


def _confirm(shown: _Shown) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Invalid(
            "nobody is here to confirm it; pass --yes if it is meant", code="not_confirmed"
        )
    _show(shown, Screen(console(stderr=True), SystemClock().now()))
    if not typer.confirm("Accept it?", default=False, err=True):
        raise Invalid("not confirmed; nothing was decided", code="not_confirmed")


def _state(request: Object) -> str:
    return str(request.spec.get("state", "open"))


def _screen(context: str | None) -> Screen:
    options = ("--context", context) if context else ()
    return Screen(console(), SystemClock().now(), options)


def _print_other(request: Object, form: Output) -> bool:
    if form is Output.NAME:
        print(f"changerequest/{request.name}")
    elif form in (Output.JSON, Output.YAML):
        print_data(request.document, form)
    else:
        return False
    return True
