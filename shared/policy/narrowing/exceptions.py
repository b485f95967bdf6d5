"""The part of an exception's own change that doesn't contradict what changed upstream.

Three versions of the policy are held against each other, packet by packet: the one that both
sides began with, the site's, and what is inherited now.  Where the site's side changed a packet's
verdict and upstream didn't, the site's counts; everywhere else, what is inherited.  The result is
what is inherited now, with as few rules in front as it can.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.algebra.packets import PacketSet, Universe
from shared.model.policy import SecurityPolicy
from shared.policy.compile import SitePlanner
from shared.policy.definitions import Name
from shared.policy.narrowing.front import front_rules, uniquely_named
from shared.policy.narrowing.named import Names
from shared.policy.narrowing.walking import VERDICTS, Walker
from shared.policy.nodeconfig import Verdict
from shared.policy.plan import Plan, PlannedRule

JSON = Mapping[str, Any]

TOO_MANY: Final = "it would take more rules than somebody would read"


@dataclass(frozen=True, slots=True)
class Versions:
    """A site with each version of one policy in force there."""

    base: SitePlanner = field(hash=False)
    local: SitePlanner = field(hash=False)
    inherited: SitePlanner = field(hash=False)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to become of packets: by verdict, and which of those are the site's own wish."""

    verdicts: Mapping[Verdict, PacketSet]
    own: Mapping[Verdict, PacketSet]
    packets: PacketSet


class Narrowing:
    """Narrows one exception to a policy of a name, and checks a result in each view."""

    def __init__(self, versions: Versions, name: Name) -> None:
        self._versions: Final = versions
        self._name: Final = name
        self._universe: Final = Universe()
        self._walker: Final = Walker(self._universe)

    def spec(
        self, local: SecurityPolicy, inherited: SecurityPolicy, node: str | None
    ) -> dict[str, Any] | str:
        """Return the narrowed spec, made for one view; why there is none, if there is none."""
        plan = self._versions.inherited.plan(node)
        wanted = self._wanted(node)
        if not any(wanted.own.values()):
            return "nothing of the site's own change would be left"
        reached = self._walker.reaching(plan, self._name, wanted.packets)
        if any(not each <= reached for each in wanted.own.values()):
            return "other policies come before this one where the site's own change counts"
        unreached = wanted.packets - reached
        names = Names(self._versions.local.view(node), self._name.tenant, self._universe)
        added = front_rules(
            wanted.own,
            {verdict: packets | unreached for verdict, packets in wanted.verdicts.items()},
            rules=local.rules,
            names=names,
            universe=self._universe,
            is_brief=True,
        )
        if added is None:
            return TOO_MANY
        spec = dict(inherited.to_json())
        kept = [dict(each) for each in spec["rules"]]
        taken = [each["name"] for each in kept]
        return {**spec, "rules": [*uniquely_named(added, taken), *kept]}

    def holds(self, narrowed: SitePlanner, node: str | None) -> bool:
        """Return whether every packet is decided in a view as it is wanted there."""
        plan = narrowed.plan(node)
        packets = self._packets(node) | self._walker.all_of(self._rules(plan))
        wanted = self._wanted(node, packets)
        found = self._walker.walk(plan, packets).verdicts
        return all(found[each] == wanted.verdicts[each] for each in VERDICTS)

    def _wanted(self, node: str | None, packets: PacketSet | None = None) -> _Wanted:
        packets = self._packets(node) if packets is None else packets
        base, local, inherited = (
            self._walker.walk(each.plan(node), packets).verdicts
            for each in (self._versions.base, self._versions.local, self._versions.inherited)
        )
        same = self._universe.union(base[each] & inherited[each] for each in VERDICTS)
        own = {each: (local[each] - base[each]) & same for each in VERDICTS}
        kept = self._universe.union(own.values())
        verdicts = {each: own[each] | (inherited[each] - kept) for each in VERDICTS}
        return _Wanted(verdicts, own, packets)

    def _packets(self, node: str | None) -> PacketSet:
        """Return what any version of the policy matches: no verdict differs elsewhere."""
        versions = (self._versions.base, self._versions.local, self._versions.inherited)
        return self._universe.union(
            self._walker.all_of(self._rules(each.plan(node))) for each in versions
        )

    def _rules(self, plan: Plan) -> list[PlannedRule]:
        return [
            each
            for each in plan.rules
            if (each.tenant, each.policy) == (self._name.tenant, self._name.name)
        ]
