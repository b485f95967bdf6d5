"""One rule, judged by the earlier ones that it meets.

Everything is put in one form.  In each tier some rules *block* packets on their way to the judged
one, others *let them through*; the first that matches counts.  So a blocking rule's *share* is
what it matches of the judged rule, less what those let through that stand before it in its tier;
and what is blocked is the union of all shares.

    shadowed        every earlier rule of the own tier blocks; in the tiers before, those that
                    decide block, and `pass` lets through
    contradiction   in the mandatory tier, rules that decide the other way block; the others let
                    through
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Literal

from shared.algebra import products
from shared.algebra.products import Point, Product, uncovered_point
from shared.policy.nodeconfig import Packet
from shared.policy.shadows.findings import Contradiction, Decided, Shadowed
from shared.policy.shadows.rules import ResolvedRule, RuleName, packet_at

_FEW: Final = 2
"""Among so many rules it isn't asked first which of them meet."""


class Held:
    """A rule with its place in the order of evaluation and what it matches.

    `rows` are where its products stand among those of all rules.  `free` is a packet's point that
    is known to reach it, if one was looked for.
    """

    __slots__ = ("contradiction", "free", "place", "products", "rows", "rule", "shadowed")

    def __init__(self, rule: ResolvedRule, place: int, found: tuple[Product, ...]) -> None:
        self.rule = rule
        self.place = place
        self.products = found
        self.rows: list[int] = []
        self.free: Point | None = None
        self.shadowed: Shadowed | None = None
        self.contradiction: Contradiction | None = None

    @property
    def name(self) -> RuleName:
        return self.rule.name


Rivals = Sequence[Sequence[tuple[Held, Product]]]
"""For each product of a rule, those of earlier rules that meet it, in order of evaluation."""

Meets = Callable[[Held], Collection[Held]]
"""Returns the rules that meet a rule, whatever their order."""

Shares = Mapping[Held, Sequence[Product]]

_Role = Literal["blocks", "passes", "absent"]


def shadow_of(held: Held, rivals: Rivals, meets: Meets) -> Shadowed | None:
    """Judge whether any packet reaches a rule; note in `held.free` one that does."""

    def role(other: Held) -> _Role:
        same_tier = other.name.tier == held.name.tier
        return "blocks" if same_tier or other.name.action != "pass" else "passes"

    held.free = _free_point(held, rivals, role)
    if held.free is not None or not held.products:
        return None
    shares = _shares(held, rivals, meets, role)
    # Where nothing is let through, all that blocks was held against it already.
    if any(role(other) == "passes" for row in rivals for other, _ in row):
        held.free = _point_beyond(held.products, _all_of(shares.values()))
        if held.free is not None:
            return None
    decided, example = _decided(held, shares)
    return Shadowed(held.name, _sufficient(shares, meets), decided, example)


def contradiction_of(held: Held, rivals: Rivals, meets: Meets) -> Contradiction | None:
    """Judge whether mandatory rules decide packets of a rule of the site's own the other way."""
    if not may_contradict(held.name):
        return None

    def role(other: Held) -> _Role:
        if other.name.tier != "mandatory":
            return "absent"
        return "blocks" if _is_opposite(other.name, held.name) else "passes"

    shares = _shares(held, rivals, meets, role)
    if not shares:
        return None
    by = _sufficient(shares, meets)
    first = next(other for other in shares if other.name == by[0])
    rest = _point_beyond(held.products, _all_of(shares.values()))
    return Contradiction(
        held.name,
        by,
        "whole" if rest is None else "part",
        packet_at(products.least_point(shares[first][0])),
    )


def may_contradict(name: RuleName) -> bool:
    """Return whether a rule is one that can contradict mandatory ones."""
    return name.is_own and name.tier != "mandatory" and name.action != "pass"


def _is_opposite(one: RuleName, other: RuleName) -> bool:
    return "pass" not in (one.action, other.action) and _is_other(one, other)


def _is_other(one: RuleName, other: RuleName) -> bool:
    """Return whether two rules do different things; a reject is a deny."""
    return _effect(one) != _effect(other)


