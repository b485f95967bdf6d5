"""What is left of local rules that mandatory ones contradict, and what would let them count.

In the site's own view.  A rule *takes effect* on the packets that it decides; mandatory rules
*contradict* it on those that they decide the other way, where `reject` is a deny.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from shared.algebra.packets import PacketSet, Universe
from shared.model.policy import Rule, SecurityPolicy
from shared.policy.compile import SitePlanner
from shared.policy.definitions import Name
from shared.policy.narrowing.covering import cover
from shared.policy.narrowing.front import front_rules, named, uniquely_named
from shared.policy.narrowing.named import Names
from shared.policy.narrowing.walking import VERDICTS, Walker
from shared.policy.nodeconfig import Verdict
from shared.policy.plan import PlannedPolicy, PlannedRule

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Front:
    """Rules that let local ones count, for the mandatory policy that contradicts first."""

    policy: PlannedPolicy
    rules: tuple[JSON, ...] = field(hash=False)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A rule with what contradicts it, the packets that it decides, and those of the
    contradicted that would be decided as it says if there were no mandatory rules.
    """

    planned: PlannedRule
    spec: Rule = field(hash=False)
    against: PacketSet
    decides: PacketSet
    would: PacketSet


class Contradictions:
    """Some rules of one local policy, by their names."""

    def __init__(self, planner: SitePlanner, policy: PlannedPolicy, rules: Collection[str]) -> None:
        self._plan: Final = planner.plan()
        self._policy: Final = policy
        self._universe: Final = Universe()
        self._walker: Final = Walker(self._universe)
        self._view: Final = planner.view()
        self._judged: Final = {
            each.rule: self._judge(each)
            for each in policy.rules
            if each.rule in rules and each.empty is None
        }

    @property
    def contradicted(self) -> list[str]:
        """The names of those that are contradicted, in order."""
        return [name for name, each in self._judged.items() if each.against]

    def narrowed(self) -> list[dict[str, Any]] | None:
        """Return the policy's rules with each contradicted one narrowed to what it may say.

        What takes its place matches all packets that it decides, none that is contradicted, and
        nothing that it doesn't match; a rule that decides nothing goes.  None if it takes more
        rules than somebody would read.
        """
        nothing = self._universe.nothing
        return self._without({name: (each.against, nothing) for name, each in self._judged.items()})

    def without_idle(self) -> list[dict[str, Any]] | None:
        """Return the policy's rules, the contradicted ones without the contradicted packets that
        local rules before them decide otherwise: those are nothing that they could keep.

        None as of narrowed().
        """
        return self._without(
            {name: (each.against - each.would, each.would) for name, each in self._judged.items()}
        )

    def _without(
        self, taken: Mapping[str, tuple[PacketSet, PacketSet]]
    ) -> list[dict[str, Any]] | None:
        """Return the policy's rules without some packets, and still with others."""
        changed = {name for name, (packets, _) in taken.items() if packets}
        kept = {each.name for each in self._spec.rules} - changed
        found: list[dict[str, Any]] = []
        for rule in self._spec.rules:
            if rule.name not in changed:
                found.append(dict(rule.to_json()))
                continue
            judged = self._judged[rule.name]
            packets, needed = taken[rule.name]
            parts = cover(
                judged.decides | needed,
                self._walker.matching(judged.planned) - packets,
                rules=[rule],
                names=self._names(),
                universe=self._universe,
            )
            if parts is None:
                return None
            made = [named(rule, each.to_json(), rule.action) for each in parts]
            made = uniquely_named(made, kept)
            kept |= {each["name"] for each in made}
            found += made
        return found

    def front(self) -> Front | str | None:
        """Return the rules that would let the local ones decide what is contradicted, to stand in
        front of the first mandatory policy that contradicts; None if they take too many, and why
        they would be of no use, if they would.
        """
        wishes = [each for each in self._judged.values() if each.would]
        if not wishes:
            return "local rules before it decide these packets otherwise, too"
        own: dict[Verdict, PacketSet] = dict.fromkeys(VERDICTS, self._universe.nothing)
        for each in wishes:
            own[cast("Verdict", each.spec.action)] |= each.would
        packets = self._universe.union(self._walker.matching(each.planned) for each in wishes)
        wanted = self._universe.union(own.values())
        walked = self._walker.walk(self._plan, packets)
        first = self._first(walked.decides, wanted)
        if first.tenant != self._policy.tenant:
            return "the mandatory policy is of another tenant"
        name = Name("SecurityPolicy", first.tenant, first.name)
        unreached = packets - self._walker.reaching(self._plan, name, packets)
        mays = {
            verdict: own[verdict] | (walked.verdicts[verdict] - wanted) | unreached
            for verdict in VERDICTS
        }
        made = front_rules(
            own,
            mays,
            rules=[each.spec for each in wishes],
            names=self._names(),
            universe=self._universe,
        )
        if made is None:
            return None
        return Front(first, tuple(made))

    def _first(self, decides: Mapping[PlannedRule, PacketSet], wanted: PacketSet) -> PlannedPolicy:
        """Return the first mandatory policy that decides any of the packets that are wanted."""
        return next(
            policy
            for policy in self._plan.policies
            if any(decides[rule] & wanted for rule in policy.rules if rule in decides)
        )

    @property
    def _spec(self) -> SecurityPolicy:
        return cast("SecurityPolicy", self._policy.effective.spec)

    def _names(self) -> Names:
        return Names(self._view, self._policy.tenant, self._universe)

    def _judge(self, planned: PlannedRule) -> _Judged:
        matched = self._walker.matching(planned)
        walked = self._walker.walk(self._plan, matched)
        would = nothing = self._universe.nothing
        against = self._universe.union(
            packets
            for rule, packets in walked.decides.items()
            if rule.tier == "mandatory" and _is_opposite(rule, planned)
        )
        if against:
            alone = self._walker.walk(self._plan, against, tiers=("local", "default"))
            would = alone.verdicts[cast("Verdict", planned.action)]
        return _Judged(
            planned,
            self._spec.rules[planned.index],
            against,
            walked.decides.get(planned, nothing),
            would,
        )


def _is_opposite(one: PlannedRule, other: PlannedRule) -> bool:
    return "pass" not in (one.action, other.action) and (one.action == "allow") != (
        other.action == "allow"
    )
