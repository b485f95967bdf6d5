"""The commands that ask a server: how they are called.

What they do is imported when one runs, which keeps `hanse --help` quick.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli import audit_commands
from shared.cli.output import Output, Plain

if TYPE_CHECKING:
    from shared.cli.answers import Base

SERVERS = "Servers"
OBJECTS = "Objects"

ContextOption = Annotated[
    str | None,
    typer.Option(
        "--context",
        "-c",
        envvar="HANSE_CONTEXT",
        show_envvar=False,
        metavar="NAME",
        help="The context to use; left out, the current one (hanse context).",
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="The form of the answer.")]
PlainOption = Annotated[Plain, typer.Option("--output", "-o", help="The form of the answer.")]
Files = Annotated[
    list[str] | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE|FOLDER|-",
        help="Documents: a file, a folder with all in it, a policy repository, or - for stdin; "
        "several if there are several.",
    ),
]
Tenant = Annotated[
    str, typer.Option("--tenant", "-t", help="The object's tenant.", show_default=True)
]
AnyTenant = Annotated[
    str | None,
    typer.Option("--tenant", "-t", help="Only of this tenant; of a named object: common."),
]
Scope = Annotated[
    str | None,
    typer.Option(
        "--scope", help="federation, region/NAME, site, group/NAME or node/NAME; see hanse explain."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Do everything but write.")]
Force = Annotated[
    bool, typer.Option("--force", help="Pass what a person with the permission may pass.")
]
ManifestOption = Annotated[
    str | None,
    typer.Option(
        "--manifest",
        metavar="NAME",
        help="Under which name the repository owns objects; left out, that in its hanse.yaml.",
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep", metavar="KIND/NAME", help="Leave it, without an owner, instead of deleting it."
    ),
]
MarkdownOption = Annotated[
    Path | None,
    typer.Option("--markdown", metavar="FILE", help="Also write a summary for a pull request."),
]
Reason = Annotated[str | None, typer.Option("--reason", help="Kept in the audit trail.")]
Subject = Annotated[
    str, typer.Argument(metavar="KIND[/NAME]", help="A kind, its plural, or a kind with a name.")
]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Objects' names.")]
Labels = Annotated[
    str | None,
    typer.Option(
        "--selector", "-l", metavar="LABELS", help="Only with labels: env=prod,tier in (web,db)."
    ),
]


def login(
    server: Annotated[str, typer.Argument(help="https://HOST:PORT of the FSM or of an SDSP.")],
    *,
    user: Annotated[str | None, typer.Option("--user", "-u", help="The account's name.")] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="FILE", help="The federation's root, PEM.")
    ] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option("--fingerprint", metavar="SHA256", help="That of the federation's root."),
    ] = None,
    site: Annotated[
        str | None,
        typer.Option("--site", "-s", help="Expect this site's SDSP there, and nobody else."),
    ] = None,
    password_file: Annotated[
        str | None,
        typer.Option(
            "--password-file",
            metavar="FILE",
            help="Read the password from its first line; - is stdin. Or set HANSE_PASSWORD.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The context's name; else fsm, or the site's.")
    ] = None,
) -> None:
    """Log in to a server, and remember it as a context.

    Of a server that isn't known yet, give --ca or --fingerprint; else its root's fingerprint is
    shown, for you to compare with the one that the FSM showed when it was made.
    """
    import os

    from shared.cli.logging_in import LoginArguments, log_in
    from shared.cli.session import run

    arguments = LoginArguments(server, user, ca, fingerprint, site, password_file, name)
    run(log_in(arguments, os.environ))


def whoami(*, context: ContextOption = None, output: OutputOption = Output.TABLE) -> None:
    """Say who one is to the server, and what one may do."""
    from shared.cli.logging_in import print_identity
    from shared.cli.session import run

    run(print_identity(context, output))


def context_list(ctx: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """List the servers that one has logged in to; the current one has a star."""
    if ctx.invoked_subcommand is None:
        from shared.cli.logging_in import list_contexts

        list_contexts(output)


def context_use(name: Annotated[str, typer.Argument(help="A context's name.")]) -> None:
    """Make a context the current one."""
    from shared.cli.logging_in import use_context

    use_context(name)


def context_delete(name: Annotated[str, typer.Argument(help="A context's name.")]) -> None:
    """Forget a context and its token."""
    from shared.cli.logging_in import delete_context

    delete_context(name)


def get(
    subject: Annotated[
        str, typer.Argument(metavar="KIND[,KIND...][/NAME]", help="Kinds, or one with a name.")
    ],
    names: Names = None,
    *,
    labels: Labels = None,
    fields: Annotated[
        str | None,
        typer.Option("--field-selector", metavar="FIELDS", help="Only with fields: spec.vlan=110."),
    ] = None,
    tenant: AnyTenant = None,
    scope: Scope = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show objects: all of a kind in every tenant and scope, or those named."""
    from shared.cli.session import run
    from shared.cli.showing import Wanted
    from shared.cli.showing import get as show

    run(show(context, Wanted(subject, names or (), tenant, scope, labels, fields), output))


