"""The packets that a view allows, and those whose verdict differs between two views; exact.

`reject` is a deny, and tiers, `pass`, tenants' bounds and the default action count as they do for
a single packet.  A rule that both views have in common is left out where no other rule reaches
it: who changes one rule of thousands pays for its neighbours only.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal

from shared.algebra.cidrs import AddressSet
from shared.algebra.packets import PacketSet, Universe
from shared.algebra.ports import ALL_PORTS, PortMatch
from shared.algebra.rows import Collector
from shared.policy.inherit import Tier
from shared.policy.loaded.garbage import collection_paused
from shared.policy.plan import TIERS, Plan, PlannedRule
from shared.policy.resolve import Addresses

Action = Literal["allow", "deny", "pass"]

_MANY: Final = 200
"""A common rule that shares its service with more of the others is kept without a look at each."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a second view allows and the first doesn't, and what it denies and the first allows."""

    allowed: PacketSet
    denied: PacketSet

    def __bool__(self) -> bool:
        return bool(self.allowed) or bool(self.denied)


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """All of a rule that has a say in verdicts; rules of a Differ that say the same share one."""

    tier: Tier
    action: Action
    source: AddressSet | None
    destination: AddressSet | None
    matches: tuple[PortMatch, ...] | None
    within: AddressSet | None


_Ruled = tuple[_Shape, PlannedRule]


@dataclass(frozen=True, slots=True)
class _Decided:
    """What rules allow, deny and pass on; None is nothing."""

    allowed: PacketSet | None
    denied: PacketSet | None
    passed: PacketSet | None


class Differ:
    """Holds views against each other; remembers rules, which views share."""

    def __init__(self, universe: Universe) -> None:
        self.universe: Final = universe
        self._shapes: dict[tuple[Any, ...], _Shape] = {}
        self._matching: dict[_Shape, PacketSet] = {}

    def allowed(self, plan: Plan) -> PacketSet:
        """Return the packets that a view allows."""
        return self._allowed(self._ruled(plan), plan.default_action)

    def difference(self, before: Plan, after: Plan) -> Difference:
        """Return what changes from one view to another."""
        with collection_paused():
            return self._difference(before, after)

    def _difference(self, before: Plan, after: Plan) -> Difference:
        old, new = self._ruled(before), self._ruled(after)
        defaults = (before.default_action, after.default_action)
        if defaults[0] == defaults[1]:
            old, new = _worth_a_look(old, new)
        one = self._allowed(old, defaults[0])
        two = self._allowed(new, defaults[1])
        return Difference(two - one, one - two)

    def _allowed(self, rules: Sequence[_Ruled], default: str) -> PacketSet:
        allowed: PacketSet | None = None
        denied: PacketSet | None = None
        for tier in TIERS:
            found = self._tier([each for each in rules if each[0].tier == tier])
            allowed, denied = (
                _or(allowed, _minus(found.allowed, denied)),
                _or(denied, _minus(found.denied, allowed)),
            )
        if default == "allow":
            return ~denied if denied is not None else self.universe.everything
        return allowed if allowed is not None else self.universe.nothing

    def _tier(self, rules: Sequence[_Ruled]) -> _Decided:
        """Return what the rules of one tier decide, first match first."""
        parts = [
            _alone(action, self.universe.union(map(self._matched, run)))
            for action, run in groupby(rules, key=lambda each: each[0].action)
        ]
        # Neighbours first: so small sets meet small ones, and large ones rarely.
        while len(parts) > 1:
            pairs = [_first(one, two) for one, two in zip(parts[::2], parts[1::2], strict=False)]
            parts = pairs + parts[len(pairs) * 2 :]
        return parts[0] if parts else _Decided(None, None, None)

    def _ruled(self, plan: Plan) -> list[_Ruled]:
        return [(self._shape(rule), rule) for rule in plan.rules]

    def _shape(self, rule: PlannedRule) -> _Shape:
        said = (
            rule.tier,
            "deny" if rule.action == "reject" else rule.action,
            None if rule.source is None else rule.source.addresses,
            None if rule.destination is None else rule.destination.addresses,
            rule.services.matches,
            rule.within,
        )
        found = self._shapes.get(said)
        if found is None:
            found = self._shapes[said] = _Shape(*said)
        return found

    def _matched(self, rule: _Ruled) -> PacketSet:
        shape, planned = rule
        found = self._matching.get(shape)
        if found is None:
            found = self.universe.matching(
                _parts(planned.source), _parts(planned.destination), shape.matches, shape.within
            )
            self._matching[shape] = found
        return found


