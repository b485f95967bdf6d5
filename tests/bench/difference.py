"""P8: what a change of policy newly allows and denies, exactly.

Both versions are loaded and resolved; measured is from there to counts, examples and up to 1,000
boxes of both differences, as `hanse compare` gives them.  Half of the rules of the second version
are others, at random places; 30 % of all rules overlap an earlier one: they share one of its
networks on each side, and its service.  Verdicts of random packets are held against what the
workloads themselves say.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from statistics import median
from typing import Any, Final

from shared.algebra.packets import Universe
from shared.cli.bench.workload import NAME, sources
from shared.ids import FEDERATION
from shared.model.kinds import KINDS
from shared.policy.compile import SitePlanner
from shared.policy.impact.difference import Differ, Difference
from shared.policy.impact.site import packets_json, site_impact
from shared.policy.inputs import Document, Documents, SiteInputs
from tests.bench.harness import Goal, Measurement, Results, Run, benchmark
from tests.bench.verdicts import Reading
from tests.bench.workload import Parameters, Workload, generate

BOXES: Final = 1000
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_OVERLAP: Final = 0.3
_FLOWS: Final = 2_000
_GOALS: Final = {1_000: 0.25, 5_000: 2.0}
"""Seconds, by number of rules."""


@dataclass(frozen=True, slots=True)
class _Figures:
    wall: float
    cpu: float
    answer: dict[str, Any]


@benchmark("difference", title="P8 difference: count, examples and boxes of what a change does")
def difference(run: Run) -> Results:
    measurements = []
    for rules, limit in _GOALS.items():
        size = run.pick(rules, rules // 10)
        before, after = versions(size)
        old, new = site_planner(before), site_planner(after)
        old.plan(), new.plan()
        rounds = run.pick(5, 1)
        found = [_measured(lambda: _difference(old, new)) for _ in range(rounds)]  # noqa: B023
        whole = [_measured(lambda: _impact(old, new)) for _ in range(rounds)]  # noqa: B023
        _assert_true(before, after, _differ(old, new), run.pick(_FLOWS, 200))
        answer = found[0].answer
        sides = ("newlyAllowed", "newlyDenied")
        measurements.append(
            Measurement(
                f"two policies of {size:,} rules",
                median(each.wall for each in found),
                "s",
                goal=Goal(limit, "at most", of="figure"),
                extra={
                    "cpuSeconds": median(each.cpu for each in found),
                    "seconds": sorted(each.wall for each in found),
                    "compareSeconds": median(each.wall for each in whole),
                    "compareCpuSeconds": median(each.cpu for each in whole),
                    "boxes": {side: len(answer[side]["boxes"]) for side in sides},
                    "truncated": {side: answer[side]["truncated"] for side in sides},
                    "packets": {side: answer[side]["packets"] for side in sides},
                },
            )
        )
    return Results(
        measurements,
        notes=[
            f"boxes of both differences: {_boxes(measurements)}",
            (
                f"seconds of CPU: {_listed(measurements, 'cpuSeconds')}; "
                f"with the names touched: {_listed(measurements, 'compareCpuSeconds')}"
            ),
            "verdicts of random packets under both versions are those of the workloads",
        ],
    )


def versions(rules: int, *, seed: int = 1) -> tuple[Workload, Workload]:
    """Return two workloads of so many rules that have half of them in common."""
    drawn = generate(Parameters(networks=rules, rules=rules + rules // 2, shaded=0.0), seed=seed)
    dice = Random(seed)
    drawn["rules"] = [_overlapping(dice, drawn["rules"], n) for n in range(len(drawn["rules"]))]
    first, others = drawn["rules"][:rules], drawn["rules"][rules:]
    second = list(first)
    for place, other in zip(dice.sample(range(rules), len(others)), others, strict=True):
        second[place] = other
    return {**drawn, "rules": first}, {**drawn, "rules": second}


def _overlapping(dice: Random, rules: list[dict[str, Any]], place: int) -> dict[str, Any]:
    rule = rules[place]
    if not place or dice.random() >= _OVERLAP:
        return rule
    earlier = rules[dice.randrange(place)]
    return {
        **rule,
        "src": sorted({*rule["src"][1:], dice.choice(earlier["src"])}),
        "dst": sorted({*rule["dst"][1:], dice.choice(earlier["dst"])}),
        "service": earlier["service"],
    }


def site_planner(workload: Workload) -> SitePlanner:
    documents = [
        Document(each.key, KINDS[each.key.kind].spec.model_validate(each.data), each.labels)
        for each in sources(workload)
    ]
    return SitePlanner(
        SiteInputs(
            NAME,
            Documents(each for each in documents if each.key.scope == FEDERATION),
            Documents(each for each in documents if each.key.scope != FEDERATION),
            _NOW,
        )
    )


def _differ(old: SitePlanner, new: SitePlanner) -> Difference:
    return Differ(Universe()).difference(old.plan(), new.plan())


def _difference(old: SitePlanner, new: SitePlanner) -> dict[str, Any]:
    found = _differ(old, new)
    return {
        "newlyAllowed": packets_json(found.allowed, max_boxes=BOXES),
        "newlyDenied": packets_json(found.denied, max_boxes=BOXES),
    }


def _impact(old: SitePlanner, new: SitePlanner) -> dict[str, Any]:
    return site_impact(old, new).to_json(max_boxes=BOXES)


def _measured(asked: Callable[[], dict[str, Any]]) -> _Figures:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    answer = asked()
    return _Figures(time.perf_counter() - wall, time.process_time() - cpu, answer)


def _boxes(measurements: list[Measurement]) -> str:
    return ", ".join(str(count) for each in measurements for count in each.extra["boxes"].values())


def _listed(measurements: list[Measurement], name: str) -> str:
    return ", ".join(f"{each.extra[name]:.2f}" for each in measurements)


def _assert_true(before: Workload, after: Workload, found: Difference, flows: int) -> None:
    old, new = Reading(before), Reading(after)
    changed = 0
    for reading, seed in ((old, 1), (new, 2)):
        for packet in reading.flows(Random(seed), flows):
            was, becomes = (each.verdict(packet) == "allow" for each in (old, new))
            changed += was != becomes
            if (packet in found.allowed, packet in found.denied) != (
                becomes and not was,
                was and not becomes,
            ):
                raise AssertionError(f"the difference is wrong about {packet}")
    if not changed:
        raise AssertionError("no packet that was tried changes: the check says nothing")
