"""Long runs: what one is, how it is judged, and how it is shown.

A soak is a function in a module of this package:

    @soak("feed", title="The FSM among sites that come and go")
    def feed(run: Run) -> None: ...

It works until `run.goes_on()` says no, and calls `run.sample(...)` every few seconds with figures
that must stay flat.  `python -m tests.soak --minutes 60` runs them one after another.
"""

import importlib
import pkgutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

WARM_UP: Final = 1 / 3
"""The share of the run at its beginning that isn't judged: caches fill."""

MOST_POINTS: Final = 400
"""For the slope, which looks at every pair."""


@dataclass(frozen=True, slots=True)
class Flat:
    """How much a figure may grow within the judged part of a run, by its trend.

    The larger of the two counts: a share of its median, or an amount of its own unit.
    """

    unit: str
    share: float
    amount: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one figure: its trend is a robust slope (Theil-Sen), not its two ends."""

    name: str
    unit: str
    first: float
    median: float
    last: float
    most: float
    growth: float
    """What the trend makes of the judged part."""
    allowed: float

    @property
    def flat(self) -> bool:
        return self.growth <= self.allowed


@dataclass
class Run:
    """What a soak is given."""

    folder: Path
    seconds: float
    limits: dict[str, Flat]
    say: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)
    times: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    load: dict[str, float] = field(default_factory=dict)
    """How much was done: a run that carried too little proves nothing."""

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def goes_on(self) -> bool:
        return self.elapsed < self.seconds

    def sample(self, **figures: float) -> None:
        """Note the figures of now, those of `limits`."""
        self.times.append(self.elapsed)
        for name in self.limits:
            self.values.setdefault(name, []).append(figures[name])

    def carried(self, **what: float) -> None:
        """Add to what the run has done."""
        for name, amount in what.items():
            self.load[name] = self.load.get(name, 0) + amount


@dataclass(frozen=True, slots=True)
class Soak:
    name: str
    title: str
    limits: dict[str, Flat]
    function: Callable[[Run], None]


_REGISTER: dict[str, Soak] = {}


def soak(
    name: str, *, title: str, limits: dict[str, Flat]
) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Register the decorated function; `limits` says which figures are judged, and how."""

    def register(function: Callable[[Run], None]) -> Callable[[Run], None]:
        _REGISTER[name] = Soak(name, title, limits, function)
        return function

    return register


def registered(package: str = "tests.soak") -> dict[str, Soak]:
    """Import the modules of `package` and return the soaks by name."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")
    return dict(sorted(_REGISTER.items()))


def judge(run: Run) -> list[Verdict]:
    """Return the verdict on each figure; ValueError if there are too few samples to judge."""
    start = run.seconds * WARM_UP
    judged = [number for number, at in enumerate(run.times) if at >= start]
    if len(judged) < 5:
        raise ValueError(f"{len(judged)} samples are too few to judge by")
    times = [run.times[number] for number in judged]
    verdicts = []
    for name, limit in run.limits.items():
        values = [run.values[name][number] for number in judged]
        middle = statistics.median(values)
        verdicts.append(
            Verdict(
                name,
                limit.unit,
                first=run.values[name][0],
                median=middle,
                last=values[-1],
                most=max(run.values[name]),
                growth=slope(times, values) * (times[-1] - times[0]),
                allowed=max(limit.share * middle, limit.amount),
            )
        )
    return verdicts


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the median of the slopes between all pairs of points, in units per second.

    Theil (1950) and Sen (1968): more than a quarter of the points may be wild without moving it.
    """
    step = max(1, len(times) // MOST_POINTS)
    points = list(zip(times[::step], values[::step], strict=True))
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for number, earlier in enumerate(points)
        for later in points[number + 1 :]
        if later[0] > earlier[0]
    ]
    return statistics.median(slopes)
