"""`hanse conflicts`: list, show, decide and put off what a site and its federation disagree on."""

import re
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import typer

from shared.cli.answers import minute_of
from shared.cli.asking import moment
from shared.cli.columns import age_text
from shared.cli.conflicts.case import Case
from shared.cli.conflicts.federation import list_sites_conflicts
from shared.cli.conflicts.screen import Screen, show_case, show_choice, show_list
from shared.cli.conflicts.telling import effect
from shared.cli.output import Output, console, print_data
from shared.cli.session import Session, print_note, session
from shared.clock import Clock, SystemClock
from shared.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unavailable,
    Unreachable,
)
from shared.ids import parse_name
from shared.login.people import span_of

_DURATION: Final = re.compile(r"[1-9][0-9]*[smhd]")
_EXPIRING: Final = ("keepLocal", "merge", "narrow")


@dataclass(frozen=True, slots=True)
class Named:
    """A conflict by its name; the tenant is looked for where it isn't given."""

    context: str | None
    name: str
    tenant: str | None


@dataclass(frozen=True, slots=True)
class Choice:
    """What is decided; `expires` is a time, or how long from now the exception counts."""

    proposal: str
    reason: str
    expires: str | None


async def list_conflicts(
    context: str | None,
    tenant: str | None,
    form: Output,
    *,
    everything: bool,
    site: str | None = None,
) -> bool:
    """Print conflicts, the most pressing first; return whether one of them is open.

    Those of a site, or of all sites if the context is the FSM's; `site` then chooses one.
    """
    async with session(context) as opened:
        if opened.site is None:
            return await list_sites_conflicts(
                opened, form, site=site, tenant=tenant, everything=everything
            )
        if site is not None and site != opened.site:
            opened.require_fsm(f"the conflicts of site {site}")
        # Those that are resolved become more with the years.
        fields = None if everything else "spec.state!=resolved"
        found = opened.client.conflicts(tenant=tenant, fields=fields)
        now = SystemClock().now()
        cases = sorted([Case(each) async for each in found], key=lambda case: case.rank(now))
    if form in (Output.JSON, Output.YAML):
        print_data({"items": [case.found.document for case in cases]}, form)
    elif form is Output.NAME:
        for case in cases:
            print(f"conflict/{case.name}")
    elif cases:
        show_list(cases, _screen(context), wide=form is Output.WIDE)
    else:
        print_note("no conflicts" if everything else "no conflict is open or deferred")
    return any(case.state == "open" for case in cases)


async def show_conflict(named: Named, form: Output) -> None:
    """Print one conflict, and what may be done about it."""
    async with session(named.context) as opened:
        case = await _with_impacts(opened, await _find(opened, named))
    if not _print_other(case, form):
        show_case(case, _screen(named.context))


async def decide(named: Named, choice: Choice, form: Output, *, confirmed: bool) -> None:
    """Settle a conflict, once what that changes was shown and confirmed."""
    if choice.expires is not None and choice.proposal not in _EXPIRING:
        raise Invalid(
            f"--expires goes with {', '.join(_EXPIRING[:-1])} and {_EXPIRING[-1]}: nothing that "
            f"could expire is kept by {choice.proposal}",
            code="invalid_arguments",
        )
    expires_at = None if choice.expires is None else moment_ahead(choice.expires)
    async with session(named.context) as opened:
        case = await _find(opened, named)
        # Of a settled one the server says that it is settled.
        if case.state != "resolved" and case.proposal(choice.proposal) is None:
            offered = ", ".join(str(each.get("name")) for each in case.proposals)
            raise Invalid(
                f"conflict {case.name} doesn't offer {choice.proposal}; it offers "
                f"{offered or 'nothing to choose'}: see hanse conflicts show {case.name}",
                code="proposal_not_offered",
            )
        if case.state != "resolved" and not confirmed:
            _require_person()
            case = await _with_impacts(opened, case)
            _confirm(case, choice.proposal, expires_at)
        decided = await opened.client.decide_conflict(
            case.name,
            choice.proposal,
            tenant=case.found.tenant,
            reason=choice.reason,
            expires_at=expires_at,
            # What was looked at is what is decided.
            if_match=case.found.revision,
            digest=(case.proposal(choice.proposal) or {}).get("digest"),
        )
    if not _print_other(Case(decided), form):
        if Case(decided).is_waiting:
            request = Case(decided).asked.get("request")
            _print(f"Asked: {case.name} waits for the federation's answer to {request}.")
            return
        done = effect(case, choice.proposal)
        _print(f"Decided {case.name}: {choice.proposal}" + (f" {done}." if done else "."))


