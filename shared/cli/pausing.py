"""`hanse sites pause` and `resume`: a site that takes no changes of policy for a while."""

from shared.cli.answers import Object, minute_of
from shared.cli.conflicts.deciding import moment_ahead
from shared.cli.output import Output, console, print_data
from shared.cli.session import session


async def pause(
    context: str | None, site: str, reason: str, until: str | None, form: Output
) -> None:
    """Let a site keep the policy that it has."""
    ends_at = None if until is None else moment_ahead(until)
    async with session(context) as opened:
        opened.require_fsm("hanse sites")
        found = await opened.client.pause_site(site, reason=reason, until=ends_at)
    end = found.spec.get("paused", {}).get("until")
    when = f" until {minute_of(end)}" if end else ""
    _print(found, form, f"paused{when}: no change of policy reaches it until it resumes")


async def resume(context: str | None, site: str, reason: str, form: Output) -> None:
    """Let a paused site take changes again."""
    async with session(context) as opened:
        opened.require_fsm("hanse sites")
        found = await opened.client.resume_site(site, reason=reason)
    _print(found, form, "resumed: what has changed meanwhile is on its way")


def _print(site: Object, form: Output, what: str) -> None:
    if form is Output.NAME:
        print(f"site/{site.name}")
    elif form in (Output.JSON, Output.YAML):
        print_data(site.document, form)
    else:
        console().print(f"site/{site.name} {what}", markup=False, soft_wrap=True)
