"""`break-glass`, which both managers have: the emergency account, from the host's console."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from shared.login.effective import Judge

Data = Annotated[Path, typer.Option("--data", help="The server's folder.")]


def add_to(commands: typer.Typer, *, place: Callable[[Path], "tuple[str, Judge]"]) -> None:
    """Add the commands to a program's.

    `place` returns where the store of a server's folder is, and how its login policy is chosen.
    """
    group = typer.Typer(
        help="The emergency account, by whoever may read the server's folder.",
        no_args_is_help=True,
    )

    @group.command("open")
    def open_glass(
        data: Data,
        *,
        reason: Annotated[str, typer.Option(help="Kept in the audit trail.")],
        despite_policy: Annotated[
            bool,
            typer.Option(
                "--despite-policy", help="Even though the policy says breakGlass: forbidden."
            ),
        ] = False,
    ) -> None:
        """Open it for an hour with a new secret, which is shown once; a running server obeys."""
        from shared.cli.breaking_glass import open_glass as opened

        url, judge = place(data)
        print(opened(url, judge, reason=reason, despite_policy=despite_policy))

    @group.command("status")
    def status(data: Data) -> None:
        """Say whether it is sealed, and where its newest secret lies."""
        from shared.cli.breaking_glass import told

        url, _ = place(data)
        print(told(url, data))

    commands.add_typer(group, name="break-glass")