async def undo(named: Named, reason: str, form: Output) -> None:
    """Take the decision on a conflict back."""
    async with session(named.context) as opened:
        case = await _find(opened, named)
        undone = await opened.client.undo_conflict(
            case.name, tenant=case.found.tenant, reason=reason, if_match=case.found.revision
        )
    if not _print_other(Case(undone), form):
        proposal = (undone.spec.get("undone") or {}).get("proposal")
        _print(f"Took {proposal} back: {case.name} is open again, and all stands as before.")


async def defer(named: Named, until: str, reason: str, form: Output) -> None:
    """Put a conflict off."""
    ahead = moment_ahead(until)
    async with session(named.context) as opened:
        case = await _find(opened, named)
        deferred = await opened.client.defer_conflict(
            case.name, tenant=case.found.tenant, until=ahead, reason=reason
        )
    deadline = case.deadline
    if deadline is not None and deadline < ahead:
        late = age_text(deadline, ahead)
        print_note(
            f"that is {late} after its deadline, {minute_of(deadline)}; nobody is reminded "
            "until then"
        )
    if not _print_other(Case(deferred), form):
        _print(f"Put off {case.name} until {minute_of(Case(deferred).deferred_until)}.")


async def _find(opened: Session, named: Named) -> Case:
    """Return the conflict; NotFound (`not_found`) if there is none of that name."""
    opened.require_site("hanse conflicts")
    name = parse_name(named.name.removeprefix("conflict/"))
    fields = f"metadata.name={name}"
    async for each in opened.client.conflicts(tenant=named.tenant, fields=fields):
        return Case(each)
    raise NotFound(f"there is no conflict {name}; hanse conflicts list --all shows all there are")


async def _with_impacts(opened: Session, case: Case) -> Case:
    """Return the conflict with what each proposal would change, if that may and can be told."""
    if case.state == "resolved" or not case.proposals:
        return case
    try:
        impacts = await opened.client.impact_of_conflict(case.name, tenant=case.found.tenant)
    except (Forbidden, NotFound, TooLarge, Unavailable, TooManyRequests, Conflict) as exc:
        if isinstance(exc, Unreachable):
            raise
        print_note(f"which packets each proposal concerns is not told: {exc.message}")
        return case
    return case.with_impacts(impacts)


def _require_person() -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Invalid(
            "nobody is here to confirm it; pass --yes if it is meant", code="not_confirmed"
        )


def _confirm(case: Case, proposal: str, expires_at: datetime | None) -> None:
    screen = Screen(console(stderr=True), SystemClock().now())
    show_choice(case, proposal, screen)
    if expires_at is not None:
        print_note(f"    the override counts until {minute_of(expires_at)}")
    if not typer.confirm("Decide so?", default=False, err=True):
        raise Invalid("not confirmed; nothing was decided", code="not_confirmed")


def moment_ahead(text: str, clock: Clock | None = None) -> datetime:
    """Return a time, or how far it is from now; Invalid if it is neither."""
    if _DURATION.fullmatch(text):
        try:
            return ((clock or SystemClock()).now() + span_of(text)).replace(microsecond=0)
        except OverflowError as exc:
            raise Invalid(f"{text} is too long") from exc
    return moment(text)


def _screen(context: str | None) -> Screen:
    options = ("--context", context) if context else ()
    return Screen(console(), SystemClock().now(), options)


def _print_other(case: Case, form: Output) -> bool:
    """Print a conflict for programs; return False if a person is to read it."""
    if form is Output.NAME:
        print(f"conflict/{case.name}")
    elif form in (Output.JSON, Output.YAML):
        print_data(case.found.document, form)
    else:
        return False
    return True


def _print(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)
