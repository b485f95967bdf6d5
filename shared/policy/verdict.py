"""One flow's verdict, quickly; or with its whole story.

The quick way packs the rules that match on each dimension of a packet (addresses, protocol,
ports) into the bits of an integer, so that a verdict costs a few bisections and an AND whatever
the number of rules (Lakshman and Stiliadis, SIGCOMM 1998).
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from shared.algebra.cidrs import Family, format_address
from shared.algebra.intervals import Intervals
from shared.policy.nodeconfig import Packet, Verdict
from shared.policy.plan import TIERS, Plan, PlannedPolicy, PlannedRule
from shared.policy.resolve import Addresses

DecidedIn = Literal["mandatory", "local", "default", "site"]


class Decision(NamedTuple):
    """A verdict with the tier and rule that gave it; None in tier `site`."""

    verdict: Verdict
    tier: DecidedIn
    rule: PlannedRule | None


class Field:
    """Which rows match each value of one dimension of a packet."""

    def __init__(self, always: int, sets: Iterable[tuple[Intervals, int]]) -> None:
        """Rows are bits.  `always` match whatever the value; `sets` give a set's rows."""
        changes: dict[int, int] = {}
        for values, rows in sets:
            for boundary in values:
                changes[boundary] = changes.get(boundary, 0) ^ rows
        self._boundaries: Final = sorted(changes)
        self._rows: Final = [always]
        for boundary in self._boundaries:
            self._rows.append(self._rows[-1] ^ changes[boundary])

    def rows(self, value: int) -> int:
        return self._rows[bisect_right(self._boundaries, value)]


class FlowJudge:
    """Judges many flows by one plan."""

    def __init__(self, plan: Plan) -> None:
        self._default: Final[Verdict] = plan.default_action
        # A row is a rule with one of its services, in order of evaluation.
        rows = [
            (rule, match)
            for rule in plan.rules
            for match in (rule.services.matches if rule.services.matches is not None else (None,))
        ]
        self._rules: Final = [rule for rule, _ in rows]
        self._ends = self._tier_ends()
        sources, destinations, bounds, free = _Rows(), _Rows(), _Rows(), 0
        protocols: dict[int, int] = {}
        ports: dict[int, _Rows] = {}
        source_ports: dict[int, _Rows] = {}
        any_protocol = 0
        for place, (rule, match) in enumerate(rows):
            bit = 1 << place
            sources.add(rule.source, bit)
            destinations.add(rule.destination, bit)
            if rule.within is None:
                free |= bit
            else:
                bounds.put(rule.within.v4, rule.within.v6, bit)
            if match is None:
                any_protocol |= bit
                continue
            protocols[match.protocol] = protocols.get(match.protocol, 0) | bit
            ports.setdefault(match.protocol, _Rows()).add_ports(match.ports, bit)
            source_ports.setdefault(match.protocol, _Rows()).add_ports(match.source_ports, bit)
        self._free = free
        self._any_protocol = any_protocol
        self._protocols = protocols
        self._sources = sources.fields()
        self._destinations = destinations.fields()
        self._bounds = bounds.fields()
        self._ports = {number: each.fields()[4] for number, each in ports.items()}
        self._source_ports = {number: each.fields()[4] for number, each in source_ports.items()}

    def judge(self, packet: Packet) -> Decision:
        rows = self._matching(packet)
        start = 0
        for tier, end in zip(TIERS, self._ends, strict=True):
            found = (rows >> start) & ((1 << (end - start)) - 1)
            if found:
                rule = self._rules[start + (found & -found).bit_length() - 1]
                if rule.action != "pass":
                    return Decision(rule.action, tier, rule)
            start = end
        return Decision(self._default, "site", None)

    def _matching(self, packet: Packet) -> int:
        family = packet.family
        rows = self._sources[family].rows(packet.source)
        rows &= self._destinations[family].rows(packet.destination)
        bounds = self._bounds[family]
        rows &= self._free | bounds.rows(packet.source) | bounds.rows(packet.destination)
        if packet.protocol not in self._protocols:
            return rows & self._any_protocol
        by_port = self._ports[packet.protocol].rows(packet.port)
        by_port &= self._source_ports[packet.protocol].rows(packet.source_port)
        return rows & (self._any_protocol | by_port)

    def _tier_ends(self) -> list[int]:
        ends = []
        end = 0
        for tier in TIERS:
            end += sum(1 for rule in self._rules if rule.tier == tier)
            ends.append(end)
        return ends


