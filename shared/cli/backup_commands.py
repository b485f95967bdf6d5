"""`backup` and `restore`, which both managers have; what they do is imported when it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli.output import Plain

if TYPE_CHECKING:
    from shared.backup.contents import Home
    from shared.backup.settings import BackupSettings

Data = Annotated[Path, typer.Option("--data", help="The server's folder.")]
Form = Annotated[Plain, typer.Option("-o", "--output", help="table, json or yaml.")]


def add_to(
    commands: typer.Typer,
    *,
    home: Callable[[Path], "tuple[Home, BackupSettings]"],
    empty: Callable[[Path], "Home"],
) -> None:
    """Add the two commands to a program's.

    `home` reads the settings of a server's folder, `empty` says where one without any would live.
    """

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
        from shared.backup.restore import complete_restore
        from shared.cli.backing_up import back_up

        complete_restore(data)
        found, settings = home(data)
        back_up(found, settings, to=to, keys=keys, form=output)

    @commands.command()
    def restore(
        archive: Annotated[Path, typer.Argument(help="The backup.")],
        data: Data,
        *,
        database: Annotated[
            str | None,
            typer.Option(
                help="An empty database, postgresql://… or cockroachdb://…, or sqlite; left out: "
                "as it was."
            ),
        ] = None,
        replace: Annotated[
            bool, typer.Option("--replace", help="Move what is in the folder aside.")
        ] = False,
        output: Form = Plain.TABLE,
    ) -> None:
        """Stand the server up again from a backup, whole or not at all."""
        from shared.cli.backing_up import restore as restore_from

        restore_from(empty(data), archive, database=database, replace=replace, form=output)