def describe(
    subject: Subject,
    names: Names = None,
    *,
    labels: Labels = None,
    tenant: AnyTenant = None,
    scope: Scope = None,
    context: ContextOption = None,
) -> None:
    """Tell all that is known of objects, with their latest changes."""
    from shared.cli.session import run
    from shared.cli.showing import Wanted
    from shared.cli.showing import describe as show

    run(show(context, Wanted(subject, names or (), tenant, scope, labels)))


def apply(
    files: Files = None,
    *,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Also delete what the manifest owns and the repository has no longer."
        ),
    ] = False,
    manifest: ManifestOption = None,
    keep: Keep = None,
    prune_at_most: Annotated[
        str | None,
        typer.Option(
            "--prune-at-most",
            metavar="N|N%",
            help="Delete so many, or such a share; else no more than a quarter.",
        ),
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="With --prune: own what another manifest owns.")
    ] = False,
    in_parts: Annotated[
        bool,
        typer.Option(
            "--in-parts",
            help="With --prune: write what is too large for one transaction in several, each all "
            "or nothing.",
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="With --prune or --confirm: without asking.")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="REVISION",
            help="Only if nothing that it rests on has changed since; hanse diff says it.",
        ),
    ] = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Show what would change, and ask first.")
    ] = False,
    impact: Annotated[
        bool, typer.Option("--impact", help="With --confirm: also ask the sites; see hanse diff.")
    ] = False,
    dry_run: DryRun = False,
    force: Force = False,
    reason: Reason = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create or replace every object of some documents, in one revision: all or nothing.

    Of a policy repository, federation/ goes to the FSM and sites/NAME/ to that site's SDSP. A
    document with metadata.revision only replaces that revision.

    With --prune the repository owns what it writes, by the manifest named in its hanse.yaml: what
    it has no longer is deleted, and nothing else.
    """
    from shared.cli.applying import WriteArguments
    from shared.cli.session import run

    how = WriteArguments(dry_run, force, reason, output, None if base is None else _base(base))
    if not prune:
        if manifest or keep or prune_at_most or take_over or in_parts:
            raise typer.BadParameter("this goes with --prune")
        if confirm:
            from shared.cli.drafts.asking import Question
            from shared.cli.drafts.confirming import apply_confirmed

            question = Question(force=force) if impact else None
            run(apply_confirmed(context, _given(files), how, question, yes=yes))
            return
        if impact:
            raise typer.BadParameter("this goes with --confirm; hanse diff --impact only looks")
        from shared.cli.applying import apply as write

        run(write(context, _given(files), how))
        return
    if base or confirm or impact:
        raise typer.BadParameter("with --prune each object is written only as it was compared")
    from shared.cli.gitops.comparing import Owning
    from shared.cli.gitops.plan import Limit
    from shared.cli.gitops.writing import PruneArguments, apply_and_prune

    try:
        limit = None if prune_at_most is None else Limit.parse(prune_at_most)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--prune-at-most") from exc
    asked = PruneArguments(Owning(manifest, keep or ()), limit, take_over, yes, in_parts)
    run(apply_and_prune(context, _given(files), how, asked))


def diff(
    files: Files = None,
    *,
    prune: Annotated[
        bool, typer.Option("--prune", help="As apply --prune would: also what is deleted.")
    ] = False,
    manifest: ManifestOption = None,
    keep: Keep = None,
    markdown: MarkdownOption = None,
    impact: Annotated[
        bool,
        typer.Option("--impact", help="Ask the sites that it concerns what it would do there."),
    ] = False,
    sites: Annotated[
        str | None,
        typer.Option("--sites", metavar="LABELS", help="With --impact: ask only these sites."),
    ] = None,
    deadline: Annotated[
        str, typer.Option("--deadline", help="With --impact: how long a site may take.")
    ] = "10s",
    require_all: Annotated[
        bool, typer.Option("--require-all", help="With --impact: a missing site is an error.")
    ] = False,
    context: ContextOption = None,
    output: PlainOption = Plain.TABLE,
) -> None:
    """Show what an apply would change; exit with 1 if it would change anything.

    With --impact also what that would do at each site: which packets would newly be allowed and
    denied, which conflicts would open or close; exit with 3 if no site could be asked.
    """
    from shared.cli.differing import DiffArguments
    from shared.cli.differing import diff as compare
    from shared.cli.drafts.asking import Question
    from shared.cli.gitops.comparing import Owning
    from shared.cli.session import run

    if not prune and (manifest or keep):
        raise typer.BadParameter("this goes with --prune")
    if not impact and (sites or require_all):
        raise typer.BadParameter("this goes with --impact")
    owning = Owning(manifest, keep or ()) if prune else None
    question = Question(sites, _seconds(deadline), require_all) if impact else None
    how = DiffArguments(owning, markdown, question, output)
    raise typer.Exit(int(run(compare(context, _given(files), how))))


def drift(
    files: Files = None,
    *,
    manifest: ManifestOption = None,
    markdown: MarkdownOption = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show where a server and a repository have parted, and who did it; exit with 1 if they have.

    For a scheduled job: it changes nothing.
    """
    from shared.cli.gitops.drifting import show_drift
    from shared.cli.session import run

    asked = show_drift(context, _given(files), manifest, markdown=markdown, form=output)
    raise typer.Exit(int(run(asked)))


