"""The commands about sites and their nodes: how they are called."""

from collections.abc import Callable
from typing import Annotated

import typer

from shared.cli.live import ContextOption, Names, OutputOption, Scope, Tenant
from shared.cli.output import Output

SITES = "Sites"


def status(
    site: Annotated[
        str | None, typer.Argument(metavar="[SITE]", help="Only this site, as the FSM sees it.")
    ] = None,
    *,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which policy runs where, which generation of it, and why not."""
    from shared.cli.session import run
    from shared.cli.standing import status as show

    run(show(context, site, output))


def sites_list(
    ctx: typer.Context, *, context: ContextOption = None, output: OutputOption = Output.TABLE
) -> None:
    """List the sites and how each stands."""
    if ctx.invoked_subcommand is None:
        from shared.cli.session import run
        from shared.cli.standing import sites

        run(sites(context, output))


Replace = Annotated[
    bool, typer.Option("--replace", help="Revoke the live certificate when the new one joins.")
]


def sites_token(
    name: Annotated[str, typer.Argument(help="The site's name.")],
    *,
    replace: Replace = False,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print a token with which the site's SDSP may join, once and within the hour."""
    from shared.cli.session import run
    from shared.cli.standing import give_token

    run(give_token(context, "Site", name, output, replace=replace))


SiteName = Annotated[str, typer.Argument(help="The site's name.")]
Why = Annotated[str, typer.Option("--reason", help="Kept in the audit trail.")]


def sites_pause(
    name: SiteName,
    *,
    reason: Why,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="TIME|DURATION",
            help="When it ends by itself: 2027-03-31T00:00:00Z, or 30m, 8h, 2d.",
        ),
    ] = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a site keep the policy it has: no change reaches it until it resumes.

    Revocations, trust anchors, keys, roles and their bindings go on.
    """
    from shared.cli.pausing import pause
    from shared.cli.session import run

    run(pause(context, name, reason, until, output))


def sites_resume(
    name: SiteName,
    *,
    reason: Why,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a paused site take changes again, beginning with all that has changed."""
    from shared.cli.pausing import resume
    from shared.cli.session import run

    run(resume(context, name, reason, output))


def nodes_list(
    ctx: typer.Context, *, context: ContextOption = None, output: OutputOption = Output.TABLE
) -> None:
    """List a site's nodes and how each stands."""
    if ctx.invoked_subcommand is None:
        from shared.cli.session import run
        from shared.cli.standing import nodes

        run(nodes(context, output))


def nodes_token(
    name: Annotated[str, typer.Argument(help="The node's name.")],
    *,
    replace: Replace = False,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print a token with which the node may join, once and within the hour."""
    from shared.cli.session import run
    from shared.cli.standing import give_token

    run(give_token(context, "Node", name, output, replace=replace))


NodeName = Annotated[str, typer.Argument(help="The node's name.")]


def nodes_admit(name: NodeName, *, context: ContextOption = None) -> None:
    """Let a node that has joined enforce."""
    from shared.cli.session import run
    from shared.cli.standing import admit

    run(admit(context, name, admission="admitted"))


def nodes_refuse(name: NodeName, *, context: ContextOption = None) -> None:
    """Put a node out: it gets no configuration any more."""
    from shared.cli.session import run
    from shared.cli.standing import admit

    run(admit(context, name, admission="refused"))


def held_list(
    ctx: typer.Context, *, context: ContextOption = None, output: OutputOption = Output.TABLE
) -> None:
    """List what a site enforces still although the FSM has it no longer."""
    if ctx.invoked_subcommand is None:
        from shared.cli.session import run
        from shared.cli.standing import held

        run(held(context, output))


def held_drop(
    subject: Annotated[
        str | None, typer.Argument(metavar="[KIND[/NAME]]", help="What is let go.")
    ] = None,
    names: Names = None,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Kept in the audit trail.")],
    every: Annotated[bool, typer.Option("--all", help="Let all go that is held.")] = False,
    tenant: Tenant = "common",
    scope: Scope = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    context: ContextOption = None,
) -> None:
    """Let held objects go: they are enforced no longer."""
    from shared.cli.kinds import kind_and_names
    from shared.cli.session import run
    from shared.cli.standing import drop_held

    if (subject is None) != every:
        raise typer.BadParameter("give either KIND NAME, or --all")
    wanted = None
    if subject is not None:
        kind, found = kind_and_names(subject, names or ())
        if len(found) != 1:
            raise typer.BadParameter("give one name")
        wanted = {"kind": kind.name, "name": found[0], "tenant": tenant}
        wanted |= {"scope": scope} if scope else {}
    run(drop_held(context, wanted, reason=reason, confirmed=yes))


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(rich_help_panel=SITES)(status)
    groups: tuple[tuple[str, Callable[..., None], dict[str, Callable[..., None]]], ...] = (
        (
            "sites",
            sites_list,
            {"token": sites_token, "pause": sites_pause, "resume": sites_resume},
        ),
        (
            "nodes",
            nodes_list,
            {"token": nodes_token, "admit": nodes_admit, "refuse": nodes_refuse},
        ),
        ("held", held_list, {"drop": held_drop}),
    )
    for name, callback, commands in groups:
        group = typer.Typer(invoke_without_command=True, callback=callback)
        for each, function in commands.items():
            group.command(each)(function)
        app.add_typer(group, name=name, rich_help_panel=SITES)
