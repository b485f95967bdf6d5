"""The commands that take a change back, or bring it to sites step by step: how they are called."""

from typing import Annotated

import typer

from shared.cli.live import (
    OBJECTS,
    AnyTenant,
    ContextOption,
    DryRun,
    Files,
    Force,
    Names,
    OutputOption,
    Reason,
    Scope,
    Subject,
    Tenant,
)
from shared.cli.live_sites import SITES
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


Name = Annotated[str, typer.Argument(help="The rollout's name.")]
Why = Annotated[str, typer.Option("--reason", help="Kept in the audit trail.")]


def rollout_start(
    files: Files = None,
    *,
    order: Annotated[
        list[str] | None,
        typer.Option(
            "--order",
            metavar="LABELS",
            help="A wave of sites by labels, such as env=test; several in their order. All other "
            "sites come last.",
        ),
    ] = None,
    max_failures: Annotated[
        int, typer.Option("--max-failures", min=0, help="How many sites may fail.")
    ] = 0,
    patience: Annotated[
        str | None,
        typer.Option(
            "--patience",
            metavar="DURATION",
            help="How long a site may take until it has failed: 90s, 10m (the default), 8h.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="The rollout's; else the policy's with its generation."),
    ] = None,
    dry_run: DryRun = False,
    reason: Reason = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a policy that goes site by site: a wave begins once the one before has realised it."""
    from shared.cli.rollouts.steering import Plan, start
    from shared.cli.session import run

    if not files:
        raise typer.BadParameter("say which document: -f FILE")
    plan = Plan(order or (), max_failures, patience, name, reason, dry_run)
    run(start(context, files, plan, output))


def rollout_list(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    tenant: AnyTenant = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the rollouts that go on."""
    from shared.cli.rollouts.steering import list_rollouts
    from shared.cli.session import run

    run(list_rollouts(context, tenant, output, everything=everything))


def rollout_show(
    name: Name,
    *,
    tenant: Tenant = "common",
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a rollout: how each site stands, and what it waits for."""
    from shared.cli.rollouts.steering import Named, show_rollout
    from shared.cli.session import run

    run(show_rollout(Named(context, name, tenant), output))


def rollout_wait(name: Name, *, tenant: Tenant = "common", context: ContextOption = None) -> None:
    """Wait until a rollout has ended; exit with 1 if it is stopped, paused or aborted."""
    from shared.cli.rollouts.steering import Named, wait_for
    from shared.cli.session import run

    if not run(wait_for(Named(context, name, tenant))):
        raise typer.Exit(1)


def rollout_pause(
    name: Name,
    *,
    reason: Why,
    tenant: Tenant = "common",
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Halt a rollout: sites that have the change keep it, and no further site gets it."""
    from shared.cli.rollouts.steering import Named, pause
    from shared.cli.session import run

    run(pause(Named(context, name, tenant), reason, output))


def rollout_resume(
    name: Name,
    *,
    reason: Why,
    max_failures: Annotated[
        int | None,
        typer.Option("--max-failures", min=0, help="How many sites may fail from now on."),
    ] = None,
    tenant: Tenant = "common",
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a rollout go on that is paused, or that has stopped."""
    from shared.cli.rollouts.steering import Named, resume
    from shared.cli.session import run

    run(resume(Named(context, name, tenant), reason, max_failures, output))


def rollout_abort(
    name: Name,
    *,
    reason: Why,
    yes: Yes = False,
    tenant: Tenant = "common",
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a rollout: the version before is written again, and the sites reached go back to it."""
    from shared.cli.rollouts.steering import Named, abort
    from shared.cli.session import run

    run(abort(Named(context, name, tenant), reason, output, confirmed=yes))


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(rich_help_panel=OBJECTS)(rollback)
    group = typer.Typer(no_args_is_help=True, help="A change of policy that goes site by site.")
    group.command("start")(rollout_start)
    group.command("list")(rollout_list)
    group.command("show")(rollout_show)
    group.command("wait")(rollout_wait)
    group.command("pause")(rollout_pause)
    group.command("resume")(rollout_resume)
    group.command("abort")(rollout_abort)
    app.add_typer(group, name="rollout", rich_help_panel=SITES)
