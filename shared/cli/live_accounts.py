"""The commands about logins and accounts: how they are called."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.auth_commands import auth
from shared.cli.live import SERVERS, ContextOption, OutputOption, Reason
from shared.cli.output import Output

user = typer.Typer(help="People with a password of this server's own.", no_args_is_help=True)

PasswordFile = Annotated[
    str | None,
    typer.Option(
        "--password-file", metavar="FILE", help="Read the password from its first line; - is stdin."
    ),
]


@auth.command("test")
def auth_test(
    file: Annotated[
        Path, typer.Option("--file", "-f", help="The AuthenticationPolicy, as YAML or JSON.")
    ],
    username: Annotated[str, typer.Option("--user", "-u", help="Who logs in.")],
    *,
    password_file: PasswordFile = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Try a policy with a real login before it is applied: the server itself asks its providers.

    Exit status 1 if that login would be refused, or could not be checked.
    """
    from shared.cli.login_trials import Wanted, try_login
    from shared.cli.session import run

    wanted = Wanted(file, username, password_file)
    raise typer.Exit(run(try_login(context, wanted, output)))


@user.command("password")
def user_password(
    name: Annotated[str, typer.Argument(help="The User.")],
    *,
    create: Annotated[
        bool, typer.Option("--create", help="Make the User if there is none.")
    ] = False,
    password_file: PasswordFile = None,
    reason: Reason = None,
    context: ContextOption = None,
) -> None:
    """Set the password of a User; only its hash is kept."""
    from shared.cli.login_trials import PasswordWanted, set_password
    from shared.cli.session import run

    run(set_password(context, PasswordWanted(name, password_file, create=create, reason=reason)))


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application; `hanse auth` is added by auth_commands."""
    app.add_typer(user, name="user", rich_help_panel=SERVERS)
