"""`hanse pki`: how it is called."""

from enum import StrEnum
from typing import Annotated

import typer

from shared.cli.live import SERVERS, ContextOption, OutputOption
from shared.cli.output import Output

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


class What(StrEnum):
    """What of a server's own can be exchanged."""

    ROOT = "root"
    ISSUING = "issuing"
    AUTHORITY = "authority"
    SERVER = "server"


def pki_list(
    *,
    revoked: Annotated[bool, typer.Option("--revoked", help="Revoked ones, too.")] = False,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the certificates that the server has issued, and its own."""
    from shared.cli.pki import print_certificates
    from shared.cli.session import run

    run(print_certificates(context, output, revoked=revoked))


def pki_revoke(
    target: Annotated[
        str, typer.Argument(metavar="SERIAL|IDENTITY", help="One certificate, or all of somebody.")
    ],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Kept in the audit trail.")],
    yes: Yes = False,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a certificate count no longer, everywhere, open connections included."""
    from shared.cli.pki import revoke
    from shared.cli.session import run

    run(revoke(context, target, output, reason=reason, confirmed=yes))


def pki_rotate(
    what: Annotated[
        What, typer.Argument(help="root, issuing or server (FSM); authority or server (a site).")
    ],
    *,
    proceed: Annotated[
        bool, typer.Option("--proceed", help="Use a new root although not everybody trusts it yet.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Drop the old one, once everybody has followed.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Finish although somebody hasn't followed.")
    ] = False,
    yes: Yes = False,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Exchange a CA or certificate of the server; asked again, say who hasn't followed yet."""
    from shared.cli.pki import rotate
    from shared.cli.session import run

    if proceed and finish:
        raise typer.BadParameter("give --proceed or --finish, not both")
    if force and not finish:
        raise typer.BadParameter("--force goes with --finish")
    step = "proceed" if proceed else "finish" if finish else "begin"
    run(rotate(context, what.value, step, output, force=force, confirmed=yes))


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    group = typer.Typer(
        no_args_is_help=True, help="Certificates: list what is issued, revoke it, exchange CAs."
    )
    group.command("list")(pki_list)
    group.command("revoke")(pki_revoke)
    group.command("rotate")(pki_rotate)
    app.add_typer(group, name="pki", rich_help_panel=SERVERS)
