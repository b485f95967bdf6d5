"""P3: from `apply`'s 200 to the read-back hash of the last of 4 nodes at 2 sites, one clock.

A real FSM, two real SDSPs and four agents with nftables, each a process in a network namespace of
its own.  Every change is one PUT of a mandatory policy that concerns all four nodes.  The programs
note the monotonic clock at their failpoints, so that each stage of the road has its share.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

from shared.cli.demo.namespaces import are_possible
from tests.bench.harness import Goal, Measurement, Program, Results, Run, benchmark
from tests.bench.receivers import cpu_of, percentile
from tests.chaos.federation import Federation, document
from tests.chaos.network import Network, places

GOAL: Final = Goal(100.0, "at most", of="figure")
SITES, NODES = 2, 2
POLICY: Final = "to-the-packet"
_WARM_UP: Final = 5
_PATIENCE: Final = 30.0
_MS: Final = 1e6

ROAD: Final = (
    ("FSM", "objects.acknowledge.before", "FSM: committed"),
    ("SDSP", "sdsp.apply.before", "feed: hub, stream, judged by the site"),
    ("SDSP", "sdsp.apply.after", "SDSP: committed"),
    ("SDSP", "sdsp.publish.before", "SDSP: compiled"),
    ("DSN", "dsn.apply.before", "node stream: published, sent, checked"),
    ("DSN", "dsn.apply.after", "kernel: written"),
    ("DSN", "dsn.read_back.after", "kernel: read back"),
)
"""Who passes which failpoint, and what lies between it and the one before."""
AFTERWARDS: Final = ("dsn.acknowledge.before", "then: open connections judged")


@benchmark(
    "to_the_packet",
    title="P3 from apply to the packet",
    needs=(Program("nft", apt="nftables"), Program("ip", apt="iproute2")),
)
def to_the_packet(run: Run) -> Results:
    if not are_possible():
        return Results((), notes=("not measured: it takes root and network namespaces",))
    changes = run.pick(100, 10)
    run.say(f"{changes} changes to {SITES * NODES} nodes at {SITES} sites")
    command = [sys.executable, "-m", "tests.bench.to_the_packet", str(run.folder)]
    done = subprocess.run([*command, "--changes", str(changes)], check=True, stdout=subprocess.PIPE)
    found = json.loads(done.stdout)
    times = found["ms"]
    shares = {name: round(median(each), 2) for name, each in found["stages"].items()}
    notes = [f"{each:6.1f} ms  {name}" for name, each in shares.items()]
    notes += [f"{each:6.1f} ms of CPU a change: {name}" for name, each in found["cpu"].items()]
    figures = (("median", median(times)), ("p99", percentile(times, 0.99)))
    return Results(
        [
            Measurement(
                f"{name} from 200 to the last node's read-back",
                value,
                "ms",
                goal=GOAL if name == "median" else None,
                extra={"changes": changes, "stages_ms": shares, "cpu_ms": found["cpu"]},
            )
            for name, value in figures
        ],
        notes=("stages of the slowest node, medians; the first begins with the request:", *notes),
    )


class Times:
    """The failpoints that one program has passed, as they come."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0
        self.passed: list[tuple[str, int]] = []

    def look(self) -> None:
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode().splitlines():
            name, _, at = line.partition(" ")
            self.passed.append((name, int(at)))

    def last(self, name: str, begin: int, end: int) -> int | None:
        found = [at for each, at in self.passed if each == name and begin <= at < end]
        return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class Change:
    """When a change was sent and when it was answered."""

    sent: int
    answered: int


