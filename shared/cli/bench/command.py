"""The signatures of `hanse bench …`; what they do is imported when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.output import Plain

commands = typer.Typer(
    help="Measure Hanse on this machine.", no_args_is_help=True, rich_markup_mode="rich"
)


@commands.callback()
def _group() -> None:
    """Measure Hanse on this machine."""


@commands.command("compile")
def compile_workload(
    *,
    workload: Annotated[
        Path,
        typer.Option(metavar="FILE", help="A workload in the format fwbench-workload/1 (JSON)."),
    ],
    nft: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the nftables ruleset here.")
    ] = None,
    changes: Annotated[
        int, typer.Option(min=0, help="How many single changes of each kind to measure.")
    ] = 50,
    output: Annotated[Plain, typer.Option("--output", "-o", help="The form of the answer.")] = (
        Plain.TABLE
    ),
) -> None:
    """Compile a workload to nftables, then change it bit by bit, and say how long each took."""
    from shared.cli.bench.compiling import run_compile

    run_compile(workload, nft=nft, changes=changes, form=output)
