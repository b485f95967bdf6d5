"""`hanse bench compile`: a whole site from nothing, then single changes to it."""

import gc
import random
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from shared.cli.bench.workload import JSON, inventory, key, read, sources, tier
from shared.cli.output import Plain, console, print_data, print_table
from shared.clock import SystemClock
from shared.errors import Invalid
from shared.policy.loaded.garbage import collection_paused
from shared.policy.loaded.site import LoadedSite
from shared.policy.loaded.source import Source
from shared.policy.loaded.wire import delta_line
from shared.policy.nftables import nftables_text

NAME: Final = "bench"
_KIB: Final = 1024  # in a MiB
_SEED: Final = 1


def run_compile(workload: Path, *, nft: Path | None, changes: int, form: Plain) -> None:
    """Measure, and print the answer; Invalid (`invalid_workload`), OSError."""
    # What is there by now stays: the collector need not look at it again and again.
    gc.freeze()
    with collection_paused():
        start = time.perf_counter()
        data = read(workload)
        objects = sources(data)
        now = SystemClock().now()
        site = LoadedSite(NAME, objects, now=now)
        text = _text(site)
        seconds = time.perf_counter() - start
    peak = _peak()
    if nft is not None:
        nft.write_text(text)
    rules = len(data["rules"])
    answer: dict[str, Any] = {
        "rules": rules,
        "networks": len(data["networks"]),
        "seconds": round(seconds, 4),
        "rulesPerSecond": round(rules / seconds, 1),
        "peakRssMiB": peak,
        "processSeconds": round(SystemClock().monotonic() - _started(), 3),
    }
    if changes:
        answer |= _Changes(data, objects, now).measure(changes)
    _show(answer, form)


def _text(site: LoadedSite) -> str:
    try:
        return nftables_text(site.columns(), site.default_action)
    except ValueError as exc:
        # Stored specs were checked when they were written; those of a workload weren't.
        raise Invalid(f"the workload can't be compiled: {exc}", code="invalid_workload") from exc


class _Changes:
    """A loaded site with nodes, and single changes to it."""

    def __init__(self, data: JSON, objects: list[Source], now: datetime) -> None:
        if len(data["networks"]) < 1 or len(data["rules"]) < 1:
            raise Invalid(
                "a workload without networks or rules can't be changed", code="invalid_workload"
            )
        self._dice = random.Random(_SEED)  # noqa: S311 - a draw of changes, no secret
        more, self._busy = inventory(data, self._dice)
        self._names, self._services = list(data["networks"]), list(data["services"])
        self._objects = {each.key: each for each in (*objects, *more)}
        self._policies = [each.key for each in objects if each.key.kind == "SecurityPolicy"]
        self._now = now
        start = time.perf_counter()
        self._site = LoadedSite(NAME, self._objects.values(), now=now)
        self._hash = self._site.hash()
        self._load = time.perf_counter() - start
        gc.collect()
        gc.freeze()

    def measure(self, count: int) -> dict[str, Any]:
        kinds: dict[str, Callable[[int], Source]] = {
            "addRule": self._add_rule,
            "changeNetwork": self._change_network,
            "relabelWorkload": self._relabel_workload,
        }
        medians, worst, nodes = {}, {}, {}
        for name, change in kinds.items():
            taken, concerned = self._timed(change, count)
            medians[name] = round(median(taken), 6)
            worst[name] = round(max(taken), 6)
            nodes[name] = median(concerned)
        fresh = LoadedSite(NAME, self._objects.values(), now=self._now)
        if fresh.hash() != self._site.hash():
            raise AssertionError("the changed site is another than a fresh compile")
        return {
            "incrementalSeconds": medians,
            "incrementalWorstSeconds": worst,
            "nodesConcerned": nodes,
            "loadSeconds": round(self._load, 3),
            "hash": self._site.hash(),
            "peakRssMiBWithNodes": _peak(),
        }

    def _timed(self, change: Callable[[int], Source], count: int) -> tuple[list[float], list[int]]:
        taken, concerned = [], []
        for number in range(count):
            source = change(number)
            start = time.perf_counter()
            steps = self._site.change([source])
            lines = [delta_line(number, step) for step in steps.values() if step is not None]
            taken.append(time.perf_counter() - start)
            concerned.append(len(lines))
            self._objects[source.key] = source
        return taken, concerned

    def _add_rule(self, number: int) -> Source:
        dice = self._dice
        policy = dice.choice(self._policies)
        rules = list(self._objects[policy].data["rules"])
        rule = {
            "name": f"new-{number}",
            "from": [{"network": name} for name in self._some()],
            "to": [{"network": name} for name in self._some()],
            "services": [{"service": dice.choice(self._services)}],
            "action": dice.choice(["allow", "deny"]),
        }
        rules.insert(dice.randrange(len(rules) + 1), rule)
        return Source(policy, {"rules": rules}, {})

    def _change_network(self, number: int) -> Source:
        dice = self._dice
        found = self._objects[key("Network", self._busy[number % len(self._busy)])]
        prefix = f"10.{dice.randrange(256)}.{dice.randrange(256)}.0/24"
        return Source(found.key, {"subnets": [*found.data["subnets"], prefix]}, found.labels)

    def _relabel_workload(self, _number: int) -> Source:
        dice = self._dice
        found = self._objects[key("Workload", f"workload-{dice.randrange(len(self._names))}")]
        labels = {**found.labels, "tier": tier(dice.randrange(1 << 16))}
        return Source(found.key, found.data, labels)

    def _some(self) -> list[str]:
        return self._dice.sample(self._names, min(len(self._names), self._dice.randint(1, 3)))


def _peak() -> float:
    """Return the most memory that this program ever had resident, in MiB.

    Not getrusage(): its maximum outlives exec, so it may be that of whoever started us.
    """
    status = Path("/proc/self/status").read_text()
    (kib,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return round(int(kib) / _KIB, 1)


def _started() -> float:
    """Return when this process began, on the monotonic clock."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return ticks / 100


def _show(answer: dict[str, Any], form: Plain) -> None:
    if form is not Plain.TABLE:
        print_data(answer, form)
        return
    rows = [
        ["rules", str(answer["rules"])],
        ["networks", str(answer["networks"])],
        ["compiled in", f"{answer['seconds'] * 1000:.0f} ms"],
        ["rules a second", f"{answer['rulesPerSecond']:,.0f}"],
        ["peak memory", f"{answer['peakRssMiB']:.0f} MiB"],
        ["process", f"{answer['processSeconds']:.2f} s"],
    ]
    for name, seconds in answer.get("incrementalSeconds", {}).items():
        worst = answer["incrementalWorstSeconds"][name]
        nodes = answer["nodesConcerned"][name]
        rows.append(
            [
                name,
                f"{seconds * 1000:.2f} ms, at most {worst * 1000:.2f}; {nodes:g} nodes concerned",
            ]
        )
    print_table(["FIGURE", "VALUE"], rows)
    if "incrementalSeconds" in answer:
        console().print("Medians of single changes, from the change to the bytes for each node.")
