"""A federation of one FSM, its sites and their nodes, on a loop, a network and disks of a seed."""

import asyncio
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

from dsn.dataplane.memory import MemoryDataPlane
from sdsp.settings import Wishes
from tests.simulation.clock import SimulatedClock
from tests.simulation.disagreeing import Disagreeing
from tests.simulation.disk import Disk, empty_store
from tests.simulation.history import History
from tests.simulation.ledger import Ledger
from tests.simulation.loop import SimulatedLoop
from tests.simulation.machine import Machine, Runs
from tests.simulation.network import Network
from tests.simulation.people import People
from tests.simulation.programs import DSN, FSM, SDSP

FSM_NAME = "fsm"


@dataclass(frozen=True, slots=True)
class Size:
    sites: int = 2
    nodes: int = 2


@dataclass(slots=True)
class NodeHost:
    """What outlives a node's agent: its data plane and its folder."""

    plane: MemoryDataPlane = field(default_factory=MemoryDataPlane)


template = lru_cache(maxsize=1)(empty_store)


class World:
    def __init__(self, seed: int, folder: Path, *, size: Size, disagreeing: bool = False) -> None:
        """With `disagreeing` sites find conflicts, which their people decide."""
        self.seed = seed
        self.disagreeing = disagreeing
        self.source = random.Random(f"{seed} faults")
        self.loop = SimulatedLoop(random.Random(f"{seed} loop"))
        self.history = History()
        self.network = Network(self.loop, seed, self.history)
        self.loop.on_fault = self._mistake
        self._folder = folder
        self._lives = random.Random(f"{seed} lives")
        self.planes: dict[str, NodeHost] = {}
        # With a short memory the FSM can't always tell what became of something.
        retention = timedelta(seconds=self.source.choice((60, 3600, 3600)))
        self.fsm = self._machine(FSM_NAME, lambda m: FSM(m, retention=retention))
        self.fsm.disk.create(template(), self.new_life())
        self.sites: dict[str, Machine] = {}
        self.nodes: dict[str, Machine] = {}
        self.ledgers = {FSM_NAME: [Ledger(FSM_NAME)]}
        for number in range(1, size.sites + 1):
            # The first has the most: they don't differ but for that.
            self._site(f"s{number}", max(1, size.nodes + 1 - number))
        kind = Disagreeing if disagreeing else People
        self.people: dict[str, People] = {
            name: kind(
                name,
                client=self.network.client(self.loop.world, "people", name),
                loop=self.loop,
                history=self.history,
                seed=f"{seed} people {name}",
            )
            for name in (FSM_NAME, *self.sites)
        }
        for each in self.people.values():
            if isinstance(each, Disagreeing) and each.server != FSM_NAME:
                each.above = self.people[FSM_NAME]

    @property
    def machines(self) -> list[Machine]:
        return [self.fsm, *self.sites.values(), *self.nodes.values()]

    async def rest(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    def read_ledgers(self) -> None:
        """Take down what is committed: what is compacted or put back is gone from the files."""
        for machine in (self.fsm, *self.sites.values()):
            self.ledgers[machine.name][-1].read(machine.disk.store)

    def begin_life(self, machine: Machine) -> None:
        """Note that a store is another one from now on."""
        old = self.ledgers[machine.name][-1]
        new = Ledger(machine.name)
        new.read(machine.disk.store)
        old.restored_to = new.revision
        if new.incarnation == old.incarnation:
            self.history.epochs[machine.name] += 1
        # What was committed before the backup may be compacted in it.
        new.digests = {n: d for n, d in old.digests.items() if n <= new.revision} | new.digests
        new.epoch = self.history.epochs[machine.name]
        self.ledgers[machine.name].append(new)

    def new_life(self) -> uuid.UUID:
        return uuid.UUID(int=self._lives.getrandbits(128), version=4)

    def start(self) -> None:
        for machine in self.machines:
            machine.start()

    def _site(self, name: str, nodes: int) -> None:
        # Who leaves something out by wish has other things to disagree about.
        wishes = Wishes.model_validate({}) if self.disagreeing else self._wishes()
        judges = self.disagreeing
        site = self._machine(
            name, lambda m: SDSP(m, upstream=FSM_NAME, wishes=wishes, judges=judges)
        )
        site.disk.create(template(), self.new_life())
        self.sites[name] = site
        self.ledgers[name] = [Ledger(name)]
        for number in range(1, nodes + 1):
            self._node(name, f"n{number}")

    def _node(self, site: str, node: str) -> None:
        name = f"{site}/{node}"
        host = self.planes[name] = NodeHost()

        def make(machine: Machine) -> DSN:
            file = machine.disk.folder / "last-good.json"
            return DSN(machine, node=node, site=site, plane=host.plane, file=file)

        self.nodes[name] = self._machine(name, make)

    def _wishes(self) -> Wishes:
        if self.source.random() < 0.75:
            return Wishes.model_validate({})
        return Wishes.model_validate(
            self.source.choice(
                [
                    {"kinds": ["SecurityPolicy"]},
                    {"tenants": ["common", "blue"]},
                    {"selector": {"matchLabels": {"env": "prod"}}},
                ]
            )
        )

    def _machine(self, name: str, make: Callable[[Machine], Runs]) -> Machine:
        skew = self.source.choice((0.0, 0.0, self.source.uniform(-86400.0, 86400.0)))
        return Machine(
            name,
            loop=self.loop,
            network=self.network,
            disk=Disk(self._folder / name.replace("/", "-")),
            clock=SimulatedClock(self.loop, skew=skew),
            source=random.Random(f"{self.seed} {name}"),
            make=make,
        )

    def _mistake(self, error: BaseException) -> None:
        self.history.fault(f"an unhandled error: {error!r}")
