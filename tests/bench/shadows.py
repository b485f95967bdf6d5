"""P7: rules that no packet reaches, and local ones against mandatory ones.

Ours is from the loaded rules to all findings, in this process; the peer is Aerleon with its check
for shadows, less the same without it.  Then single rules change, and findings follow.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

from shared.policy.shadows.findings import Contradiction, Shadowed
from shared.policy.shadows.rules import ResolvedRule
from shared.policy.shadows.site import Shadows
from tests.bench.harness import Goal, Measurement, Results, Run, benchmark
from tests.bench.peers.aerleon_compile import NAME as AERLEON
from tests.bench.peers.aerleon_compile import NEED, compile_with_aerleon
from tests.bench.site_rules import site_rules
from tests.bench.workload import Parameters, Workload, encode, generate, nest

_LIMIT: Final = 3600.0  # seconds; on a busy machine the peer takes a quarter of an hour
_CHANGES: Final = 50

Rules = Sequence[ResolvedRule]


@benchmark("shadows", title="P7 shadows and contradictions among a site's rules", needs=(NEED,))
def shadows(run: Run) -> Results:
    count = run.pick(10_000, 1_000)
    workload = generate(Parameters(networks=count, rules=count))
    flat = site_rules(workload)
    policies = run.pick(50, 5)
    contradicting = site_rules(workload, mandatory=policies)
    nested = site_rules(nest(workload), mandatory=policies)
    for rules in (flat, contradicting, nested):
        _assert_planted(workload, rules)
    rounds = run.pick(5, 1)
    seconds = {
        name: run.medians(rounds, partial(_seconds, rules))
        for name, rules in (("flat", flat), ("mandatory", contradicting), ("nested", nested))
    }
    path = run.folder / "workload.json"
    path.write_bytes(encode(workload))
    peer = _aerleon(run, path)
    extra = {"rules": count, "peerSeconds": peer, "seconds": seconds}
    changes = _changes(contradicting, run.pick(_CHANGES, 3))
    return Results(
        [
            Measurement(
                f"{said} a second",
                1 / seconds[name],
                "1/s",
                peer=1 / peer,
                peer_name=f"{AERLEON} --shade, less without",
                goal=Goal(200, "at least"),
                extra=extra,
            )
            for name, said in (
                ("flat", f"searches of {count:,} rules"),
                ("mandatory", "half of them mandatory: searches"),
                ("nested", "prefixes nested eight deep: searches"),
            )
        ]
        + [
            Measurement(
                f"{kind}: findings current after",
                1000 * median(taken),
                "ms",
                goal=Goal(100, "at most", of="figure"),
                extra={"worstMilliseconds": 1000 * max(taken)},
            )
            for kind, taken in changes.items()
        ],
        notes=[
            "every planted shadow is found, and after all changes what is found from scratch",
            "the peer reads the flat rules each time: it knows no mandatory ones",
        ],
    )


def _assert_planted(workload: Workload, rules: Rules) -> None:
    """AssertionError if a planted shadow isn't found, or nothing against mandatory rules."""
    found = [*Shadows(rules).findings]
    shadowed = {each.rule.rule for each in found if isinstance(each, Shadowed)}
    planted = {workload["rules"][under]["name"] for _, under in workload["shaded"]}
    if not planted <= shadowed:
        raise AssertionError(f"{len(planted - shadowed)} planted shadows are not found")
    if any(each.name.tier == "mandatory" for each in rules) and not any(
        isinstance(each, Contradiction) for each in found
    ):
        raise AssertionError("nothing contradicts the mandatory rules")


def _seconds(rules: Rules) -> float:
    # What is there by now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    start = time.perf_counter()
    _ = [*Shadows(rules).findings]
    taken = time.perf_counter() - start
    gc.unfreeze()
    return taken


def _aerleon(run: Run, workload: Path) -> float:
    run.say(f"{AERLEON}: takes minutes")
    with_check = compile_with_aerleon(workload, optimize=False, shade=True, limit=_LIMIT)
    without = compile_with_aerleon(workload, optimize=False, limit=_LIMIT)
    return with_check.total_s - without.total_s


def _changes(rules: Rules, count: int) -> dict[str, list[float]]:
    """Return the CPU seconds that each of so many changes of each kind took."""
    dice = Random(1)
    current = list(rules)

    def exchanged(place: int) -> ResolvedRule:
        other = dice.choice(rules)
        return replace(current[place], source=other.source, services=other.services)

    def turned(place: int) -> ResolvedRule:
        name = current[place].name
        action: Any = "deny" if name.action == "allow" else "allow"
        return replace(current[place], name=name._replace(action=action))

    def opened(place: int) -> ResolvedRule:
        return replace(current[place], services=None)

    kinds: dict[str, Callable[[int], ResolvedRule]] = {
        "other source and service": exchanged,
        "another action": turned,
        "any service": opened,
    }
    held = Shadows(current)
    taken: dict[str, list[float]] = {}
    for kind, change in kinds.items():
        for _ in range(count):
            place = dice.randrange(len(current))
            current[place] = change(place)
            start = time.process_time()
            held.update(current)
            taken.setdefault(kind, []).append(time.process_time() - start)
    if [*held.findings] != [*Shadows(current).findings]:
        raise AssertionError("what was followed isn't what is found from scratch")
    return taken
