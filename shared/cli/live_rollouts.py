"""The commands that take a change back, or bring it to sites step by step: how they are called."""

from typing import Annotated

import typer

from shared.cli.live import (
    OBJECTS,
    ContextOption,
    DryRun,
    Force,
    Names,
    OutputOption,
    Reason,
    Scope,
    Subject,
    Tenant,
)
from shared.cli.output import Output

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def rollback(
    subject: Subject,
    names: Names = None,
    *,
    to: Annotated[
        int,
        typer.Option(
            "--to",
            min=1,
            metavar="REVISION",
            help="As it was at this revision of the store; see hanse history.",
        ),
    ],
    tenant: Tenant = "common",
    scope: Scope = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    force: Force = False,
    reason: Reason = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write an object as it was at an earlier revision; one that was deleted comes back.

    Labels, annotations and spec are written as a new revision, once you have seen what changes.
    """
    from shared.cli.applying import WriteArguments
    from shared.cli.kinds import kind_and_names
    from shared.cli.rolling_back import Wanted
    from shared.cli.rolling_back import rollback as write
    from shared.cli.session import run
    from shared.ids import Key

    kind, found = kind_and_names(subject, names or ())
    if len(found) != 1:
        raise typer.BadParameter("give one name")
    wanted = Wanted(Key(kind.name, tenant, scope or "", found[0]), to, yes)
    run(write(context, wanted, WriteArguments(dry_run, force, reason, output)))


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(rich_help_panel=OBJECTS)(rollback)