def delete(
    subject: Annotated[
        str | None, typer.Argument(metavar="[KIND[/NAME]]", help="A kind, or one with a name.")
    ] = None,
    names: Names = None,
    *,
    files: Files = None,
    tenant: Tenant = "common",
    scope: Scope = None,
    dry_run: DryRun = False,
    force: Force = False,
    reason: Reason = None,
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="What isn't there is no error.")
    ] = False,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete objects by name or by documents, in one revision: all or nothing."""
    from shared.cli.applying import Names as NamesOf
    from shared.cli.applying import WriteArguments, delete_files, delete_names
    from shared.cli.kinds import kind_and_names
    from shared.cli.session import run

    how = WriteArguments(dry_run, force, reason, output)
    if (subject is None) == (not files):
        raise typer.BadParameter("give either KIND NAME, or -f FILE")
    if subject is None:
        run(delete_files(context, _given(files), how, ignore_absent=ignore_not_found))
        return
    kind, found = kind_and_names(subject, names or ())
    wanted = NamesOf(kind.name, found, tenant, scope)
    run(delete_names(context, wanted, how, ignore_absent=ignore_not_found))


def watch(
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND]...", help="Kinds; left out, all.")
    ] = None,
    *,
    labels: Labels = None,
    tenant: AnyTenant = None,
    after: Annotated[
        int | None,
        typer.Option("--after", min=0, help="Begin behind this revision; left out, now."),
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Watch what is observed, not what people wrote.")
    ] = False,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print changes as they happen, until Ctrl-C; with -o json one a line."""
    from shared.cli.session import run
    from shared.cli.watching import WatchArguments
    from shared.cli.watching import watch as follow

    if status and labels:
        raise typer.BadParameter("status has no labels; leave -l out")
    run(follow(context, WatchArguments(kinds or (), tenant, labels, after, status), output))


def history(
    subject: Subject,
    names: Names = None,
    *,
    tenant: Tenant = "common",
    scope: Scope = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many changes.")] = 20,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show who changed an object, when, and what; also of one that was deleted."""
    from shared.cli.kinds import kind_and_names
    from shared.cli.session import run
    from shared.cli.trails import history as show
    from shared.ids import Key

    kind, found = kind_and_names(subject, names or ())
    if len(found) != 1:
        raise typer.BadParameter("give one name")
    key = Key(kind.name, tenant, scope or "", found[0])
    run(show(context, key, limit=limit, form=output))


def _base(text: str) -> "Base":
    from shared.cli.answers import Base
    from shared.errors import Invalid

    try:
        return Base.parse(text)
    except Invalid as exc:
        raise typer.BadParameter(exc.message, param_hint="--base") from exc


def _seconds(text: str) -> float:
    """Read `10s`, `2m`, or seconds alone."""
    number, factor = text.removesuffix("s").removesuffix("m"), 60 if text.endswith("m") else 1
    try:
        found = float(number) * factor
    except ValueError as exc:
        raise typer.BadParameter("write it as 10s or 2m", param_hint="--deadline") from exc
    if not 0.1 <= found <= 300:
        raise typer.BadParameter("it may be from 0.1s to 5m", param_hint="--deadline")
    return found


def _given(files: list[str] | None) -> list[str]:
    if not files:
        raise typer.BadParameter("say which documents: -f FILE")
    return files


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(rich_help_panel=SERVERS)(login)
    app.command(rich_help_panel=SERVERS)(whoami)
    contexts = typer.Typer(invoke_without_command=True, callback=context_list)
    contexts.command("use")(context_use)
    contexts.command("delete")(context_delete)
    app.add_typer(contexts, name="context", rich_help_panel=SERVERS)
    for command in (get, describe, apply, diff, drift, delete, watch, history):
        app.command(rich_help_panel=OBJECTS)(command)
    app.add_typer(audit_commands.commands, name="audit", rich_help_panel=OBJECTS)