class Drive:
    """Makes the changes and waits for each to be everywhere."""

    def __init__(self, federation: Federation, folder: Path) -> None:
        self._federation = federation
        self._folder = folder
        self.times: dict[str, Times] = {}
        self.changes: list[Change] = []
        self._cpu: dict[str, float] = {}

    async def note_times(self) -> None:
        """Start every program again, with a file for its times."""
        for program in self._federation.programs():
            file = self._folder / f"{program.name}.times"
            await program.end()
            await program.start(f"times={file}")
            await program.until_ready()
            self.times[program.name] = Times(file)
        for server in self._federation.servers.values():
            await server.login(self._federation.password)

    async def change(self, number: int) -> None:
        """Put the policy with another port, and return when all nodes have read it back."""
        before = self._told()
        body = policy(20_000 + number)
        sent = time.monotonic_ns()
        await self._federation.fsm.connection.call(
            "PUT", f"/api/v1/securitypolicies/{POLICY}", body=body
        )
        self.changes.append(Change(sent, time.monotonic_ns()))
        async with asyncio.timeout(_PATIENCE):
            # Nothing tells when other processes have written to their files.
            while not self._all_after(before):  # noqa: ASYNC110
                await asyncio.sleep(0.004)

    def _all_after(self, before: Sequence[int]) -> bool:
        return all(now > then for now, then in zip(self._told(), before, strict=True))

    def _told(self) -> list[int]:
        counts = []
        for name in self._federation.agents:
            self.times[name].look()
            passed = self.times[name].passed
            counts.append(sum(each == AFTERWARDS[0] for each, _ in passed))
        return counts

    def found(self) -> dict[str, Any]:
        """Return milliseconds for each change and each of its stages, and CPU of each program."""
        for each in self.times.values():
            each.look()
        changes = self.changes[_WARM_UP:]
        ends = [later.sent for _, later in pairwise(changes)] + [time.monotonic_ns()]
        milliseconds: list[float] = []
        stages: dict[str, list[float]] = {name: [] for _, _, name in ROAD}
        stages[AFTERWARDS[1]] = []
        for change, end in zip(changes, ends, strict=True):
            roads = dict(self._roads(change, end))
            slowest = max(roads.values(), key=lambda road: road[-1])
            milliseconds.append((slowest[-1] - change.answered) / _MS)
            told = [self.times[name].last(AFTERWARDS[0], change.sent, end) for name in roads]
            last = max(at for at in told if at is not None)
            stages[AFTERWARDS[1]].append((last - slowest[-1]) / _MS)
            for (_, _, name), (begin, then) in zip(
                ROAD, pairwise([change.sent, *slowest]), strict=True
            ):
                stages[name].append((then - begin) / _MS)
        cpu = {
            each.name: (cpu_of(each.pid) - self._cpu[each.name]) * 1000 / len(changes)
            for each in self._federation.programs()
        }
        return {"ms": milliseconds, "stages": stages, "cpu": cpu}

    def begin(self) -> None:
        """Count CPU from here."""
        self._cpu = {each.name: cpu_of(each.pid) for each in self._federation.programs()}

    def _roads(self, change: Change, end: int) -> Iterator[tuple[str, Sequence[int]]]:
        for node in self._federation.nodes:
            programs: Mapping[str, str] = {"FSM": "fsm", "SDSP": node.site, "DSN": node.host}
            road = []
            for who, place, _ in ROAD:
                at = self.times[programs[who]].last(place, change.sent, end)
                assert at is not None, f"{programs[who]} did not pass {place}"
                road.append(at)
            yield node.host, road


def policy(port: int) -> dict[str, Any]:
    rule = {
        "name": "changing",
        "from": "any",
        "to": [{"network": "A"}],
        "services": [{"protocol": "tcp", "ports": [str(port)]}],
        "action": "allow",
    }
    return document("SecurityPolicy", POLICY, {"enforcement": "mandatory", "rules": [rule]})


async def _drive(network: Network, folder: Path, changes: int) -> dict[str, Any]:
    federation = Federation(network, folder)
    pace = random.Random(1)
    try:
        await federation.begin()
        drive = Drive(federation, folder)
        await drive.note_times()
        # Reconnected sites and nodes settle.
        await asyncio.sleep(2)
        for number in range(_WARM_UP + changes):
            if number == _WARM_UP:
                drive.begin()
            await drive.change(number)
            await asyncio.sleep(pace.uniform(0.1, 0.25))
        return drive.found()
    finally:
        await federation.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--changes", type=int, default=100)
    given = parser.parse_args()
    network = Network(places(SITES, NODES))
    try:
        asyncio.run(network.build())
        network.enter()
        found = asyncio.run(_drive(network, given.folder, given.changes))
    finally:
        asyncio.run(network.remove())
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
