"""`hanse demo`: the two-sites story with real processes."""

from typing import Annotated

import typer


def demo(
    *,
    exit_: Annotated[
        bool, typer.Option("--exit", help="End when the story is told; 0 only if all went well.")
    ] = False,
    simulate: Annotated[
        bool, typer.Option(help="Use the simulated data plane even where nftables would work.")
    ] = False,
) -> None:
    """Run two sites with two nodes each on this machine, and show what Hanse does."""
    import asyncio

    from shared.cli.demo.running import run_demo

    raise typer.Exit(asyncio.run(run_demo(stay=not exit_, simulate=simulate)))
