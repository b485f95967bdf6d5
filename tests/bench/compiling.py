"""P1 and P2: a whole site from a workload file to nftables, then single changes to it.

Ours is `hanse bench compile`, as people run it, in a fresh process each time; the peer is Aerleon
with `optimize` on the same file.  Both take turns.  The emitted text, read back, must give the
planner's own verdicts.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.harness import Goal, Measurement, Results, Run, Series, benchmark
from tests.bench.peers.aerleon_compile import NAME as AERLEON
from tests.bench.peers.aerleon_compile import NEED, compile_with_aerleon
from tests.bench.verdicts import differing_verdicts
from tests.bench.workload import Parameters, encode, generate

KINDS: Final = {
    "addRule": "a rule added at a random place",
    "changeNetwork": "a prefix added to a network of 20 rules",
    "relabelWorkload": "a workload's label changed",
}
FLOWS: Final = 100_000


@benchmark(
    "compile",
    title="P1 compile: a workload file to nftables text",
    needs=(NEED,),
)
def compile_(run: Run) -> Results:
    networks = run.pick(10_000, 200)
    sizes = run.pick([1_000, 2_500, 10_000, 20_000, 40_000], [100, 200])
    usual = run.pick(10_000, 200)
    files = {rules: _workload(run, rules, networks) for rules in sizes}
    ours: dict[int, list[Mapping[str, Any]]] = {rules: [] for rules in sizes}
    theirs = []
    rounds = run.pick(7, 1)
    for number in range(rounds):
        run.say(f"round {number + 1} of {rounds}")
        for rules in (usual, sizes[-1]):
            ours[rules].append(_hanse(files[rules]))
        if number < run.pick(3, 1):
            theirs.append(compile_with_aerleon(files[usual]))
    for rules in sizes:
        while len(ours[rules]) < run.pick(3, 1):
            ours[rules].append(_hanse(files[rules]))
    text = run.folder / "site.nft"
    _hanse(files[usual], text)
    workload = json.loads(files[usual].read_bytes())
    flows = run.pick(FLOWS, 500)
    differing = differing_verdicts(workload, text.read_text(), flows, 1)
    if differing:
        raise AssertionError(f"{differing} of {flows} flows get another verdict from the text")
    seconds = {rules: median(each["seconds"] for each in ours[rules]) for rules in sizes}
    memory = {rules: max(each["peakRssMiB"] for each in ours[rules]) for rules in sizes}
    peer_seconds = median(each.total_s for each in theirs)
    peer_memory = median(each.peak_rss_mib for each in theirs)
    return Results(
        [
            Measurement(
                "rules compiled a second",
                usual / seconds[usual],
                "rules/s",
                peer=usual / peer_seconds,
                peer_name=f"{AERLEON} --optimize",
                goal=Goal(50, "at least"),
                extra={
                    "rules": usual,
                    "networks": networks,
                    "seconds": sorted(each["seconds"] for each in ours[usual]),
                    "processSeconds": median(each["processSeconds"] for each in ours[usual]),
                    "peerSeconds": [each.total_s for each in theirs],
                },
            ),
            Measurement(
                "peak memory",
                memory[usual],
                "MiB",
                peer=peer_memory,
                peer_name=AERLEON,
                goal=Goal(0.5, "at most"),
            ),
            Measurement(
                f"time for {sizes[-1]:,} rules",
                seconds[sizes[-1]] * 1000,
                "ms",
                peer=seconds[usual] * 1000,
                peer_name=f"ours for {usual:,}",
                goal=Goal(4.5, "at most"),
            ),
        ],
        series=[
            Series("compile", "time", "rules", "s", sorted(seconds.items())),
            Series("compile", "memory", "rules", "MiB", sorted(memory.items())),
        ],
        notes=[f"the text, read back, gives trace's verdict on all of {flows:,} flows"],
    )


@benchmark("change", title="P2 one change: from the change to the bytes for each node")
def change(run: Run) -> Results:
    networks = run.pick(10_000, 200)
    sizes = run.pick([10_000, 20_000, 40_000], [100, 200])
    rounds, count = run.pick(3, 1), run.pick(50, 3)
    found: dict[int, list[Mapping[str, Any]]] = {}
    for rules in sizes:
        file = _workload(run, rules, networks)
        for number in range(rounds):
            run.say(f"{rules:,} rules, round {number + 1} of {rounds}")
            found.setdefault(rules, []).append(_hanse(file, changes=count))
    first, last = sizes[0], sizes[-1]
    measurements, series = [], []
    for kind, said in KINDS.items():
        medians = {
            rules: 1000 * median(each["incrementalSeconds"][kind] for each in runs)
            for rules, runs in found.items()
        }
        worst = max(1000 * each["incrementalWorstSeconds"][kind] for each in found[first])
        extra = {"p99Milliseconds": worst, "nodes": found[first][0]["nodesConcerned"][kind]}
        limit = Goal(2.0, "at most", of="figure")
        measurements.append(
            Measurement(f"{said}, {first:,} rules", medians[first], "ms", goal=limit, extra=extra)
        )
        measurements.append(
            Measurement(
                f"{said}, {last:,} rules",
                medians[last],
                "ms",
                peer=medians[first],
                peer_name=f"ours for {first:,}",
                goal=Goal(1.5, "at most"),
            )
        )
        series.append(Series("change", said, "rules", "ms", sorted(medians.items())))
    return Results(
        measurements,
        series=series,
        notes=["p99 of 50 changes is the slowest; afterwards the hash was that of a fresh compile"],
    )


def _workload(run: Run, rules: int, networks: int) -> Path:
    path = run.folder / f"{rules}.json"
    path.write_bytes(encode(generate(Parameters(networks=networks, rules=rules))))
    return path


def _hanse(workload: Path, nft: Path | None = None, *, changes: int = 0) -> Mapping[str, Any]:
    """Run `hanse bench compile` in a fresh process, and return its answer."""
    command = [sys.executable, "-m", "shared.cli", "bench", "compile", "-o", "json"]
    command += ["--workload", str(workload), "--changes", str(changes)]
    command += [] if nft is None else ["--nft", str(nft)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    answer: Mapping[str, Any] = json.loads(done.stdout)
    return answer
