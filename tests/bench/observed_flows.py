"""A million observed flows re-judged under a new policy: which of them it would turn.

Two versions of a policy of 10,000 rules, half of which differ, are loaded and resolved.  Measured
is from the opened file of flows (JSON lines, not compressed) to the answer of `hanse compare` about
them: read, judged under both versions, counted, with examples.  Beside it stands what it takes
once the flows are columns in memory, as at a site that has read its file before.

Nine tenths of the flows are aimed at the borders of a rule of either version, the rest goes
anywhere, so that addresses hardly repeat: some 300,000 of them.  Verdicts of flows drawn among
them are held against what the workloads themselves say.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import orjson

from shared.policy.flow_columns import Observed
from shared.policy.flows import packet_json
from shared.policy.impact.flows import FlowImpact, flow_impact
from shared.policy.impact.outcomes import outcomes
from shared.telemetry.recorded import FlowFile
from tests.bench.difference import site_planner, versions
from tests.bench.harness import Goal, Measurement, Results, Run, benchmark
from tests.bench.verdicts import Reading
from tests.bench.workload import Workload

RULES: Final = 10_000
FLOWS: Final = 1_000_000
_SAMPLE: Final = 5_000
_WEEK: Final = 7 * 86_400
_FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Figures:
    wall: float
    cpu: float
    found: FlowImpact


@benchmark("observed_flows", title="Observed flows re-judged under a new policy")
def observed_flows(run: Run) -> Results:
    rules, count = run.pick(RULES, RULES // 10), run.pick(FLOWS, FLOWS // 50)
    run.say(f"writing {count:,} flows")
    before, after = versions(rules)
    file = run.folder / "flows.jsonl"
    write_flows(file, before, after, count, seed=1)
    old, new = site_planner(before), site_planner(after)
    old.plan(), new.plan()
    run.say("judging them")
    rounds = run.pick(5, 1)
    whole = [_measured(lambda: flow_impact(old, new, read(file))) for _ in range(rounds)]
    known = read(file)
    again = [_measured(lambda: flow_impact(old, new, Observed(known.flows))) for _ in range(rounds)]
    _assert_true(before, after, known, run.pick(_SAMPLE, 500))
    found = whole[0].found
    if not found.allowed.flows or not found.denied.flows:
        raise AssertionError("no flow changes: it says nothing")
    title = f"{count:,} flows, {rules:,} rules"
    return Results(
        [
            Measurement(
                f"{title}, from the opened file",
                median(each.wall for each in whole),
                "s",
                goal=Goal(3.0, "at most", of="figure"),
                extra=_extra(whole) | {"bytes": file.stat().st_size},
            ),
            Measurement(
                f"{title}, from columns in memory",
                median(each.wall for each in again),
                "s",
                goal=Goal(3.0, "at most", of="figure"),
                extra=_extra(again),
            ),
        ],
        notes=[
            (
                f"{found.allowed.flows:,} flows newly allowed, {found.denied.flows:,} newly denied; "
                f"{len(known.flows.v4):,} addresses, {len(known.flows.services):,} services"
            ),
            (
                f"seconds of CPU: {median(each.cpu for each in whole):.2f} with the file, "
                f"{median(each.cpu for each in again):.2f} from columns; best of all "
                f"{min(each.wall for each in whole):.2f} and {min(each.wall for each in again):.2f}"
            ),
            "verdicts of flows drawn among them are those of both workloads",
        ],
    )


def write_flows(file: Path, before: Workload, after: Workload, count: int, *, seed: int) -> None:
    """Write flows of a week, aimed at the rules of either version."""
    dice = Random(seed)
    with file.open("wb") as lines:
        for workload, part in ((before, count // 2), (after, count - count // 2)):
            for packet in Reading(workload).flows(dice, part):
                end = _FIRST + timedelta(seconds=dice.randrange(_WEEK))
                flow: dict[str, Any] = {
                    **packet_json(packet),
                    "bytes": dice.randrange(10 ** dice.randrange(2, 9)),
                    "packets": dice.randrange(1, 10_000),
                    "start": _text(end - timedelta(seconds=dice.randrange(600))),
                    "end": _text(end),
                    "verdict": "allow",
                }
                lines.write(orjson.dumps(flow) + b"\n")


def read(file: Path) -> Observed:
    return FlowFile(file).since(None)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _extra(found: list[_Figures]) -> dict[str, Any]:
    return {
        "cpuSeconds": median(each.cpu for each in found),
        "seconds": sorted(each.wall for each in found),
    }


def _measured(asked: Callable[[], FlowImpact]) -> _Figures:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    found = asked()
    found.to_json()
    return _Figures(time.perf_counter() - wall, time.process_time() - cpu, found)


def _assert_true(before: Workload, after: Workload, known: Observed, sample: int) -> None:
    places = Random(1).sample(range(len(known.flows)), sample)
    for workload in (before, after):
        reading = Reading(workload)
        found = outcomes(site_planner(workload), known)
        for place in places:
            packet = known.flows.packet(place)
            if found.allowed[place] != (reading.verdict(packet) == "allow"):
                raise AssertionError(f"the verdict is wrong about {packet}")