def _effect(name: RuleName) -> str:
    return "deny" if name.action == "reject" else name.action


def _free_point(held: Held, rivals: Rivals, role: Callable[[Held], _Role]) -> Point | None:
    """Return a point that nothing blocks, whatever is let through; None if there is none."""
    for product, row in zip(held.products, rivals, strict=True):
        blocking = [other for rival, other in row if role(rival) == "blocks"]
        if (point := uncovered_point(product, blocking)) is not None:
            return point
    return None


def _point_beyond(these: Sequence[Product], others: Sequence[Product]) -> Point | None:
    """Return a point of `these` that lies in none of the others; None if there is none."""
    for product in these:
        if (point := uncovered_point(product, others)) is not None:
            return point
    return None


def _shares(
    held: Held, rivals: Rivals, meets: Meets, role: Callable[[Held], _Role]
) -> dict[Held, list[Product]]:
    """Return the share of each rule that blocks any packet, in order of evaluation."""
    found: dict[Held, list[Product]] = {}
    for product, row in zip(held.products, rivals, strict=True):
        tier = None
        ahead: dict[Held, list[Product]] = {}
        for rival, other in row:
            if rival.name.tier != tier:
                tier = rival.name.tier
                ahead = {}
            does = role(rival)
            inner = products.intersection(product, other) if does != "absent" else None
            if inner is None:
                continue
            if does == "passes":
                ahead.setdefault(rival, []).append(inner)
                continue
            near = _near(rival, ahead, meets)
            if share := _without(inner, _all_of(ahead[each] for each in near)):
                found.setdefault(rival, []).extend(share)
    return dict(sorted(found.items(), key=lambda each: each[0].place))


def _near(held: Held, among: Mapping[Held, object], meets: Meets) -> Collection[Held]:
    """Return those of many rules that a rule can share a packet with, in order; of few all."""
    if len(among) <= _FEW:
        return among
    return sorted([each for each in meets(held) if each in among], key=lambda each: each.place)


def _without(product: Product, others: Iterable[Product]) -> list[Product]:
    left = [product]
    for other in others:
        left = [rest for each in left for rest in products.difference(each, other)]
    return left


def _sufficient(shares: Shares, meets: Meets) -> tuple[RuleName, ...]:
    """Return rules whose shares make up all shares, and of which none could be left out.

    Small shares are dropped first, and of equal ones the later, so that one rule that covers all
    is named alone.
    """
    near = {
        each: [other for other in _near(each, shares, meets) if other is not each]
        for each in shares
    }
    contested = [each for each in shares if near[each]]
    sizes = {each: sum(map(products.size, shares[each])) for each in contested}
    contested.sort(key=lambda each: (sizes[each], -each.place))
    kept = dict.fromkeys(shares)
    for each in contested:
        others = _all_of(shares[other] for other in near[each] if other in kept)
        if _point_beyond(shares[each], others) is None:
            del kept[each]
    return tuple([each.name for each in kept])


def _decided(held: Held, shares: Shares) -> tuple[Decided, Packet | None]:
    """Return how the packets of a shadowed rule are decided, and one that is decided otherwise."""
    alike = [each for each in shares if not _is_other(each.name, held.name)]
    others = [each for each in shares if _is_other(each.name, held.name)]
    otherwise = _decided_by(others, alike, shares)
    if otherwise is None:
        return "alike", None
    both = _decided_by(alike, others, shares) is not None
    return "both" if both else "otherwise", packet_at(otherwise)


def _decided_by(these: Sequence[Held], those: Sequence[Held], shares: Shares) -> Point | None:
    """Return a point that one of `these` decides before any of `those`; None if there is none."""
    for each in these:
        before = [shares[other] for other in those if other.place < each.place]
        if (point := _point_beyond(shares[each], _all_of(before))) is not None:
            return point
    return None


def _all_of(shares: Iterable[Sequence[Product]]) -> list[Product]:
    return [part for share in shares for part in share]
