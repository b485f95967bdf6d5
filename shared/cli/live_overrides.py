"""`hanse override`: how it is called."""

from typing import Annotated

import typer

from shared.cli.live import ContextOption, OutputOption
from shared.cli.live_sites import SITES
from shared.cli.output import Output

Name = Annotated[str, typer.Argument(help="The Override's name.")]
Tenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Only of this tenant.")]
Scope = Annotated[str | None, typer.Option("--scope", help="Only of this scope.")]
Why = Annotated[str, typer.Option("--reason", help="Kept in the audit trail.")]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires",
        metavar="TIME|DURATION",
        help="When it stops counting by itself: 2027-03-31T00:00:00Z, or 30d.",
    ),
]


def override_list(
    *, tenant: Tenant = None, context: ContextOption = None, output: OutputOption = Output.TABLE
) -> None:
    """List the site's exceptions to what it inherits, the first to end first."""
    from shared.cli.overriding import list_overrides
    from shared.cli.session import run

    run(list_overrides(context, tenant, output))


def override_draft(
    kind: Annotated[str, typer.Argument(help="The kind of what is inherited.")],
    target: Annotated[str, typer.Argument(metavar="NAME", help="Its name.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; the FSM is told.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The Override's; left out, NAME-exception.")
    ] = None,
    expires: Expires = None,
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="The target's.")] = "common",
    scope: Annotated[
        str, typer.Option("--scope", help="site, group/NAME or node/NAME: where it is to count.")
    ] = "site",
    origin: Annotated[
        str | None,
        typer.Option("--from", help="federation or region/NAME, if inherited from several."),
    ] = None,
    context: ContextOption = None,
) -> None:
    """Print an exception that says what is inherited now: edit it, and hanse apply -f it."""
    from shared.cli.kinds import find_kind
    from shared.cli.overriding import Wish, draft
    from shared.cli.session import run

    found = find_kind(kind).name
    run(draft(context, Wish(found, target, tenant, origin, name, scope, reason, expires)))


def override_expire(
    name: Name,
    *,
    at: Annotated[
        str,
        typer.Option(
            "--at", metavar="TIME|DURATION", help="The new end: 2027-03-31T00:00:00Z, or 30d."
        ),
    ],
    reason: Why,
    tenant: Tenant = None,
    scope: Scope = None,
    context: ContextOption = None,
) -> None:
    """Give an exception another end; all else of it stays."""
    from shared.cli.overriding import Named, expire
    from shared.cli.session import run

    run(expire(Named(context, name, tenant, scope), at, reason))


def override_end(
    name: Name,
    *,
    reason: Why,
    tenant: Tenant = None,
    scope: Scope = None,
    context: ContextOption = None,
) -> None:
    """End an exception now: what is inherited counts."""
    from shared.cli.overriding import Named, end
    from shared.cli.session import run

    run(end(Named(context, name, tenant, scope), reason))


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    group = typer.Typer(
        no_args_is_help=True, help="A site's exceptions to what it inherits, with their ends."
    )
    group.command("list")(override_list)
    group.command("draft")(override_draft)
    group.command("expire")(override_expire)
    group.command("end")(override_end)
    app.add_typer(group, name="override", rich_help_panel=SITES)