class _Rows:
    """Collects, for one dimension, the rows of each distinct set."""

    def __init__(self) -> None:
        self._always = 0
        self._sets: dict[tuple[Family, Intervals], int] = {}

    def add(self, side: Addresses | None, bit: int) -> None:
        if side is None:
            self._always |= bit
        else:
            self.put(side.addresses.v4, side.addresses.v6, bit)

    def put(self, v4: Intervals, v6: Intervals, bit: int) -> None:
        self._sets[4, v4] = self._sets.get((4, v4), 0) | bit
        self._sets[6, v6] = self._sets.get((6, v6), 0) | bit

    def add_ports(self, ports: Intervals | None, bit: int) -> None:
        if ports is None:
            self._always |= bit
        else:
            self._sets[4, ports] = self._sets.get((4, ports), 0) | bit

    def fields(self) -> dict[Family, Field]:
        families: tuple[Family, ...] = (4, 6)
        return {
            family: Field(
                self._always,
                ((values, rows) for (of, values), rows in self._sets.items() if of == family),
            )
            for family in families
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One rule held against a packet: whether it matched, or why not, in a sentence."""

    policy: PlannedPolicy
    rule: PlannedRule
    matched: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Story:
    """How a verdict came about: every rule that was looked at, in order."""

    plan: Plan
    packet: Packet
    decision: Decision
    steps: tuple[Step, ...]


def judge(plan: Plan, packet: Packet) -> Story:
    """Return a packet's verdict with its story."""
    steps: list[Step] = []
    decision: Decision | None = None
    for tier in TIERS:
        for step in _tier(plan, tier, packet):
            steps.append(step)
            if step.matched and step.rule.action != "pass":
                decision = Decision(step.rule.action, tier, step.rule)
        if decision is not None:
            break
    else:
        decision = Decision(plan.default_action, "site", None)
    assert decision is not None, "the site's default action decides what no rule does"
    return Story(plan, packet, decision, tuple(steps))


def _tier(plan: Plan, tier: str, packet: Packet) -> Iterator[Step]:
    """Yield what is looked at in a tier, up to the first rule that matches."""
    for policy in plan.policies:
        if policy.tier != tier:
            continue
        for rule in policy.rules:
            reason = why_not(rule, packet)
            yield Step(policy, rule, reason is None, reason or "matches")
            if reason is None:
                return


def why_not(rule: PlannedRule, packet: Packet) -> str | None:
    """Return why a rule doesn't match a packet, in a sentence; None if it does."""
    if rule.empty is not None:
        gaps = [each.reference for each in rule.missing if each.side == rule.empty]
        cause = f": unresolved {', '.join(gaps)}" if gaps else ": nothing is selected"
        return f"is not installed, since `{rule.empty}` is empty{cause}"
    family = packet.family
    ends = (("from", rule.source, packet.source), ("to", rule.destination, packet.destination))
    for side, peers, value in ends:
        if peers is not None and not peers.addresses.contains(family, value):
            return f"{format_address(family, value)} is not in `{side}`"
    matches = rule.services.matches
    if matches is not None and not any(
        each.matches(packet.protocol, packet.source_port, packet.port) for each in matches
    ):
        return "the protocol or a port is not among `services`"
    if rule.within is not None and not any(
        rule.within.contains(family, value) for value in (packet.source, packet.destination)
    ):
        return f"neither end is an address of tenant {rule.tenant}"
    return None
