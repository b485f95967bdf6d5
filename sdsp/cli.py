"""`hanse sdsp`: prepare, join and run one site's manager."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli import backup_commands, break_glass_commands
from shared.cli.live import ContextOption

if TYPE_CHECKING:
    from shared.backup.contents import Home
    from shared.backup.settings import BackupSettings
    from shared.login.effective import Judge

commands = typer.Typer(
    help="One site's manager: prepare it, let it join the federation, run it.",
    no_args_is_help=True,
)

Data = Annotated[Path, typer.Option("--data", help="The folder of this SDSP; one for each site.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(help="Read the administrator's password from this file, not from a terminal."),
]


@commands.command()
def init(
    data: Data,
    listen: Annotated[
        str, typer.Option(help="The address and port to serve at, HOST:PORT; :: is all.")
    ] = "127.0.0.1:8444",
    admin: Annotated[str, typer.Option(help="The site's first administrator.")] = "admin",
    password_file: PasswordFile = None,
    database: Annotated[
        str | None,
        typer.Option(help="postgresql://… or cockroachdb://…; left out: SQLite in the folder."),
    ] = None,
) -> None:
    """Prepare a folder: settings, store, and an administrator who can log in."""
    from sdsp.setup import initialise

    print(initialise(data, listen=listen, admin=admin, password_file=password_file, url=database))


@commands.command()
def join(
    data: Data,
    server: Annotated[
        list[str],
        typer.Option("--server", help="The FSM, https://HOST:PORT; several if there are several."),
    ],
    token: Annotated[
        str,
        typer.Option(help="The join token of `hanse sites token`; - reads it from standard input."),
    ] = "-",  # noqa: S107 - not a token: read one from standard input
) -> None:
    """Join the federation as the site that the token names."""
    from sdsp.setup import join_site

    print(join_site(data, servers=server, token=token))


@commands.command()
def serve(data: Data) -> None:
    """Run the site's manager until it is stopped."""
    from sdsp.serving import serve_site

    serve_site(data, announce=typer.echo)


Reason = Annotated[str, typer.Option("--reason", help="Kept in the audit trail.")]


@commands.command()
def detach(
    *,
    until: Annotated[
        str,
        typer.Option(
            metavar="TIME|DURATION",
            help="When it connects again by itself: 2027-03-31T00:00:00Z, or 30m, 8h, 2d.",
        ),
    ],
    reason: Reason,
    context: ContextOption = None,
) -> None:
    """Cut the site that you are logged in to off from its FSM, for a planned time."""
    from shared.cli import detaching
    from shared.cli.session import run

    run(detaching.detach(context, until, reason))


@commands.command()
def attach(*, reason: Reason, context: ContextOption = None) -> None:
    """Let a detached site connect to its FSM again before the time."""
    from shared.cli import detaching
    from shared.cli.session import run

    run(detaching.attach(context, reason))


def _home(data: Path) -> "tuple[Home, BackupSettings]":
    from sdsp.home import home_of
    from sdsp.settings import load

    settings = load(data, dict(os.environ))
    return home_of(data, settings), settings.backup


def _empty(data: Path) -> "Home":
    from sdsp.home import home_of
    from sdsp.settings import SDSPSettings

    return home_of(data, SDSPSettings())


backup_commands.add_to(commands, home=_home, empty=_empty)


def _place(data: Path) -> "tuple[str, Judge]":
    from functools import partial

    from sdsp.settings import load
    from shared.login.effective import site_policy

    settings = load(data, dict(os.environ))
    return settings.database_url(data), partial(site_policy, settings.site)


break_glass_commands.add_to(commands, place=_place)
