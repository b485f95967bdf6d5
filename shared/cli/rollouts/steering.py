"""`hanse rollout`: start a change that goes site by site, look at it, and steer it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import typer

from shared.cli.answers import Object, Put
from shared.cli.output import Output, console, print_data
from shared.cli.rollouts.screen import show, show_list, state_of, summary, target_of
from shared.cli.session import print_note, session
from shared.cli.sources import read_sources
from shared.clock import Clock, SystemClock
from shared.errors import HanseError, Invalid
from shared.model.documents import to_plain
from shared.objects.selection import parse_label_selector

_PERIOD: Final = 1.0
"""Seconds between two looks at a rollout that is waited for."""


@dataclass(frozen=True, slots=True)
class Named:
    """A rollout by its name."""

    context: str | None
    name: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How a change goes site by site; `order` are selectors as people write them."""

    order: Sequence[str]
    max_failures: int
    patience: str | None
    name: str | None
    reason: str | None
    dry_run: bool


async def start(context: str | None, files: Sequence[str], plan: Plan, form: Output) -> None:
    """Start to roll the one policy of some files out."""
    order = [found for each in plan.order if (found := parse_label_selector(each)) is not None]
    if len(order) != len(plan.order):
        raise Invalid("--order needs labels, such as env=test", code="invalid_selector")
    async with session(context) as opened:
        opened.require_fsm("hanse rollout")
        sources = read_sources(files, opened)
        if len(sources.documents) != 1:
            raise Invalid(
                f"a rollout takes one document, and there are {len(sources.documents)}",
                code="invalid_arguments",
            )
        document = sources.documents[0]
        operation = Put(
            to_plain(document.envelope), document.source.data["metadata"].get("revision")
        )
        try:
            rollout = await opened.client.start_rollout(
                operation.document,
                order=[each.to_json() for each in order],
                max_failures=plan.max_failures,
                patience=plan.patience,
                name=plan.name,
                reason=plan.reason,
                if_match=operation.if_match,
                dry_run=plan.dry_run,
            )
        except HanseError as exc:
            sources.locate(exc)
            raise
    if _print_other(rollout, form):
        return
    dry = " (dry run)" if plan.dry_run else ""
    _print(f"rollout/{rollout.name} started{dry}: {target_of(rollout)}, "
           f"generation {rollout.spec.get('generation')}")  # fmt: skip
    if not plan.dry_run:
        print_note(f"hanse rollout show {rollout.name} tells how it goes on")


async def list_rollouts(
    context: str | None, tenant: str | None, form: Output, *, everything: bool
) -> None:
    """Print the rollouts that go on, or all of them; the newest first."""
    async with session(context) as opened:
        opened.require_fsm("hanse rollout")
        found = [each async for each in opened.client.rollouts(tenant=tenant)]
    found = [each for each in found if everything or state_of(each) not in ("done", "aborted")]
    found.sort(key=lambda each: str(each.spec.get("startedAt", "")), reverse=True)
    if form in (Output.JSON, Output.YAML):
        print_data({"items": [each.document for each in found]}, form)
    elif form is Output.NAME:
        for each in found:
            print(f"rollout/{each.name}")
    elif found:
        show_list(found, SystemClock().now(), wide=form is Output.WIDE)
    else:
        print_note("no rollouts" if everything else "no rollout goes on; --all lists those before")


async def show_rollout(named: Named, form: Output) -> None:
    """Print one rollout, and how each site stands in it."""
    async with session(named.context) as opened:
        opened.require_fsm("hanse rollout")
        progress = await opened.client.rollout_progress(named.name, tenant=named.tenant)
    if form in (Output.JSON, Output.YAML):
        print_data(progress, form)
    elif form is Output.NAME:
        print(f"rollout/{named.name}")
    else:
        show(progress, SystemClock().now(), wide=form is Output.WIDE)


async def wait_for(named: Named, *, clock: Clock | None = None) -> bool:
    """Wait until a rollout is done, or needs a person; return whether it is done."""
    clock = clock or SystemClock()
    told = ""
    async with session(named.context) as opened:
        opened.require_fsm("hanse rollout")
        while True:
            progress = await opened.client.rollout_progress(named.name, tenant=named.tenant)
            rollout = Object.of(progress["rollout"])
            state = state_of(rollout)
            if (now := f"{state}; {summary(progress)}") != told:
                _print(f"{rollout.name}: {now}")
                told = now
            if state != "running":
                return state == "done"
            await clock.sleep(_PERIOD)


async def pause(named: Named, reason: str, form: Output) -> None:
    """Halt a rollout."""
    async with session(named.context) as opened:
        opened.require_fsm("hanse rollout")
        rollout = await opened.client.pause_rollout(named.name, reason=reason, tenant=named.tenant)
    if not _print_other(rollout, form):
        _print(f"rollout/{rollout.name} paused: no further site gets the change")


async def resume(named: Named, reason: str, max_failures: int | None, form: Output) -> None:
    """Let a rollout go on."""
    async with session(named.context) as opened:
        opened.require_fsm("hanse rollout")
        rollout = await opened.client.resume_rollout(
            named.name, reason=reason, max_failures=max_failures, tenant=named.tenant
        )
    if not _print_other(rollout, form):
        _print(f"rollout/{rollout.name} resumed")


async def abort(named: Named, reason: str, form: Output, *, confirmed: bool) -> None:
    """End a rollout and put the version before back, once that is confirmed."""
    async with session(named.context) as opened:
        opened.require_fsm("hanse rollout")
        if not confirmed:
            rollout = await opened.client.get("Rollout", named.name, tenant=named.tenant)
            _confirm(rollout)
        rollout = await opened.client.abort_rollout(named.name, reason=reason, tenant=named.tenant)
    if not _print_other(rollout, form):
        what = "as it was before" if rollout.spec.get("before") else "deleted again"
        _print(f"rollout/{rollout.name} aborted: {target_of(rollout)} is {what}")


def _confirm(rollout: Object) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Invalid(
            "nobody is here to confirm it; pass --yes if it is meant", code="not_confirmed"
        )
    sites = [site for step in rollout.spec.get("reached") or () for site in step["sites"]]
    how = "go back to the version before" if rollout.spec.get("before") else "lose the policy again"
    if not typer.confirm(f"Let {len(sites)} sites {how}?", default=False, err=True):
        raise Invalid("not confirmed; nothing was done", code="not_confirmed")


def _print_other(rollout: Object, form: Output) -> bool:
    """Print a rollout for programs; return False if a person is to read it."""
    if form is Output.NAME:
        print(f"rollout/{rollout.name}")
    elif form in (Output.JSON, Output.YAML):
        print_data(rollout.document, form)
    else:
        return False
    return True


def _print(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)
