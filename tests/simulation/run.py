"""One run: a federation, people who write, mishaps, rest, and what must hold then."""

import asyncio
import gc
import logging
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import fsm.tasks.compact
from tests.simulation.checks import faults_after
from tests.simulation.decisions import conflicts_after
from tests.simulation.disk import inline, temporary_folder
from tests.simulation.faults import Fate, Mishaps
from tests.simulation.history import History
from tests.simulation.network import Weather
from tests.simulation.ordering import in_one_order
from tests.simulation.people import People
from tests.simulation.world import Size, World, template


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a run is to carry."""

    size: Size = field(default_factory=Size)
    edits: int = 14
    """Of each of the people: one at the FSM, one at each site."""
    mishaps: int = 15
    only: tuple[str, ...] = ()
    """The sorts of mishaps; none: all."""
    weather: Weather = field(default_factory=Weather)
    """Of all ways, from the beginning to the rest."""
    disagreeing: bool = False
    """Whether both sides edit the same policies, and sites' people decide their conflicts."""
    rest: float = 90.0
    """Seconds for everything to come to rest, at most: longer than any silence and back-off."""


SMALL: Final = Plan()
LARGE: Final = Plan(size=Size(sites=3, nodes=3), edits=60, mishaps=50)
DISAGREEING: Final = Plan(size=Size(sites=2, nodes=2), edits=24, mishaps=15, disagreeing=True)

_SETTLING: Final = 15.0

# Fewer prove nothing.
LEAST: Final[Mapping[str, int]] = {
    "writes": 12,
    "messages": 150,
    "frames": 4,
    "enforced": 4,
    "mishaps": 6,
    "watched": 20,
}


LEAST_DISAGREEING: Final[Mapping[str, int]] = {
    **{what: least for what, least in LEAST.items() if what != "enforced"},
    "decisions": 3,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did and what is wrong; `trace` is the same whenever the seed is."""

    seed: int
    plan: Plan
    trace: str
    counts: Mapping[str, int]
    wrong: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def lacking(self) -> list[str]:
        """What the run carried too little of to prove anything."""
        return [
            f"{what}: {self.counts.get(what, 0)} of {least}"
            for what, least in (LEAST_DISAGREEING if self.plan.disagreeing else LEAST).items()
            if self.counts.get(what, 0) < least
        ]

    @property
    def command(self) -> str:
        if self.plan in (SMALL, LARGE, DISAGREEING):
            large = " --large" if self.plan == LARGE else ""
            large += " --disagreeing" if self.plan == DISAGREEING else ""
            return f"python -m tests.simulation --trace --seeds 1 --start {self.seed}{large}"
        names = "from tests.simulation.run import Plan, Size, Weather, run_seed"
        return f'python -c "{names}; print(*run_seed({self.seed}, {self.plan}).lines, sep=chr(10))"'

    def report(self) -> str:
        """Say what is wrong, and how to see it again."""
        shown = "\n".join(f"  {each}" for each in self.wrong[:20])
        return f"seed {self.seed} fails:\n{shown}\nsee it again: {self.command}"


def run_seed(seed: int, plan: Plan = SMALL) -> Outcome:
    """Run a seed's history to its end and judge it."""
    with _set_up(seed, plan) as world:
        return _run(world, plan)


def staged(
    seed: int, story: Callable[[World], Coroutine[Any, Any, None]], plan: Plan = SMALL
) -> History:
    """Have a story of its own happen in a seed's world; return what was seen of it."""
    with _set_up(seed, plan) as world:
        try:
            world.loop.run(story(world))
            assert not world.history.wrong, world.history.wrong
            return world.history
        finally:
            world.loop.bury()


@contextmanager
def _set_up(seed: int, plan: Plan) -> Iterator[World]:
    """Make a world in which nothing of this machine counts: time, memory, log."""
    collects = gc.isenabled()
    template()
    gc.collect()
    # When the collector runs depends on what ran before, and it closes forgotten generators.  What
    # is here stays frozen: else each of a thousand histories goes through all that the first saw.
    gc.disable()
    gc.freeze()
    marks = fsm.tasks.compact.MARK_EVERY
    vars(fsm.tasks.compact)["MARK_EVERY"] = marks / 240
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with temporary_folder() as folder, inline(), in_one_order():
            yield World(seed, Path(folder), size=plan.size, disagreeing=plan.disagreeing)
    finally:
        with warnings.catch_warnings():
            # A killed process gives none of its connections back to their pool.
            warnings.simplefilter("ignore")
            gc.collect()
        logging.disable(before)
        vars(fsm.tasks.compact)["MARK_EVERY"] = marks
        if collects:
            gc.enable()


def _run(world: World, plan: Plan) -> Outcome:
    fate = Fate(world)
    fate.arm()
    try:
        wrong = world.loop.run(_story(world, plan))
        history = world.history
        history.note(world.loop.time(), f"ends after {world.loop.steps} steps")
        counts = {**history.counts, "steps": world.loop.steps, "seconds": int(world.loop.time())}
        return Outcome(world.seed, plan, history.trace, counts, tuple(wrong), tuple(history.lines))
    finally:
        fate.disarm()
        world.loop.bury()


async def _story(world: World, plan: Plan) -> list[str]:
    mishaps = Mishaps(world, only=plan.only)
    world.network.usual = plan.weather
    world.start()
    for people in world.people.values():
        await people.begin()
    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(_keep_ledgers(world))
        work = [group.create_task(_edit(people, world, plan)) for people in world.people.values()]
        await mishaps.run(plan.mishaps)
        world.network.usual = Weather()
        mishaps.end()
        await asyncio.wait(work)
        wrong = await _rest(world, plan)
        keeper.cancel()
    return wrong


async def _rest(world: World, plan: Plan) -> list[str]:
    """Let everything come to rest; return what is wrong then, or after the longest time for it."""
    end = world.loop.time() + plan.rest
    await world.rest(_SETTLING)
    wrong = _faults(world, plan)
    while wrong and world.loop.time() < end:
        await world.rest(_SETTLING)
        wrong = _faults(world, plan)
    return wrong


def _faults(world: World, plan: Plan) -> list[str]:
    return [*faults_after(world), *(conflicts_after(world) if plan.disagreeing else ())]


async def _edit(people: People, world: World, plan: Plan) -> None:
    for _ in range(plan.edits):
        await people.edit()
        await asyncio.sleep(world.source.choice((0.0, 0.05, 1.0, 4.0)))


async def _keep_ledgers(world: World) -> None:
    """Take down what is committed before it can be compacted."""
    while True:
        world.read_ledgers()
        await asyncio.sleep(7.0)
