"""Benchmarks: what one is, what it needs, and what it found.

A benchmark is a function in a module of this package:

    @benchmark("reads", title="P6 reads", needs=(Program("wrk", apt="wrk"),))
    def reads(run: Run) -> Results: ...

It goes through the code that the product runs, measures its peer in the same run on the same
machine, and gives medians of several runs.  `python -m tests.bench` runs them one after another.
"""

import gc
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeVar

from tests.servers import EXTRA_FOLDERS

ROOT = Path(__file__).parents[2]
# Peers have an environment of their own, so that their pins never meet ours.
PEER_PYTHON = ROOT / ".venv-bench/bin/python"


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Program:
    """A program that must be found, and the Debian package that has it."""

    name: str
    apt: str

    def missing(self) -> str | None:
        """Return what to do about it, None if it is there."""
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), *EXTRA_FOLDERS))
        found = shutil.which(self.name, path=path)
        return None if found else f"{self.name} is missing: apt-get install {self.apt}"


@dataclass(frozen=True, slots=True)
class PeerPackage:
    """A distribution in the peers' virtual environment."""

    name: str

    def missing(self) -> str | None:
        if not PEER_PYTHON.exists():
            return f"{self.name} is missing: make peers creates .venv-bench"
        look = "import importlib.metadata, sys; importlib.metadata.version(sys.argv[1])"
        done = subprocess.run(
            [PEER_PYTHON, "-c", look, self.name], check=False, capture_output=True
        )
        return f"{self.name} is not in .venv-bench: make peers" if done.returncode else None


Need = Program | PeerPackage


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit for a figure's ratio to its peer, or for the figure itself."""

    limit: float
    sense: Literal["at least", "at most"]
    of: Literal["ratio", "figure"] = "ratio"

    def reached(self, measurement: "Measurement") -> bool | None:
        """None where there is no ratio to judge."""
        value = measurement.ratio if self.of == "ratio" else measurement.ours
        if value is None:
            return None
        return value >= self.limit if self.sense == "at least" else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.sense == 'at least' else '≤'} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Measurement:
    figure: str
    """What was measured, such as "rules compiled a second"."""
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str = ""
    goal: Goal | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else should be read beside it; JSON values."""

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's."""
        return self.ours / self.peer if self.peer else None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without a goal, or without a ratio to judge."""
        return self.goal.reached(self) if self.goal else None


@dataclass(frozen=True, slots=True)
class Series:
    """How a figure grows with size; series of one `drawing` share a picture.

    A picture has one panel for each unit, both axes logarithmic.
    """

    drawing: str
    name: str
    x_label: str
    unit: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Results:
    measurements: Sequence[Measurement]
    series: Sequence[Series] = ()
    notes: Sequence[str] = ()
    """Sentences for whoever reads the table: what was left out, and why."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a benchmark is given."""

    folder: Path
    """Empty, its own, on a disk that is no tmpfs."""
    quick: bool
    """Small sizes and few rounds: it says whether the benchmark works, not how fast we are."""
    say: Callable[[str], None]
    """Tell whoever waits what is being measured."""

    def pick(self, full: T, quick: T) -> T:
        return quick if self.quick else full

    def medians(self, rounds: int, measure: Callable[[], float]) -> float:
        return median(measure() for _ in range(rounds))


@dataclass(frozen=True, slots=True)
class Benchmark:
    name: str
    title: str
    needs: Sequence[Need]
    function: Callable[[Run], Results]

    def missing(self) -> list[str]:
        return [said for need in self.needs if (said := need.missing())]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one benchmark: its results, or why there are none."""

    benchmark: Benchmark
    seconds: float
    results: Results | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        results = self.results or Results(())
        return {
            "name": self.benchmark.name,
            "title": self.benchmark.title,
            "seconds": round(self.seconds, 1),
            "error": self.error,
            "measurements": [
                asdict(each) | {"ratio": each.ratio, "reached": each.reached}
                for each in results.measurements
            ],
            "series": [asdict(each) for each in results.series],
            "notes": list(results.notes),
        }


_REGISTER: dict[str, Benchmark] = {}


def benchmark(
    name: str, *, title: str, needs: Sequence[Need] = ()
) -> Callable[[Callable[[Run], Results]], Callable[[Run], Results]]:
    """Register the decorated function as a benchmark; a name is taken once."""

    def register(function: Callable[[Run], Results]) -> Callable[[Run], Results]:
        known = _REGISTER.get(name)
        if known is not None and known.function.__module__ != function.__module__:
            raise ValueError(f"two benchmarks are called {name}")
        _REGISTER[name] = Benchmark(name, title, tuple(needs), function)
        return function

    return register


def _unimportable(name: str, reason: str) -> Benchmark:
    """Return what fails in place of a module's benchmarks, so that the others can be measured."""

    def fail(_run: Run) -> Results:
        raise RuntimeError(f"{name} can't be imported: {reason}")

    return Benchmark(name, f"{name}, which can't be imported", (), fail)


def registered(package: str = "tests.bench") -> dict[str, Benchmark]:
    """Import the modules of `package` and return the benchmarks by name, in order of titles."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_") and not module.ispkg:
            try:
                importlib.import_module(f"{package}.{module.name}")
            except ImportError as exc:
                _REGISTER[module.name] = _unimportable(module.name, f"{type(exc).__name__}: {exc}")
    return dict(sorted(_REGISTER.items(), key=lambda item: item[1].title))


def measure(bench: Benchmark, run: Run) -> Outcome:
    """Run one benchmark; what it lacks or breaks on becomes its outcome's error."""
    missing = bench.missing()
    if missing:
        return Outcome(bench, 0.0, error="; ".join(missing))
    gc.collect()
    start = time.perf_counter()
    try:
        results = bench.function(run)
    except Exception as exc:  # noqa: BLE001 - one that breaks must not take the others with it
        traceback.print_exc(file=sys.stderr)
        return Outcome(bench, time.perf_counter() - start, error=f"{type(exc).__name__}: {exc}")
    return Outcome(bench, time.perf_counter() - start, results)


@contextmanager
def running(command: Sequence[object], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of a with-block: SIGTERM, and after 10 s SIGKILL."""
    process = subprocess.Popen([str(each) for each in command], **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
