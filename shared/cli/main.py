"""The console script: one command, `hanse`, put together from this package and from programs.

Programs add commands by entry points of the group `hanse.commands`: the name of the entry point
is that of the command, its object a `typer.Typer` with sub-commands, or a function that is one
command.  They are imported only when somebody asks for them or for the help, so a module behind
an entry point should import no more than typer at its top.

Exit status: 0 done; 1 the answer is no; 2 wrong use or bad input; 3 a server could not be
reached; 130 interrupted; 70 a mistake in the program itself.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points, version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from shared.cli import (
    auth_commands,
    explain,
    live,
    live_accounts,
    live_conflicts,
    live_overrides,
    live_requests,
    live_rollouts,
    live_sites,
    live_staging,
    offline,
    pki_commands,
)
from shared.cli.output import print_error
from shared.collector import look_less_often
from shared.errors import HanseError, Unreachable
from shared.failpoints import arm_from

GROUP: Final = "hanse.commands"

OK: Final = 0
NO: Final = 1
WRONG: Final = 2
UNREACHABLE: Final = 3
INTERNAL: Final = 70  # EX_SOFTWARE of sysexits.h: none of the answers that scripts rely on
INTERRUPTED: Final = 130


class _Commands(TyperGroup):
    """Our own commands, and those of the installed programs."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *sorted(entry_points(group=GROUP).names)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        return _of_program(cmd_name)


@cache
def _of_program(name: str) -> Any:
    """Return the command that an installed program adds, or None."""
    for point in entry_points(group=GROUP, name=name):
        return _command(point.load(), name)
    return None


def _command(loaded: Any, name: str) -> Any:
    """Return an entry point's object as a command of that name."""
    if not isinstance(loaded, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
        alone.command(name)(loaded)
        loaded = alone
    command = typer.main.get_command(loaded)
    command.name = name
    return command


@cache
def application() -> Any:
    """Return `hanse` as a command with its own sub-commands; put together once in a process."""
    app = typer.Typer(
        name="hanse",
        cls=_Commands,
        help="A federated manager of distributed network services.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global_options)
    offline.add_to(app)
    explain.add_to(app)
    live.add_to(app)
    auth_commands.add_to(app)
    live_sites.add_to(app)
    live_conflicts.add_to(app)
    live_overrides.add_to(app)
    live_requests.add_to(app)
    live_rollouts.add_to(app)
    live_staging.add_to(app)
    live_accounts.add_to(app)
    pki_commands.add_to(app)
    return typer.main.get_command(app)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"hanse {version('hanse')}")
        raise typer.Exit


def _global_options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Hold the options that stand before a command."""


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit status.  Never raises, and shows no traceback unless
    HANSE_TRACEBACK is set.
    """
    look_less_often()
    try:
        arm_from(os.environ)
        application().main(args=list(arguments), prog_name="hanse")
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else OK
    except HanseError as exc:
        print_error(exc)
        return UNREACHABLE if isinstance(exc, Unreachable) else WRONG
    except BrokenPipeError:
        return _closed_pipe()
    except OSError as exc:
        place = f"{exc.filename}: " if exc.filename else ""
        print_error(HanseError(f"{place}{exc.strerror or exc}"))
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as exc:  # noqa: BLE001 - the last place: a person gets a sentence, no traceback
        if os.environ.get("HANSE_TRACEBACK"):
            traceback.print_exc()
        sentence = f"hanse made a mistake ({type(exc).__name__}: {exc}); please report it"
        print_error(HanseError(f"{sentence} with what HANSE_TRACEBACK=1 prints"))
        return INTERNAL
    return OK


def main() -> None:
    """Run the command of the process's arguments and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def _closed_pipe() -> int:
    # The reader has gone: what is still buffered must not be written at exit either.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return NO
