"""Parts of rules by the names that they were written with: whole peers and whole services.

What names can say is said by names, so that a narrowed rule still means what its author meant
when a network moves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any, Final

from shared.algebra.cidrs import AddressSet
from shared.algebra.packets import PacketSet, Universe
from shared.model.policy import Rule
from shared.policy.narrowing.products import (
    Ends,
    Matches,
    Product,
    cidrs_json,
    packets_of,
    services_json,
)
from shared.policy.resolve import View

_MOST: Final = 1000
"""Combinations of a rule's peers and services that are looked at one by one; a guess."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One entry of a list, and what it stands for; a list that is `any` has one."""

    said: Any
    means: Any


@dataclass(frozen=True, slots=True)
class Part:
    """A rule's `from`, `to` and `services` as they are written, and what they match here."""

    source: Any = field(hash=False)
    destination: Any = field(hash=False)
    services: Any = field(hash=False)
    packets: PacketSet
    items: tuple[tuple[_Item, ...], ...] = field(default=(), hash=False, compare=False)
    """What the three lists are made of, of a part that is said by names."""

    @property
    def words(self) -> int:
        """The length of its longest list."""
        lists = (self.source, self.destination, self.services)
        return max(1 if each == "any" else len(each) for each in lists)

    def to_json(self) -> dict[str, Any]:
        said = {"from": self.source, "to": self.destination}
        return said if self.services == "any" else {**said, "services": self.services}


class Names:
    """The words of one policy's rules, as a view of it resolves them."""

    def __init__(self, view: View, tenant: str, universe: Universe) -> None:
        self._view: Final = view
        self._tenant: Final = tenant
        self._universe: Final = universe
        self.within: Final = view.within(tenant)

    def parts(self, rule: Rule, may: PacketSet) -> list[Part]:
        """Return parts of a rule, as large as they can be, that match nothing beyond `may`.

        The whole rule alone, if that is one.
        """
        lists = [
            self._ends("from", rule.from_),
            self._ends("to", rule.to),
            self._services(rule.services),
        ]
        if not all(lists):
            return []
        everything = self._part(*lists)
        if everything.packets <= may:
            return [everything] if everything.packets else []
        if len(lists[0]) * len(lists[1]) * len(lists[2]) > _MOST:
            return []
        good = {
            places
            for places in product(*(range(len(each)) for each in lists))
            if (single := self._chosen(lists, [[place] for place in places]).packets)
            and single <= may
        }
        return [self._chosen(lists, each) for each in _largest(good)]

    def smaller(self, part: Part) -> Iterator[Part]:
        """Yield a part without each one of its peers and services."""
        for place, items in enumerate(part.items):
            for gone in items if len(items) > 1 else ():
                left = [each for each in items if each is not gone]
                lists = [*part.items[:place], left, *part.items[place + 1 :]]
                yield self._part(*lists)

    def say(self, found: Product, rules: Sequence[Rule]) -> Part:
        """Return a product in words: by the names of these rules where they say just that, else
        by addresses and ports.
        """
        sources: list[_Item] = []
        destinations: list[_Item] = []
        services: list[_Item] = []
        for rule in rules:
            sources += self._ends("from", rule.from_)
            destinations += self._ends("to", rule.to)
            services += self._services(rule.services)
        return Part(
            _ends_in_words(found.source, [*sources, *destinations]),
            _ends_in_words(found.destination, [*destinations, *sources]),
            _services_in_words(found.matches, services),
            packets_of(found, self._universe, self.within),
        )

    def _ends(self, side: Any, peers: Any) -> list[_Item]:
        if peers == "any":
            return [_Item("any", None)]
        found = ((each, self._view.side(self._tenant, side, (each,)).addresses) for each in peers)
        return [_Item(peer.to_json(), addresses) for peer, addresses in found if addresses]

    def _services(self, services: Any) -> list[_Item]:
        if services == "any":
            return [_Item("any", None)]
        found = ((each, self._view.services(self._tenant, (each,)).matches) for each in services)
        return [_Item(each.to_json(), matches) for each, matches in found if matches != ()]

    def _chosen(self, lists: Sequence[Sequence[_Item]], places: Sequence[Sequence[int]]) -> Part:
        return self._part(
            *([each[place] for place in chosen] for each, chosen in zip(lists, places, strict=True))
        )

    def _part(
        self, sources: Sequence[_Item], destinations: Sequence[_Item], services: Sequence[_Item]
    ) -> Part:
        means = Product(_union(sources), _union(destinations), _either(services))
        return Part(
            _said(sources),
            _said(destinations),
            _said(services),
            packets_of(means, self._universe, self.within),
            (tuple(sources), tuple(destinations), tuple(services)),
        )


_Places = tuple[int, ...]


def _largest(good: set[_Places]) -> Iterator[Sequence[Sequence[int]]]:
    """Yield products of places all of which are good, each good one in one of them at least.

    From each place that isn't in one yet it goes along one list, then along the others as far as
    all stay good; of the orders in which it can go, the one that takes in most counts.
    """
    left = dict.fromkeys(sorted(good))
    while left:
        start = next(iter(left))
        grown = [_grown(start, order, good) for order in permutations(range(3))]
        best = max(grown, key=lambda each: len(each[0]) * len(each[1]) * len(each[2]))
        for each in product(*best):
            left.pop(each, None)
        yield best


def _grown(start: _Places, order: Sequence[int], good: set[_Places]) -> list[list[int]]:
    lists = [[place] for place in start]
    for dimension in order:
        options = sorted({each[dimension] for each in good})
        lists[dimension] = [
            option
            for option in options
            if all(
                each in good
                for each in product(
                    *([option] if at == dimension else lists[at] for at in range(3))
                )
            )
        ]
    return lists


def _ends_in_words(ends: Ends, items: Sequence[_Item]) -> Any:
    if ends is None:
        return "any"
    inside: Mapping[str, _Item] = {
        str(each.said): each
        for each in items
        if each.means is not None and not each.means.difference(ends)
    }
    words = [*inside.values()]
    # A name that others make superfluous isn't said.
    for each in [*words]:
        rest = [other for other in words if other is not each]
        if rest and not each.means.difference(_union(rest) or AddressSet()):
            words = rest
    return _said(words) if words and _union(words) == ends else cidrs_json(ends)


def _services_in_words(matches: Matches, items: Sequence[_Item]) -> Any:
    if matches is None:
        return "any"
    same = next((each for each in items if each.means == matches), None)
    return services_json(matches) if same is None else [same.said]


def _said(items: Sequence[_Item]) -> Any:
    return "any" if any(each.said == "any" for each in items) else [each.said for each in items]


def _union(items: Sequence[_Item]) -> Ends:
    if any(each.means is None for each in items):
        return None
    return AddressSet().union(*(each.means for each in items))


def _either(items: Sequence[_Item]) -> Matches:
    if any(each.means is None for each in items):
        return None
    return tuple(match for each in items for match in each.means)
