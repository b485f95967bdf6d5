"""The commands about staged policies: how they are called."""

from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli.live import (
    OBJECTS,
    ContextOption,
    DryRun,
    Force,
    Names,
    OutputOption,
    Scope,
    Subject,
    Tenant,
)
from shared.cli.output import Output

if TYPE_CHECKING:
    from shared.ids import Key

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
Why = Annotated[str, typer.Option("--reason", help="Kept in the audit trail.")]


def staged(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only the policy of this name.")
    ] = None,
    *,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what staged policies would newly deny and allow: by rule, at the FSM by site."""
    from shared.cli.session import run
    from shared.cli.staging import staged as show

    run(show(context, name, output))


def promote(
    subject: Subject,
    names: Names = None,
    *,
    reason: Why,
    tenant: Tenant = "common",
    scope: Scope = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    force: Force = False,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Enforce a staged policy, once you have seen what nodes counted that it would do."""
    from shared.cli.applying import WriteArguments
    from shared.cli.session import run
    from shared.cli.staging import Wanted, change_stage

    wanted = Wanted(_key(subject, names, tenant, scope), "enforced", yes)
    run(change_stage(context, wanted, WriteArguments(dry_run, force, reason, output)))


def stage(
    subject: Subject,
    names: Names = None,
    *,
    reason: Why,
    tenant: Tenant = "common",
    scope: Scope = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    force: Force = False,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Stop enforcing a policy, and count what it would do; the reverse of promote."""
    from shared.cli.applying import WriteArguments
    from shared.cli.session import run
    from shared.cli.staging import Wanted, change_stage

    wanted = Wanted(_key(subject, names, tenant, scope), "staged", yes)
    run(change_stage(context, wanted, WriteArguments(dry_run, force, reason, output)))


def _key(subject: str, names: list[str] | None, tenant: str, scope: str | None) -> "Key":
    """Return the key of the one policy that is named."""
    from shared.cli.kinds import kind_and_names
    from shared.ids import Key

    kind, found = kind_and_names(subject, names or ())
    if len(found) != 1:
        raise typer.BadParameter("give one name")
    return Key(kind.name, tenant, scope or "", found[0])


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (staged, promote, stage):
        app.command(rich_help_panel=OBJECTS)(command)
