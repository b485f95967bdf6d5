"""Sets of packets as rules write them: sources × destinations × services.

What rules can say is a product; this finds few of them that make up a set, or as much as must be
made up of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.algebra import intervals
from shared.algebra.cidrs import AddressSet
from shared.algebra.intervals import Intervals
from shared.algebra.packet_boxes import PacketBox
from shared.algebra.packets import PacketSet, Universe
from shared.algebra.ports import ALL_PORTS, PORT_PROTOCOLS, PortMatch, ports_text
from shared.model.traffic import protocol_text

_MOST: Final = 128
"""Products that are tried two by two; more take seconds."""

_BITS: Final[Mapping[Any, int]] = {4: 32, 6: 128}

Ends = AddressSet | None
"""One side of a product; None is any address."""

Matches = tuple[PortMatch, ...] | None
"""The services of a product; None is any."""


@dataclass(frozen=True, slots=True)
class Product:
    """Packets of every source to every destination (of its family) by every service."""

    source: Ends
    destination: Ends
    matches: Matches


def packets_of(product: Product, universe: Universe, within: AddressSet | None) -> PacketSet:
    """Return what a rule that says the product matches, in a policy that is bound to `within`."""
    source, destination = product.source, product.destination
    return universe.matching(
        None if source is None else [source],
        None if destination is None else [destination],
        product.matches,
        within,
    )


def product_of(box: PacketBox) -> Product:
    matches: Matches = None
    if box.protocol is not None:
        matches = (PortMatch(box.protocol, _ports(box.ports), _ports(box.source_ports)),)
    return Product(_prefix(box.family, box.source), _prefix(box.family, box.destination), matches)


def both(one: Product, other: Product) -> Product:
    """Return the least product that holds two."""
    return Product(
        _joined(one.source, other.source),
        _joined(one.destination, other.destination),
        union_of(one.matches, other.matches),
    )


def joined(
    products: Iterable[Product], may: PacketSet, universe: Universe, within: AddressSet | None
) -> list[Product] | None:
    """Return fewer products that make up what these do, and nothing beyond `may`.

    Those that are alike in two of the three are joined first, which adds nothing.  Then, greedily,
    two become one wherever the least product that holds both stays within `may`.  None if there
    are too many of them for that.
    """
    left = _alike(products)
    if len(left) > _MOST:
        return None
    count = -1
    while count != len(left):
        count = len(left)
        place = 0
        while place < len(left):
            other = place + 1
            while other < len(left):
                larger = both(left[place], left[other])
                if packets_of(larger, universe, within) <= may:
                    left[place] = larger
                    del left[other]
                else:
                    other += 1
            place += 1
    return left


def _alike(products: Iterable[Product]) -> list[Product]:
    left = list(dict.fromkeys(products))
    kinds: Sequence[Callable[[Product], Any]] = (
        lambda each: (each.source, each.matches),
        lambda each: (each.destination, each.matches),
        lambda each: (each.source, each.destination),
    )
    count = -1
    while count != len(left):
        count = len(left)
        for kind in kinds:
            groups: dict[Any, list[Product]] = {}
            for each in left:
                groups.setdefault(kind(each), []).append(each)
            left = [_all_in_one(each) for each in groups.values()]
    return left


def _all_in_one(products: Sequence[Product]) -> Product:
    """Return the least product that holds some."""
    while len(products) > 1:
        pairs = [both(one, two) for one, two in zip(products[::2], products[1::2], strict=False)]
        products = [*pairs, *products[len(pairs) * 2 :]]
    return products[0]


def union_of(one: Matches, other: Matches) -> Matches:
    """Return services that are one or the other, each protocol and source ports once."""
    if one is None or other is None:
        return None
    by_port: dict[tuple[int, Intervals], Intervals] = {}
    for each in (*one, *other):
        place = (each.protocol, _source_ports(each))
        by_port[place] = intervals.union(by_port.get(place, ()), _own_ports(each))
    by_source: dict[tuple[int, Intervals], Intervals] = {}
    for (protocol, source_ports), ports in by_port.items():
        again = (protocol, ports)
        by_source[again] = intervals.union(by_source.get(again, ()), source_ports)
    return tuple(
        PortMatch(protocol, _unless_all(ports), _unless_all(source_ports))
        for (protocol, ports), source_ports in sorted(by_source.items())
    )


def services_json(matches: Matches) -> Any:
    """Return services as a rule writes them."""
    if matches is None:
        return "any"
    found = []
    for each in matches:
        said: dict[str, Any] = {"protocol": protocol_text(each.protocol)}
        if each.ports is not None:
            said["ports"] = ports_text(each.ports)
        if each.source_ports is not None:
            said["sourcePorts"] = ports_text(each.source_ports)
        found.append(said)
    return found


def cidrs_json(ends: Ends) -> Any:
    """Return one side as a local rule writes it."""
    return "any" if ends is None else [{"cidr": each} for each in ends.cidrs()]


def without_superfluous(
    products: Sequence[Product], must: PacketSet, universe: Universe, within: AddressSet | None
) -> Iterator[Product]:
    """Yield the products without those that the others make superfluous, the last first."""
    made = [packets_of(each, universe, within) & must for each in products]
    kept = list(range(len(products)))
    for place in reversed(range(len(products))):
        others = universe.union(made[each] for each in kept if each != place)
        if made[place] <= others:
            kept.remove(place)
    for place in kept:
        yield products[place]


def _prefix(family: Any, prefix: tuple[int, int] | None) -> Ends:
    if family is None or prefix is None:
        return None
    value, length = prefix
    runs = (value, value + (1 << _BITS[family] - length))
    return AddressSet(v4=runs) if family == 4 else AddressSet(v6=runs)


def _joined(one: Ends, other: Ends) -> Ends:
    return None if one is None or other is None else one.union(other)


def _ports(ports: tuple[int, int] | None) -> Intervals | None:
    return None if ports is None else (ports[0], ports[1] + 1)


def _own_ports(each: PortMatch) -> Intervals:
    return ALL_PORTS if each.ports is None or each.protocol not in PORT_PROTOCOLS else each.ports


def _source_ports(each: PortMatch) -> Intervals:
    if each.source_ports is None or each.protocol not in PORT_PROTOCOLS:
        return ALL_PORTS
    return each.source_ports


def _unless_all(ports: Intervals) -> Intervals | None:
    return None if ports == ALL_PORTS else ports
