"""`hanse conflicts` and `hanse exceptions`: how they are called."""

from typing import Annotated

import typer

from shared.cli.live import ContextOption, OutputOption
from shared.cli.live_sites import SITES
from shared.cli.output import Output

Name = Annotated[str, typer.Argument(help="The conflict's name.")]
Site = Annotated[str | None, typer.Option("--site", "-s", help="At the FSM: only of this site.")]
Tenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Only of this tenant.")]
Reason = Annotated[str, typer.Option("--reason", help="Kept with the conflict, and audited.")]


def conflicts_list(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones, too.")] = False,
    site: Site = None,
    tenant: Tenant = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List conflicts, the most pressing first; exit status 1 if one is open.

    At the FSM those of all sites, as each has reported them.
    """
    from shared.cli.conflicts.deciding import list_conflicts
    from shared.cli.session import run

    if run(list_conflicts(context, tenant, output, everything=everything, site=site)):
        raise typer.Exit(1)


def conflicts_show(
    name: Name,
    *,
    tenant: Tenant = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a conflict: its versions side by side, what counts meanwhile, and the ways out."""
    from shared.cli.conflicts.deciding import Named, show_conflict
    from shared.cli.session import run

    run(show_conflict(Named(context, name, tenant), output))


def conflicts_decide(
    name: Name,
    *,
    proposal: Annotated[
        str, typer.Option("--proposal", "-p", help="One that the conflict offers, see show.")
    ],
    reason: Reason,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="TIME|DURATION",
            help="When the override that is kept or merged ends: 2027-03-31T00:00:00Z, or 30d.",
        ),
    ] = None,
    tenant: Tenant = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Settle a conflict by one of its proposals, after showing what that changes."""
    from shared.cli.conflicts.deciding import Choice, Named, decide
    from shared.cli.session import run

    choice = Choice(proposal, reason, expires)
    run(decide(Named(context, name, tenant), choice, output, confirmed=yes))


def conflicts_defer(
    name: Name,
    *,
    until: Annotated[
        str,
        typer.Option(
            "--until",
            metavar="TIME|DURATION",
            help="When it is open again: 2027-03-31T00:00:00Z, or 30m, 8h, 2d.",
        ),
    ],
    reason: Reason,
    tenant: Tenant = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put a conflict off; nothing changes in what is enforced."""
    from shared.cli.conflicts.deciding import Named, defer
    from shared.cli.session import run

    run(defer(Named(context, name, tenant), until, reason, output))


def exceptions(
    subject: Annotated[
        str | None,
        typer.Argument(metavar="[POLICY]", help="What they are made to: a policy, or KIND/NAME."),
    ] = None,
    *,
    site: Site = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", "-t", help="Only to objects of this tenant.")
    ] = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List which sites make an exception to what, why and until when.  Asks the FSM."""
    from shared.cli.conflicts.federation import exceptions as show
    from shared.cli.kinds import kind_and_names
    from shared.cli.session import run

    kind = name = None
    if subject is not None:
        found, names = kind_and_names(
            subject if "/" in subject else "SecurityPolicy/" + subject, ()
        )
        kind, name = found.name, names[0]
    run(show(context, kind, name, output, site=site, tenant=tenant))


def conflicts_undo(
    name: Name,
    *,
    reason: Reason,
    tenant: Tenant = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a decision back, until it is superseded: all stands as before, and it is open again."""
    from shared.cli.conflicts.deciding import Named, undo
    from shared.cli.session import run

    run(undo(Named(context, name, tenant), reason, output))


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    group = typer.Typer(
        no_args_is_help=True, help="What a site and its federation disagree on, and deciding it."
    )
    group.command("list")(conflicts_list)
    group.command("show")(conflicts_show)
    group.command("decide")(conflicts_decide)
    group.command("defer")(conflicts_defer)
    group.command("undo")(conflicts_undo)
    app.add_typer(group, name="conflicts", rich_help_panel=SITES)
    app.command(rich_help_panel=SITES)(exceptions)
