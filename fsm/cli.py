"""`hanse fsm`: prepare and run the federation's manager."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli import backup_commands, break_glass_commands

if TYPE_CHECKING:
    from shared.backup.contents import Home
    from shared.backup.settings import BackupSettings
    from shared.login.effective import Judge

commands = typer.Typer(help="The federation's manager: prepare it, run it.", no_args_is_help=True)

Data = Annotated[Path, typer.Option("--data", help="The folder of this FSM.")]


@commands.command()
def init(
    data: Data,
    *,
    trust_domain: Annotated[
        str,
        typer.Option(help="The federation's name among all others, such as hanse.example."),
    ],
    listen: Annotated[
        str, typer.Option(help="The address and port to serve at, HOST:PORT; :: is all.")
    ] = "127.0.0.1:8443",
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="A DNS name or address that people and sites call this server by; several if "
            "there are several. localhost is always one."
        ),
    ] = None,
    admin: Annotated[str, typer.Option(help="The first administrator.")] = "admin",
    password_file: Annotated[
        Path | None,
        typer.Option(help="Read the administrator's password from this file, not from a terminal."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="postgresql://… or cockroachdb://…; left out: SQLite in the folder."),
    ] = None,
) -> None:
    """Prepare a folder: keys, certificates, store, and an administrator who can log in."""
    from fsm.setup import initialise

    print(
        initialise(
            data,
            trust_domain=trust_domain,
            listen=listen,
            names=name or [],
            admin=admin,
            password_file=password_file,
            url=database,
        )
    )


@commands.command()
def serve(data: Data) -> None:
    """Run the federation's manager until it is stopped."""
    from fsm.serving import serve_federation

    serve_federation(data, announce=typer.echo)


def _home(data: Path) -> "tuple[Home, BackupSettings]":
    from fsm.home import home_of
    from fsm.settings import load

    settings = load(data, dict(os.environ))
    return home_of(data, settings), settings.backup


def _empty(data: Path) -> "Home":
    from fsm.home import home_of
    from fsm.settings import FSMSettings

    return home_of(data, FSMSettings())


backup_commands.add_to(commands, home=_home, empty=_empty)


def _place(data: Path) -> "tuple[str, Judge]":
    from fsm.settings import load
    from shared.login.effective import federation_policy

    settings = load(data, dict(os.environ))
    return settings.database_url(data), federation_policy


break_glass_commands.add_to(commands, place=_place)
