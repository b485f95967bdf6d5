"""Run the story on this machine, and leave nothing behind."""

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape

import shared.cli
from shared.cli.demo.namespaces import are_possible
from shared.cli.demo.story import Story
from shared.cli.demo.traffic import RealTraffic, SimulatedTraffic
from shared.cli.demo.world import World
from shared.cli.output import console
from shared.errors import HanseError, NotFound
from shared.tasks.group import Group

EXAMPLE: Final = "examples/two-sites"
USER: Final = "admin"
INTERRUPTED: Final = 130


async def run_demo(*, stay: bool, simulate: bool) -> int:
    """Tell the story; return the exit status: 0 only if every step came out as it should."""
    out = console()
    stop = _stop_on_signals()
    kernel = are_possible() and not simulate
    folder = Path(tempfile.mkdtemp(prefix="hanse-demo-"))
    world = World(folder=folder, example=_example(), kernel=kernel)
    traffic = RealTraffic() if kernel else SimulatedTraffic(folder)
    named = f"nftables in network namespaces of their own, {world.namespaces.name('*')}"
    plane = named if kernel else "the simulated data plane"
    out.print(f"[bold]Hanse demo[/]: the nodes enforce with {plane}", soft_wrap=True)
    story = Story(world, traffic, out)
    try:
        return await _tell(story, stop, out, stay=stay)
    finally:
        out.print("Cleaning up …")
        await traffic.close()
        await world.close()
        shutil.rmtree(folder, ignore_errors=True)


async def _tell(story: Story, stop: asyncio.Event, out: Console, *, stay: bool) -> int:
    try:
        async with Group() as group:
            telling = group.start(story.tell(), name="story")
            stopping = group.start(stop.wait(), name="wait for Ctrl-C")
            await asyncio.wait({telling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not telling.done():
                out.print("Interrupted.")
                return INTERRUPTED
    except HanseError as exc:
        out.print(f"[bold red]The demo broke off:[/] {escape(exc.message)}", soft_wrap=True)
        return 1
    for failure in story.failures:
        out.print(f"[bold red]Not as it should be:[/] {escape(failure)}", soft_wrap=True)
    if not story.failures:
        out.print("\n[bold green]Every step came out as it should.[/]")
    if stay:
        out.print(what_next(story.world), soft_wrap=True, highlight=False)
        await stop.wait()
    return 1 if story.failures else 0


def what_next(world: World) -> str:
    """Return how to log in, and what to try."""
    site = world.sites["sfo"]
    return f"""
[bold]It stays up; Ctrl-C ends it.[/]  In another terminal, in this folder:

  . .venv/bin/activate
  export HANSE_CONFIG={world.folder}/contexts.yaml HANSE_PASSWORD={world.password}
  hanse login {world.url} --user {USER} --ca {world.root}       # the FSM
  hanse status
  hanse get securitypolicies
  hanse login {site.url} --user {USER} --ca {world.root}       # the SDSP of sfo
  hanse nodes
  hanse trace --from 10.1.1.11 --to 10.1.20.21 --service tcp/5432
  hanse context                                                # back to the FSM: context use

The API's description is at {world.url}/docs; logs are in {world.folder}."""


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Further signals change nothing: what is being cleaned up is cleaned up whole.
        loop.add_signal_handler(number, stop.set)
    return stop


def _example() -> Path:
    folder = Path(shared.cli.__path__[0]).parents[1] / EXAMPLE
    if not folder.is_dir():
        raise NotFound(f"the demo tells {EXAMPLE}, which is not beside the installed package")
    return folder
