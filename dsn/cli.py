"""`hanse dsn`: join a node to its site, and run its agent."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shared.cli.live import OutputOption
from shared.cli.output import Output, print_data

commands = typer.Typer(
    no_args_is_help=True, help="A node's agent: join a site, enforce its policy."
)

Data = Annotated[
    Path, typer.Option("--data", help="The node's folder: credentials, last good configuration.")
]


class Plane(StrEnum):
    """What enforces."""

    AUTO = "auto"
    NFTABLES = "nftables"
    MEMORY = "memory"


@commands.command("join")
def join(
    server: Annotated[
        list[str], typer.Option("--server", help="The SDSP, https://HOST:PORT; may be repeated.")
    ],
    token: Annotated[
        str, typer.Option("--token", help="The join token; - reads it from standard input.")
    ],
    data: Data,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Join anew, over the credentials that are there.")
    ] = False,
) -> None:
    """Trade a join token for this node's certificate."""
    # What a command needs is imported when it runs, so that the help comes quickly.
    import asyncio

    from dsn.upstream.joining import join_site

    text = sys.stdin.readline() if token == "-" else token  # noqa: S105 - a dash, no secret
    identity = asyncio.run(join_site(server, text, data, overwrite=replace))
    print(f"{identity.node} has joined site {identity.site}; run it with:")
    print(f"  hanse dsn run --data {data}")


@commands.command("run")
def run(
    data: Data,
    data_plane: Annotated[
        Plane | None,
        typer.Option("--data-plane", help="What enforces; auto is nftables where it works."),
    ] = None,
    simulation_port: Annotated[
        int | None,
        typer.Option(
            "--simulation-port",
            min=0,
            max=65535,
            help="With the simulated data plane: judge packets at this loopback port, 0 for any.",
        ),
    ] = None,
) -> None:
    """Enforce what the site says, until stopped; what is enforced then stays."""
    import os
    import random

    from dsn.app import Agent
    from dsn.settings import Files, load_identity, load_settings_of
    from shared.clock import SystemClock
    from shared.tasks.log import configure_logging
    from shared.tasks.program import run_program

    configure_logging()
    settings = load_settings_of(data, os.environ)
    given = {
        "data_plane": data_plane.value if data_plane else None,
        "simulation_port": simulation_port,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    agent = Agent(
        identity=load_identity(data),
        files=Files.of(data),
        settings=settings.model_copy(update=changes),
        clock=SystemClock(),
        source=random.Random(),  # noqa: S311 - spreads retries, keeps no secret
    )
    run_program(agent.run)


@commands.command("status")
def status(data: Data, *, output: OutputOption = Output.TABLE) -> None:
    """Show what a node enforces and how old its policy is; it needs neither agent nor site."""
    from dsn.status import status_of, told
    from shared.clock import SystemClock

    found = status_of(data, clock=SystemClock())
    if output in (Output.JSON, Output.YAML):
        print_data(found, output)
    else:
        print(told(found))
