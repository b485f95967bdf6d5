"""`hanse fsm`: prepare and run the federation's manager."""

import os
from pathlib import Path
from typing import Annotated

import typer

from shared.cli.output import Plain

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


Form = Annotated[Plain, typer.Option("-o", "--output", help="table, json or yaml.")]


@commands.command()
def backup(
    data: Data,
    *,
    to: Annotated[
        Path | None,
        typer.Option(help="The file, or a folder for it; left out: DATA/backups."),
    ] = None,
    keys: Annotated[
        bool,
        typer.Option(
            "--keys/--without-keys",
            help="Whether private keys are inside; without them it can't be restored alone.",
        ),
    ] = True,
    output: Form = Plain.TABLE,
) -> None:
    """Back up the server, beside it or while it stands still, and prove the backup."""
    from fsm.home import home_of
    from fsm.settings import load
    from shared.backup.restore import complete_restore
    from shared.cli.backing_up import back_up

    complete_restore(data)
    settings = load(data, dict(os.environ))
    back_up(home_of(data, settings), settings.backup, to=to, keys=keys, form=output)


@commands.command()
def restore(
    archive: Annotated[Path, typer.Argument(help="The backup.")],
    data: Data,
    *,
    database: Annotated[
        str | None,
        typer.Option(
            help="An empty database, postgresql://… or cockroachdb://…, or sqlite; left out: as "
            "it was."
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Move what is in the folder aside.")
    ] = False,
    output: Form = Plain.TABLE,
) -> None:
    """Stand the server up again from a backup, whole or not at all."""
    from fsm.home import home_of
    from fsm.settings import FSMSettings
    from shared.cli.backing_up import restore as restore_from

    home = home_of(data, FSMSettings())
    restore_from(home, archive, database=database, replace=replace, form=output)