class _Near:
    """Tells which rules may share a packet with some others; some that don't are told, too."""

    def __init__(self, shapes: Iterable[_Shape]) -> None:
        self._shapes = list(shapes)
        ports: dict[int, Collector] = {}
        self._any_service = 0
        for place, each in enumerate(self._shapes):
            if each.matches is None:
                self._any_service |= 1 << place
            for match in each.matches or ():
                ports.setdefault(match.protocol, Collector()).put(match.ports, 1 << place)
        self._ports = {protocol: each.rows() for protocol, each in ports.items()}
        self._sharing: dict[tuple[PortMatch, ...] | None, list[_Shape]] = {}

    def meets(self, shape: _Shape) -> bool:
        """Return whether a rule may share a packet with one of them; true if too many must be
        looked at.
        """
        sharing = self._sharing.get(shape.matches)
        if sharing is None:
            sharing = self._sharing[shape.matches] = self._with_service(shape.matches)
        return len(sharing) > _MANY or any(
            _overlap(each.source, shape.source) and _overlap(each.destination, shape.destination)
            for each in sharing
        )

    def _with_service(self, matches: tuple[PortMatch, ...] | None) -> list[_Shape]:
        if matches is None:
            return self._shapes
        rows = self._any_service
        for match in matches:
            if match.protocol in self._ports:
                rows |= self._ports[match.protocol].meeting(match.ports or ALL_PORTS)
        found = []
        while rows:
            lowest = rows & -rows
            found.append(self._shapes[lowest.bit_length() - 1])
            rows ^= lowest
        return found


def _worth_a_look(
    old: Sequence[_Ruled], new: Sequence[_Ruled]
) -> tuple[list[_Ruled], list[_Ruled]]:
    """Return what is left of two lists of rules without those that have no say in the difference.

    Those are the rules that both have in common, in the same order, and that share no packet with
    any other rule: what the others match they don't, and all else is decided alike by what is
    left of the common ones.
    """
    pairs = _in_common([shape for shape, _ in old], [shape for shape, _ in new])
    in_old, in_new = {one for one, _ in pairs}, {two for _, two in pairs}
    near = _Near(
        [shape for place, (shape, _) in enumerate(old) if place not in in_old]
        + [shape for place, (shape, _) in enumerate(new) if place not in in_new]
    )
    far = [(one, two) for one, two in pairs if not near.meets(old[one][0])]
    far_old, far_new = {one for one, _ in far}, {two for _, two in far}
    return (
        [each for place, each in enumerate(old) if place not in far_old],
        [each for place, each in enumerate(new) if place not in far_new],
    )


def _parts(side: Addresses | None) -> Sequence[AddressSet] | None:
    return None if side is None else side.parts or (side.addresses,)


def _in_common(old: Sequence[_Shape], new: Sequence[_Shape]) -> list[tuple[int, int]]:
    """Return places of equal rules that stand in the same order in both.

    The n-th of several equal ones is paired with the n-th; of the pairs, the most that are in
    order, found by patience sorting.
    """
    places: dict[_Shape, list[int]] = {}
    for index in reversed(range(len(new))):
        places.setdefault(new[index], []).append(index)
    pairs = [
        (index, waiting.pop()) for index, shape in enumerate(old) if (waiting := places.get(shape))
    ]
    tops: list[int] = []  # the least last place in `new` of a chain of each length
    ends: list[int] = []  # the pair that has it
    before: list[int | None] = []
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(tops, place)
        before.append(ends[length - 1] if length else None)
        tops[length : length + 1] = [place]
        ends[length : length + 1] = [number]
    chain = []
    at = ends[-1] if ends else None
    while at is not None:
        chain.append(pairs[at])
        at = before[at]
    return chain[::-1]


def _alone(action: Action, packets: PacketSet) -> _Decided:
    return _Decided(
        packets if action == "allow" else None,
        packets if action == "deny" else None,
        packets if action == "pass" else None,
    )


def _first(one: _Decided, two: _Decided) -> _Decided:
    """Return what rules decide of which `one` come first."""
    return _Decided(
        _or(one.allowed, _minus(_minus(two.allowed, one.denied), one.passed)),
        _or(one.denied, _minus(_minus(two.denied, one.allowed), one.passed)),
        _or(one.passed, _minus(_minus(two.passed, one.allowed), one.denied)),
    )


def _or(one: PacketSet | None, two: PacketSet | None) -> PacketSet | None:
    if one is None or two is None:
        return one if two is None else two
    return one | two


def _minus(one: PacketSet | None, two: PacketSet | None) -> PacketSet | None:
    return one if one is None or two is None else one - two


def _overlap(one: AddressSet | None, two: AddressSet | None) -> bool:
    return one is None or two is None or one.overlaps(two)
