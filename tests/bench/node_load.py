"""How long a node takes to enforce: all from scratch, one member of a set, one rule.

From the configuration (or the difference) in hand to the hash that was read back from the kernel;
open connections are judged in between.  The peer is plain `nft -f` of the same rules, which reads
nothing back: with named sets as we have them, and with each rule's addresses in sets of its own.
"""

import asyncio
import os
import random
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Final

from dsn.dataplane.nftables import NftablesDataPlane
from shared.algebra.cidrs import parse_cidrs
from shared.cli.demo.namespaces import are_possible
from shared.collector import calm_collector
from shared.policy.nodeconfig import NodeConfiguration, NodeRule, NodeService, Tier, rule_id
from shared.policy.nodedelta import apply_delta, compute_delta
from tests.bench.harness import Goal, Measurement, Program, Results, Run, Series, benchmark

SCRATCH: Final = Goal(500.0, "at most", of="figure")
CHANGE: Final = Goal(20.0, "at most", of="figure")
_TIERS: Final[tuple[Tier, ...]] = ("mandatory", "local", "default")


@benchmark(
    "node_load",
    title="node: rules into the kernel and read back",
    needs=(Program("nft", apt="nftables"), Program("ip", apt="iproute2")),
)
def node_load(run: Run) -> Results:
    if not are_possible():
        return Results((), notes=("not measured: it takes root and network namespaces",))
    # As the agent's own program does.
    calm_collector()
    rules, members = run.pick((1000, 10_000), (100, 1000))
    rounds = run.pick(5, 2)
    wanted = make_configuration(rules, members, sets=members // 100)
    one_set = make_configuration(rules, members, sets=1)
    with namespace() as name:
        run.say(f"{rules} rules, {members} members of sets")
        ours = asyncio.run(_ours(name, wanted, rounds))
        run.say("the same members in one set")
        large = asyncio.run(_ours(name, one_set, rounds))
        run.say("plain nft: named sets, then sets of each rule's own")
        nft = {named: _nft(name, wanted, named, rounds) for named in (True, False)}
        growth = list(_growth(run, name, rules))
    extra = {"rules": rules, "members": members}
    return Results(
        [
            Measurement(
                f"{rules:,} rules from scratch",
                ours.median("scratch"),
                "ms",
                peer=nft[named].median("scratch"),
                peer_name="nft -f, named sets" if named else "nft -f, anonymous sets",
                goal=SCRATCH,
                extra={**extra, "cpu_ms": ours.cpu("scratch")},
            )
            for named in (True, False)
        ]
        + [
            Measurement(
                what,
                of.median(which),
                "ms",
                peer=nft[True].median(which),
                peer_name="nft, one process",
                goal=CHANGE,
                extra={**extra, "cpu_ms": of.cpu(which)},
            )
            for what, of, which in (
                ("one member changed, in a set of 100", ours, "member"),
                (f"one member changed, in a set of {members:,}", large, "member"),
                ("one rule more or less", ours, "rule"),
            )
        ],
        series=growth,
        notes=(
            "nft loads only; ours judges open connections and reads back as well",
            *(
                f"CPU, kernel included: {kind} {ours.cpu(kind):.0f} ms "
                f"({large.cpu(kind):.0f} ms with one set), nft {nft[True].cpu(kind):.0f} ms"
                for kind in ("scratch", "member", "rule")
            ),
            f"CPU of nft with anonymous sets: {nft[False].cpu('scratch'):.0f} ms",
        ),
    )


@dataclass(slots=True)
class Times:
    """Milliseconds of each kind of work: by the clock, and of this process's CPU."""

    wall: dict[str, list[float]] = field(default_factory=dict)
    spent: dict[str, list[float]] = field(default_factory=dict)

    def add(self, kind: str, wall: float, cpu: float) -> None:
        self.wall.setdefault(kind, []).append(wall * 1000)
        self.spent.setdefault(kind, []).append(cpu * 1000)

    def median(self, kind: str) -> float:
        return median(self.wall[kind])

    def cpu(self, kind: str) -> float:
        return round(median(self.spent[kind]), 2)

    async def measure(self, kind: str, work: Callable[[], Awaitable[Any]]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        await work()
        self.add(kind, time.perf_counter() - wall, time.process_time() - cpu)


async def _ours(name: str, wanted: NodeConfiguration, rounds: int) -> Times:
    times = Times()
    for _ in range(rounds):
        plane = NftablesDataPlane(namespace=name)
        fresh = replace(wanted)
        await times.measure("scratch", lambda: _enforce(plane, fresh))  # noqa: B023 - awaited here
        for kind, changed in (("member", _one_member(fresh)), ("rule", _one_rule(fresh))):
            there, back = compute_delta(fresh, changed), compute_delta(changed, fresh)
            for _ in range(3):
                now = await _change(times, kind, plane, fresh, there)
                await _change(times, kind, plane, now, back)
        await plane.clear()
        await plane.close()
    return times


async def _change(
    times: Times,
    kind: str,
    plane: NftablesDataPlane,
    have: NodeConfiguration,
    delta: dict[str, Any],
) -> NodeConfiguration:
    result: list[NodeConfiguration] = []

    async def work() -> None:
        result.append(apply_delta(have, delta))
        await _enforce(plane, result[0])

    await times.measure(kind, work)
    return result[0]


async def _enforce(plane: NftablesDataPlane, wanted: NodeConfiguration) -> None:
    await plane.apply(wanted)
    await plane.end_denied_connections(wanted)
    found = await plane.read_back()
    if found.hash != wanted.hash():
        raise AssertionError(f"the kernel enforces something else: {found.faults}")


def _one_member(have: NodeConfiguration) -> NodeConfiguration:
    name = max(have.sets)
    members = have.sets[name]
    middle = len(members) // 2
    return replace(have, sets={**have.sets, name: members[:middle] + members[middle + 1 :]})


def _one_rule(have: NodeConfiguration) -> NodeConfiguration:
    middle = len(have.rules) // 2
    return replace(have, rules=have.rules[:middle] + have.rules[middle + 1 :])


def _nft(
    name: str, wanted: NodeConfiguration, named: bool, rounds: int, *, changes: bool = True
) -> Times:
    times = Times()
    text = nft_text(wanted, named=named)
    for _ in range(rounds if named else 1):
        _timed(times, "scratch", name, ["-f", "-"], text)
        if named and changes:
            _nft_changes(times, name, wanted)
        _run_nft(name, ["delete", "table", "inet", "peer"])
    return times


def _nft_changes(times: Times, name: str, wanted: NodeConfiguration) -> None:
    which = max(wanted.sets)
    element = ["element", "inet", "peer", which, "{", wanted.sets[which][0], "}"]
    for _ in range(3):
        _timed(times, "member", name, ["delete", *element])
        _timed(times, "member", name, ["add", *element])
    for _ in range(3):
        _timed(times, "rule", name, ["insert rule inet peer local index 10 tcp dport 1 accept"])


def nft_text(wanted: NodeConfiguration, *, named: bool) -> str:
    """Return the configuration's rules for IPv4 as a person would write them for nft."""
    lines = ["table inet peer {"]
    if named:
        for name, cidrs in wanted.sets.items():
            elements = ", ".join(cidrs)
            lines.append(f"set {name} {{ type ipv4_addr; flags interval; elements={{{elements}}}}}")
    for tier in _TIERS:
        hook = "type filter hook forward priority 0;" if tier == "mandatory" else ""
        lines.append(f"chain {tier} {{ {hook}")
        lines += [_nft_rule(rule, wanted, named) for rule in wanted.rules if rule.tier == tier]
        lines.append("}")
    return "\n".join([*lines, "}\n"])


def _nft_rule(rule: NodeRule, wanted: NodeConfiguration, named: bool) -> str:
    matches = []
    for side, name in (("saddr", rule.source), ("daddr", rule.destination)):
        if name is not None:
            of = f"@{name}" if named else "{ " + ", ".join(wanted.sets[name]) + " }"
            matches.append(f"ip {side} {of}")
    for service in rule.services or ():
        ports = ", ".join(f"{first}-{last}" for first, last in service.ports or ())
        matches.append(f"tcp dport {{ {ports} }}")
    verdict = {"allow": "accept", "deny": "drop"}.get(rule.action, "reject")
    return " ".join([*matches, "counter", verdict])


def _growth(run: Run, name: str, rules: int) -> Iterator[Series]:
    points: dict[str, list[tuple[float, float]]] = {}
    for share in (8, 4, 2, 1):
        count = rules // share
        run.say(f"growth: {count} rules")
        wanted = make_configuration(count, 10 * count, sets=max(1, count // 10))
        ours = asyncio.run(_ours(name, wanted, 1))
        points.setdefault("Hanse, read back", []).append((count, ours.median("scratch")))
        for named in (True, False):
            said = "nft -f, named sets" if named else "nft -f, anonymous sets"
            times = _nft(name, wanted, named, 1, changes=False)
            points.setdefault(said, []).append((count, times.median("scratch")))
    for said, each in points.items():
        yield Series("node_load", said, "rules", "ms", each)


def _timed(times: Times, kind: str, name: str, arguments: list[str], given: str = "") -> None:
    wall = time.perf_counter()
    before = os.times()
    _run_nft(name, arguments, given)
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])
    times.add(kind, time.perf_counter() - wall, cpu)


def _run_nft(name: str, arguments: list[str], given: str = "") -> None:
    command = ["ip", "netns", "exec", name, "nft", *arguments]
    subprocess.run(command, input=given, text=True, check=True, capture_output=True)


@contextmanager
def namespace() -> Iterator[str]:
    """A network namespace for the length of a with-block."""
    name = f"hanse-load-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def make_configuration(rules: int, members: int, sets: int) -> NodeConfiguration:
    """Return rules between random pairs of `sets` sets that have so many members in all."""
    source = random.Random(1)
    named = {f"s{number:016x}": _members(source, members // sets) for number in range(sets)}
    names = list(named)
    made = []
    for number in range(rules):
        tier = _TIERS[number * len(_TIERS) // rules]
        ports = sorted(source.sample(range(1, 60_000, 3), source.choice((1, 1, 2, 3))))
        made.append(
            NodeRule(
                id=rule_id(tier, "common", "load", str(number), "local"),
                tier=tier,
                tenant="common",
                policy="load",
                rule=str(number),
                origin="local",
                action=source.choice(("allow", "deny", "reject")),
                source=source.choice(names),
                destination=source.choice(names),
                services=(NodeService(6, tuple((port, port) for port in ports)),),
            )
        )
    return NodeConfiguration("node-1", "deny", ("10.1.0.0/24",), named, tuple(made))


def _members(source: random.Random, count: int) -> tuple[str, ...]:
    # Every other address at most, so that each stays a member of its own.
    hosts = source.sample(range(1 << 20), count)
    return parse_cidrs(
        f"10.{host >> 15}.{host >> 7 & 255}.{host << 1 & 255}/32" for host in hosts
    ).cidrs()
