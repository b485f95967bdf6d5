"""`hanse audit`: list, search, verify, export; what they do is imported when they run."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from shared.cli.output import Output, Plain

_Context = Annotated[
    str | None, typer.Option("--context", "-c", help="Another context than the current.")
]
_Form = Annotated[Output, typer.Option("-o", "--output", help="table, wide, json or yaml.")]
_Tenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")]
_Changes = Annotated[
    bool,
    typer.Option("--changes", help="Only what changed something: no reads, refusals, renewals."),
]
_Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many entries.")]

_LIST = "list"


class _ListsByDefault(TyperGroup):
    """Takes `hanse audit network/web` for `hanse audit list network/web`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("--help", "-h")):
            args = [_LIST, *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


commands = typer.Typer(
    cls=_ListsByDefault,
    help="Show, search, verify and export the audit trail; without a command: list.",
)


@commands.command(_LIST)
def list_entries(
    subject: Annotated[
        str | None, typer.Argument(metavar="[KIND[/NAME]]", help="With a name: only this object.")
    ] = None,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]")] = None,
    *,
    tenant: _Tenant = None,
    scope: Annotated[str | None, typer.Option("--scope", help="The object's scope.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="Words that an entry has.")] = None,
    changes: _Changes = False,
    limit: _Limit = 50,
    context: _Context = None,
    output: _Form = Output.TABLE,
) -> None:
    """Show the audit trail, latest first."""
    from shared.cli.kinds import kind_and_names
    from shared.cli.session import run
    from shared.cli.trails import AuditWanted, audit

    found: tuple[str, str] | None = None
    if subject is not None:
        kind, given = kind_and_names(subject, names or ())
        if len(given) != 1:
            raise typer.BadParameter("give one name")
        found = kind.name, given[0]
    run(audit(context, AuditWanted(found, tenant, scope, text, changes, limit), output))


@commands.command()
def search(
    words: Annotated[list[str], typer.Argument(metavar="WORDS...", help="All must occur.")],
    *,
    tenant: _Tenant = None,
    changes: _Changes = False,
    limit: _Limit = 50,
    context: _Context = None,
    output: _Form = Output.TABLE,
) -> None:
    """Show the entries that have all these words, latest first: names, addresses, codes, values."""
    from shared.cli.session import run
    from shared.cli.trails import AuditWanted, audit

    wanted = AuditWanted(None, tenant, None, " ".join(words), changes, limit)
    run(audit(context, wanted, output))


@commands.command()
def export(
    to: Annotated[
        Path | None, typer.Option("--to", "-f", help="A file to append to; left out: stdout.")
    ] = None,
    *,
    after: Annotated[
        int | None,
        typer.Option("--after", min=0, help="Behind this number; else where the file ends."),
    ] = None,
    context: _Context = None,
) -> None:
    """Write the audit trail as JSON lines, oldest first; a file that is there is continued."""
    from shared.cli.auditing import export as work
    from shared.cli.session import run

    run(work(context, to, after=after))


@commands.command()
def verify(
    *,
    export_file: Annotated[
        Path | None, typer.Option("--export", help="An export to verify, without any server.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A server's folder, whose store is verified.")
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", help="A store: sqlite:///PATH or postgresql://…")
    ] = None,
    backup: Annotated[Path | None, typer.Option("--backup", help="A backup to verify.")] = None,
    roots: Annotated[
        Path | None,
        typer.Option("--roots", help="PEM file of the roots that signers must lead to."),
    ] = None,
    seal: Annotated[
        str | None,
        typer.Option("--seal", help="SEQUENCE:HASH of a seal kept elsewhere, to be found here."),
    ] = None,
    context: _Context = None,
    output: Annotated[Plain, typer.Option("-o", "--output", help="table, json or yaml.")] = (
        Plain.TABLE
    ),
) -> None:
    """Verify that nothing was changed, removed, inserted or cut off; exit 1 with the place if so.

    Without any of --export, --data, --store and --backup, the current server's trail is fetched
    and verified here, by the root that this computer trusts.
    """
    from shared.cli.auditing import Where, verify_and_show
    from shared.cli.session import run

    given: dict[str, Any] = {"export": export_file, "data": data, "store": store, "backup": backup}
    if sum(each is not None for each in given.values()) > 1:
        raise typer.BadParameter("give one of --export, --data, --store and --backup")
    where = Where(**given, roots=roots, seal=seal, context=context)
    if not run(verify_and_show(where, output)):
        raise typer.Exit(1)
