"""A machine: a name, a disk, a clock that may be wrong, and at most one program that runs."""

import random
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from tests.simulation.clock import SimulatedClock
from tests.simulation.disk import Disk
from tests.simulation.history import History
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.network import Client, Network, Served


class Runs(Protocol):
    def run(self) -> Coroutine[Any, Any, None]: ...


class Machine:
    def __init__(
        self,
        name: str,
        *,
        loop: SimulatedLoop,
        network: Network,
        disk: Disk,
        clock: SimulatedClock,
        source: random.Random,
        make: "Callable[[Machine], Runs]",
    ) -> None:
        """`make` puts the machine's program together, anew at each start."""
        self.name = name
        self.loop = loop
        self.network = network
        self.history: History = network.history
        self.disk = disk
        self.clock = clock
        self.source = source
        self.full = False
        """Whether the disk has no room."""
        self.doomed_in = 0
        """After so many dangerous places the program dies; 0: it doesn't."""
        self.program: Any = None
        self.process: Process | None = None
        self._make = make
        self._starts = 0

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.alive

    def start(self) -> None:
        assert not self.runs, f"{self.name} runs already"
        self._starts += 1
        self.note("starts")
        process = self.process = Process(f"{self.name}#{self._starts}")
        process.machine = self
        self.program = self._make(self)
        task = self.loop.start(process, self.program.run(), name=self.name)
        task.add_done_callback(self._ended)

    def meets_its_end(self) -> bool:
        """Count a dangerous place; return whether the program dies here."""
        if self.doomed_in == 0:
            return False
        self.doomed_in -= 1
        return self.doomed_in == 0

    def kill(self) -> None:
        if self.process is not None and self.process.alive:
            self.note("killed")
            self.loop.kill(self.process)

    def note(self, what: str) -> None:
        self.history.note(self.loop.time(), f"{self.name} {what}")

    def listen(self, served: Served) -> None:
        assert self.process is not None
        self.network.listen(self.name, self.process, served)

    def client(self, server: str) -> Client:
        assert self.process is not None
        return self.network.client(self.process, self.name, server)

    def _ended(self, task: "Any") -> None:
        if task.cancelled() or self.process is None or self.process.severed:
            return
        error = task.exception()
        if self.process.alive:
            self.history.fault(f"{self.name} ended by itself: {error!r}")
