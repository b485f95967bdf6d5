"""What each rule of a view decides of some packets; exact sets.

Unlike an impact, a walk tells `reject` from `deny` and says who decided.  It is asked about the
packets of a few rules, and skips the rules that can't share one with them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from shared.algebra.cidrs import AddressSet
from shared.algebra.packets import PacketSet, Universe
from shared.policy.definitions import Name
from shared.policy.nodeconfig import Verdict
from shared.policy.plan import TIERS, Plan, PlannedRule
from shared.policy.resolve import Addresses

VERDICTS: Final[tuple[Verdict, ...]] = ("allow", "deny", "reject")


@dataclass(frozen=True, slots=True)
class Walk:
    """What a view makes of a set of packets.

    `verdicts` has a set for each verdict; `decides` the packets that each rule has the last word
    on, of rules that have any.
    """

    verdicts: Mapping[Verdict, PacketSet] = field(hash=False)
    decides: Mapping[PlannedRule, PacketSet] = field(hash=False)


class Walker:
    """Walks views; what rules match is made once.  Views of one site share rules' addresses."""

    def __init__(self, universe: Universe) -> None:
        self.universe: Final = universe
        self._matching: dict[PlannedRule, PacketSet] = {}

    def matching(self, rule: PlannedRule) -> PacketSet:
        """Return what a rule matches."""
        if rule not in self._matching:
            self._matching[rule] = self.universe.matching(
                _parts(rule.source), _parts(rule.destination), rule.services.matches, rule.within
            )
        return self._matching[rule]

    def all_of(self, rules: Iterable[PlannedRule]) -> PacketSet:
        """Return what any of some installed rules matches."""
        return self.universe.union(self.matching(each) for each in rules if each.empty is None)

    def walk(self, plan: Plan, packets: PacketSet, *, tiers: Sequence[str] = TIERS) -> Walk:
        """Return what becomes of packets; tiers that are left out decide nothing."""
        verdicts = dict.fromkeys(VERDICTS, self.universe.nothing)
        decides: dict[PlannedRule, PacketSet] = {}
        sources, destinations = packets.sources(), packets.destinations()
        rest = packets
        for tier in tiers:
            ahead = rest
            for rule in plan.rules:
                if rule.tier != tier or not _near(rule, sources, destinations):
                    continue
                if not ahead:
                    break
                found = self.matching(rule) & ahead
                if not found:
                    continue
                ahead = ahead - found
                if rule.action != "pass":
                    decides[rule] = found
                    verdicts[rule.action] |= found
                    rest = rest - found
        verdicts[plan.default_action] |= rest
        return Walk(verdicts, decides)

    def reaching(self, plan: Plan, policy: Name, packets: PacketSet) -> PacketSet:
        """Return those of some packets that come as far as a policy: no rule before it decides
        them, or passes them on.
        """
        tier: str | None = None
        rest = ahead = packets
        for each in plan.policies:
            if each.tier != tier:
                tier, ahead = each.tier, rest
            if (each.tenant, each.name) == (policy.tenant, policy.name):
                return ahead
            for rule in each.rules:
                if rule.empty is not None or not ahead:
                    continue
                found = self.matching(rule) & ahead
                ahead = ahead - found
                if rule.action != "pass":
                    rest = rest - found
        return self.universe.nothing


def _near(rule: PlannedRule, sources: AddressSet, destinations: AddressSet) -> bool:
    return (rule.source is None or rule.source.addresses.overlaps(sources)) and (
        rule.destination is None or rule.destination.addresses.overlaps(destinations)
    )


def _parts(side: Addresses | None) -> Sequence[AddressSet] | None:
    return None if side is None else side.parts or (side.addresses,)
