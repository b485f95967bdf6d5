"""`hanse sdsp`: prepare, join and run one site's manager."""

import os
from pathlib import Path
from typing import Annotated

import typer

from shared.cli.output import Plain

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
    from sdsp.home import home_of
    from sdsp.settings import load
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
    from sdsp.home import home_of
    from sdsp.settings import SDSPSettings
    from shared.cli.backing_up import restore as restore_from

    home = home_of(data, SDSPSettings())
    restore_from(home, archive, database=database, replace=replace, form=output)
