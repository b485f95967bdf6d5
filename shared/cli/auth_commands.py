"""How `hanse logout` and `hanse auth …` are called; what they do is imported when one runs."""

from typing import Annotated

import typer

from shared.cli.live import SERVERS, ContextOption, OutputOption, whoami
from shared.cli.output import Output

auth = typer.Typer(
    help="Logins, tokens and permissions.", no_args_is_help=True, rich_markup_mode="rich"
)
token = typer.Typer(help="Tokens of service accounts.", no_args_is_help=True)
auth.command("whoami")(whoami)
auth.add_typer(token, name="token")

Why = Annotated[str, typer.Option("--reason", help="Kept in the audit trail.")]
Account = Annotated[
    str, typer.Option("--service-account", metavar="NAME", help="The ServiceAccount.")
]
Tenant = Annotated[str, typer.Option("--tenant", "-t", help="The account's tenant.")]


def logout(*, context: ContextOption = None) -> None:
    """End the login of a context: its tokens count no longer, and are forgotten."""
    from shared.cli.session import run
    from shared.cli.sessions import log_out

    run(log_out(context))


@auth.command("sessions")
def sessions(
    *,
    user: Annotated[str | None, typer.Option("--user", "-u", help="Only of this user.")] = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the logins that count: one's own, or everybody's if one may see users.

    A star marks the one that asks, an exclamation mark the emergency account.
    """
    from shared.cli.session import run
    from shared.cli.sessions import list_sessions

    run(list_sessions(context, user, output))


@auth.command("revoke")
def revoke(
    *,
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="All logins of this user.")
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", help="One login, by its id (hanse auth sessions).")
    ] = None,
    token_id: Annotated[
        str | None,
        typer.Option("--token", metavar="ID", help="One token, by its id; not the token itself."),
    ] = None,
    service_account: Annotated[
        str | None,
        typer.Option("--service-account", metavar="NAME", help="All tokens of this account."),
    ] = None,
    tenant: Tenant = "common",
    reason: Why = "",
    context: ContextOption = None,
) -> None:
    """End logins or tokens; they count no longer within seconds, open streams included."""
    from shared.cli.session import run
    from shared.cli.sessions import revoke as work

    given = {
        "user": user,
        "session": session,
        "token": token_id,
        "service_account": service_account,
    }
    named = {name: each for name, each in given.items() if each is not None}
    if len(named) != 1:
        raise typer.BadParameter(
            "give exactly one of --user, --session, --token, --service-account"
        )
    run(work(context, {**named, "tenant": tenant}, reason))


@auth.command("rotate-keys")
def rotate_keys(
    *,
    at_once: Annotated[
        bool,
        typer.Option("--at-once", help="After a theft: no access token of now counts any longer."),
    ] = False,
    reason: Why = "",
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have the server sign tokens with a new key; the old one counts as long as its tokens."""
    from shared.cli.session import run
    from shared.cli.sessions import rotate_keys as work

    run(work(context, reason, output, at_once=at_once))


@auth.command("can-i")
def can_i(
    verb: Annotated[
        str | None,
        typer.Argument(help="read, write; override, allot, force, admit, decide, … trace."),
    ] = None,
    kind: Annotated[
        str | None, typer.Argument(help="A kind, or status, audit, metrics; for read and write.")
    ] = None,
    *,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="Default: common.")] = None,
    scope: Annotated[
        str | None, typer.Option("--scope", help="Default: federation, at a site: site.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="To this very object, whose labels count.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--list", help="List all that one may do instead.")
    ] = False,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say whether one may do something, and by which role; exit with 1 if not."""
    from shared.cli import permitted
    from shared.cli.session import run

    if everything:
        if verb is not None:
            raise typer.BadParameter("give either --list, or a verb")
        run(permitted.list_all(context, output))
        return
    if verb is None:
        raise typer.BadParameter("say what: a verb and a kind, or --list")
    run(permitted.ask(context, permitted.Question(verb, kind, tenant, scope, name), output))


@token.command("create")
def token_create(
    *,
    service_account: Account,
    tenant: Tenant = "common",
    lifetime: Annotated[str, typer.Option("--lifetime", help="90s, 15m, 8h, 30d.")] = "90d",
    description: Annotated[str, typer.Option("--description", help="What it is for.")] = "",
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a token for a service account; it is shown once, on standard output."""
    from shared.cli.session import run
    from shared.cli.sessions import create_token

    options = {"tenant": tenant, "lifetime": lifetime, "description": description}
    run(create_token(context, service_account, options, output))


@token.command("list")
def token_list(
    *,
    service_account: Account,
    tenant: Tenant = "common",
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List a service account's tokens, without their secrets."""
    from shared.cli.session import run
    from shared.cli.sessions import list_tokens

    run(list_tokens(context, service_account, tenant, output))


@token.command("revoke")
def token_revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Its id.")],
    *,
    reason: Why = "",
    context: ContextOption = None,
) -> None:
    """Revoke a token by its id."""
    from shared.cli.session import run
    from shared.cli.sessions import revoke as work

    run(work(context, {"token": token_id}, reason))


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(rich_help_panel=SERVERS)(logout)
    app.add_typer(auth, name="auth", rich_help_panel=SERVERS)
