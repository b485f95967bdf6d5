"""`hanse changerequests`: how it is called."""

from typing import Annotated, Literal

import typer

from shared.cli.live import ContextOption, OutputOption
from shared.cli.live_sites import SITES
from shared.cli.output import Output

Name = Annotated[str, typer.Argument(help="The change request's name.")]
Tenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Only of this tenant.")]
Reason = Annotated[str, typer.Option("--reason", help="The site is told, and it is audited.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def requests_list(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Decided ones, too.")] = False,
    site: Annotated[str | None, typer.Option("--site", "-s", help="Only of this site.")] = None,
    tenant: Tenant = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what sites ask their federation to change; exit status 1 if one is open."""
    from shared.cli.conflicts.requests import list_requests
    from shared.cli.session import run

    if run(list_requests(context, tenant, site, output, everything=everything)):
        raise typer.Exit(1)


def requests_show(
    name: Name,
    *,
    tenant: Tenant = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a change request: what the site knew, what it asks for, and what there is now."""
    from shared.cli.conflicts.requests import Named, show_request
    from shared.cli.session import run

    run(show_request(Named(context, name, tenant), output))


def requests_accept(
    name: Name,
    *,
    reason: Reason,
    target_revision: Annotated[
        int | None,
        typer.Option(
            "--target-revision",
            help="The target's revision that was looked at, if it has changed since.",
        ),
    ] = None,
    tenant: Tenant = None,
    yes: Yes = False,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Accept a change request: what the site asks for becomes the target's new revision."""
    _decide("accept", (context, name, tenant), reason, output, yes=yes, seen=target_revision)


def requests_refuse(
    name: Name,
    *,
    reason: Reason,
    tenant: Tenant = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Refuse a change request; the site's conflict is open again."""
    _decide("refuse", (context, name, tenant), reason, output, yes=True)


def _decide(
    decision: Literal["accept", "refuse"],
    named: tuple[str | None, str, str | None],
    reason: str,
    output: Output,
    *,
    yes: bool,
    seen: int | None = None,
) -> None:
    from shared.cli.conflicts.requests import Named, decide
    from shared.cli.session import run

    work = decide(Named(*named), decision, reason, output, confirmed=yes, target_revision=seen)
    run(work)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    group = typer.Typer(
        no_args_is_help=True, help="What sites ask their federation to change, and the answers."
    )
    group.command("list")(requests_list)
    group.command("show")(requests_show)
    group.command("accept")(requests_accept)
    group.command("refuse")(requests_refuse)
    app.add_typer(group, name="changerequests", rich_help_panel=SITES)
