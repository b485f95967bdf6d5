"""One flow's verdict, quickly; or with its whole story.

The quick way packs the rules that match on each dimension of a packet (addresses, protocol,
ports) into the bits of an integer, so that a verdict costs a few bisections and an AND whatever
the number of rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from shared.algebra.cidrs import format_address
from shared.algebra.rows import AddressCollector, Collector
from shared.policy.nodeconfig import Packet, Verdict
from shared.policy.plan import TIERS, Plan, PlannedPolicy, PlannedRule

DecidedIn = Literal["mandatory", "local", "default", "site"]


class Decision(NamedTuple):
    """A verdict with the tier and rule that gave it; None in tier `site`."""

    verdict: Verdict
    tier: DecidedIn
    rule: PlannedRule | None


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
        self._ends: Final = self._tier_ends()
        sources, destinations, bounds = AddressCollector(), AddressCollector(), AddressCollector()
        ports: dict[int, Collector] = {}
        source_ports: dict[int, Collector] = {}
        self._any_protocol = 0
        for place, (rule, match) in enumerate(rows):
            bit = 1 << place
            sources.put(None if rule.source is None else rule.source.addresses, bit)
            destinations.put(None if rule.destination is None else rule.destination.addresses, bit)
            bounds.put(rule.within, bit)
            if match is None:
                self._any_protocol |= bit
            else:
                ports.setdefault(match.protocol, Collector()).put(match.ports, bit)
                source_ports.setdefault(match.protocol, Collector()).put(match.source_ports, bit)
        self._sources = sources.rows()
        self._destinations = destinations.rows()
        self._bounds = bounds.rows()
        self._ports = {number: each.rows() for number, each in ports.items()}
        self._source_ports = {number: each.rows() for number, each in source_ports.items()}

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
        rows = self._sources[family].of(packet.source)
        rows &= self._destinations[family].of(packet.destination)
        bounds = self._bounds[family]
        rows &= bounds.of(packet.source) | bounds.of(packet.destination)
        if packet.protocol not in self._ports:
            return rows & self._any_protocol
        matching = self._ports[packet.protocol].of(packet.port)
        matching &= self._source_ports[packet.protocol].of(packet.source_port)
        return rows & (self._any_protocol | matching)

    def _tier_ends(self) -> list[int]:
        ends = []
        end = 0
        for tier in TIERS:
            end += sum(1 for rule in self._rules if rule.tier == tier)
            ends.append(end)
        return ends


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
