"""A set of packets as few disjoint boxes that a person can read.

Boxes come as large as they can be, level by level: what holds for every address of both
families, then for every service, then for every port of a protocol, then for runs of ports; and
for each of these the source prefixes, each with the destinations that are new in it.  Ports and
prefixes are maximal in the same sense: of the packets that differ only in their port, all that
follow one another lie in one box.

Everything is lazy, so who stops at a limit has paid for the limit only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from operator import and_
from typing import Final, TypeAlias

from shared.algebra import intervals
from shared.algebra.boxes import FAMILIES
from shared.algebra.cidrs import BITS, Family, prefix_text
from shared.algebra.diagrams import (
    DESTINATION,
    PORT,
    PROTOCOL,
    SOURCE,
    SOURCE_PORT,
    Diagram,
    Store,
    halves,
)
from shared.algebra.intervals import Intervals
from shared.algebra.ports import PORT_PROTOCOLS

Prefix: TypeAlias = tuple[int, int]
"""An address and a number of bits."""

Range: TypeAlias = tuple[int, int]
"""The first and the last number."""

_PROTOCOL_BITS: Final = 8
_PORT_BITS: Final = 16
_LAST_PORT: Final = 65535
_ALL: Final[Range] = (0, _LAST_PORT)


@dataclass(frozen=True, slots=True)
class PacketBox:
    """Packets with each field in one CIDR, range or value.

    `family` None is both families, with any addresses (`source` and `destination` None too);
    `protocol` None is all 256, `ports` and `source_ports` None are any.
    """

    family: Family | None
    source: Prefix | None
    destination: Prefix | None
    protocol: int | None
    ports: Range | None
    source_ports: Range | None

    def size(self) -> int:
        """Return the number of packets."""
        families = FAMILIES if self.family is None else (self.family,)
        return self._services() * sum(self._ends(family) for family in families)

    @property
    def source_text(self) -> str:
        return self._address_text(self.source)

    @property
    def destination_text(self) -> str:
        return self._address_text(self.destination)

    def _address_text(self, prefix: Prefix | None) -> str:
        if prefix is None or self.family is None:
            return "any"
        return prefix_text(self.family, *prefix)

    def _ends(self, family: Family) -> int:
        sizes = [
            1 << BITS[family] - (prefix[1] if prefix is not None else 0)
            for prefix in (self.source, self.destination)
        ]
        return sizes[0] * sizes[1]

    def _services(self) -> int:
        all_ports = (_LAST_PORT + 1) ** 2
        if self.protocol is None:
            return 256 - len(PORT_PROTOCOLS) + len(PORT_PROTOCOLS) * all_ports
        if self.protocol not in PORT_PROTOCOLS:
            return 1
        return _length(self.ports) * _length(self.source_ports)


@dataclass(frozen=True, slots=True)
class _Service:
    """A part of a box, and the ends (or whatever is left of the diagram) that go with it."""

    rest: Diagram
    protocol: int | None = None
    ports: Range | None = None
    source_ports: Range | None = None


def packet_boxes(
    store: Store, v4: Diagram, v6: Diagram, limit: int
) -> tuple[list[PacketBox], bool]:
    """Return at most `limit` boxes in a reader's order, and whether that is not all."""
    found = list(islice(_Boxes(store).boxes(v4, v6), limit + 1))
    return sorted(found[:limit], key=_order), len(found) > limit


def runs_of(diagram: Diagram, first: int, width: int) -> Intervals:
    """Return the numbers of `width` bits at variable `first`, the only ones that matter."""
    ranges = (
        (value, value + (1 << width - length) - 1)
        for value, length in _prefixes(diagram, first, width)
    )
    return intervals.from_ranges(ranges)


class _Boxes:
    def __init__(self, store: Store) -> None:
        self._nothing: Final = store.nothing
        self._all_ports: Final = store.variables(PORT, SOURCE - PORT)
        self._sources: Final = {
            family: store.variables(SOURCE, bits) for family, bits in BITS.items()
        }
        self._addresses: Final = {
            family: store.variables(SOURCE, 2 * bits) for family, bits in BITS.items()
        }
        self._known: dict[tuple[Family, Diagram], tuple[Prefix, ...]] = {}

    def boxes(self, v4: Diagram, v6: Diagram) -> Iterator[PacketBox]:
        both = v4.forall(self._addresses[4]) & v6.forall(self._addresses[6])
        for each in self._services(both):
            yield PacketBox(None, None, None, each.protocol, each.ports, each.source_ports)
        family: Family
        for family, diagram in ((4, v4 & ~both), (6, v6 & ~both)):
            for each in self._services(diagram):
                for source, destination in self._ends(family, each.rest):
                    yield PacketBox(
                        family, source, destination, each.protocol, each.ports, each.source_ports
                    )

    def _services(self, diagram: Diagram) -> Iterator[_Service]:
        """Yield disjoint services with the ends that they go with."""
        rests: dict[int, Diagram] = {}
        with_any_port: dict[int, Diagram] = {}
        for (first, last), rest in _classes(diagram, PROTOCOL, _PROTOCOL_BITS):
            # Of tcp this may be port 0 from port 0 alone, which looks like having no ports.
            without_ports = _no_port(rest)
            for number in range(first, last + 1):
                rests[number] = rest
                with_any_port[number] = without_ports
                if number in PORT_PROTOCOLS:
                    with_any_port[number] = rest.forall(self._all_ports)
        common = self._nothing
        if len(rests) == 1 << _PROTOCOL_BITS:
            common = reduce(and_, set(with_any_port.values()))
        if common.satisfiable():
            yield _Service(common)
        for number in _PROTOCOLS_IN_ORDER:
            if number not in rests:
                continue
            any_port = with_any_port[number]
            if (new := any_port & ~common).satisfiable():
                yield _Service(new, number)
            if number in PORT_PROTOCOLS:
                yield from _with_ports(number, rests[number] & ~any_port)

    def _ends(self, family: Family, diagram: Diagram) -> Iterator[tuple[Prefix, Prefix]]:
        """Yield disjoint pairs of prefixes that make up a diagram of addresses."""
        if not diagram.satisfiable():
            return
        todo: list[tuple[Diagram, int, int]] = [(diagram, 0, 0)]
        destination = DESTINATION[family]
        width = BITS[family]
        while todo:
            rest, value, length = todo.pop()
            zero, one = rest, rest
            if SOURCE + length < destination:
                zero, one = halves(rest, SOURCE + length)
            if zero.satisfiable() and one.satisfiable():
                everywhere = rest.forall(self._sources[family])
                if everywhere.satisfiable():
                    source = (value << width - length, length)
                    for each in self._destinations(family, everywhere):
                        yield source, each
                    zero, one = zero & ~everywhere, one & ~everywhere
            if one.satisfiable():
                todo.append((one, value << 1 | 1, length + 1))
            if zero.satisfiable():
                todo.append((zero, value << 1, length + 1))

    def _destinations(self, family: Family, diagram: Diagram) -> tuple[Prefix, ...]:
        place = (family, diagram)
        if place not in self._known:
            self._known[place] = tuple(_prefixes(diagram, DESTINATION[family], BITS[family]))
        return self._known[place]


def _no_port(diagram: Diagram) -> Diagram:
    """Return the ends that go with port 0 from port 0."""
    for place in range(PORT, SOURCE):
        diagram, _ = halves(diagram, place)
    return diagram


def _with_ports(protocol: int, diagram: Diagram) -> Iterator[_Service]:
    for ports in _runs(diagram, PORT):
        for source_ports in _runs(ports.rest, SOURCE_PORT):
            yield _Service(
                source_ports.rest,
                protocol,
                _unless_all(ports.range),
                _unless_all(source_ports.range),
            )


@dataclass(frozen=True, slots=True)
class _Run:
    range: Range
    rest: Diagram


def _runs(diagram: Diagram, first: int) -> Iterator[_Run]:
    """Yield ranges of the port at variable `first`, each with what holds all along it and no
    further.
    """
    waiting = _classes(diagram, first, _PORT_BITS)
    ahead: list[tuple[Range, Diagram]] = []
    while True:
        if not ahead:
            following = next(waiting, None)
            if following is None:
                return
            ahead.append(following)
        (start, _), rest = ahead[0]
        if not rest.satisfiable():
            ahead.pop(0)
            continue
        # The longest run that starts here, then shorter ones, until nothing is left here.
        common, count = rest, 1
        while True:
            if count == len(ahead):
                following = next(waiting, None)
                if following is None:
                    break
                ahead.append(following)
            longer = common & ahead[count][1]
            if ahead[count][0][0] != ahead[count - 1][0][1] + 1 or not longer.satisfiable():
                break
            common, count = longer, count + 1
        yield _Run((start, ahead[count - 1][0][1]), common)
        for place in range(count):
            ahead[place] = (ahead[place][0], ahead[place][1] & ~common)


def _classes(diagram: Diagram, first: int, width: int) -> Iterator[tuple[Range, Diagram]]:
    """Yield, in order, ranges of the number of `width` bits at variable `first`, each with what is
    left of a diagram there, if anything is.
    """
    todo = [(diagram, 0, 0)]
    waiting: tuple[Range, Diagram] | None = None
    while todo:
        rest, value, length = todo.pop()
        level = rest.node_level()
        if not rest.satisfiable():
            continue
        if level is not None and level < first + width:
            zero, one = halves(rest, first + length)
            todo.append((one, value << 1 | 1, length + 1))
            todo.append((zero, value << 1, length + 1))
            continue
        start = value << width - length
        end = start + (1 << width - length) - 1
        if waiting is not None and waiting[1] == rest and waiting[0][1] + 1 == start:
            waiting = ((waiting[0][0], end), rest)
            continue
        if waiting is not None:
            yield waiting
        waiting = ((start, end), rest)
    if waiting is not None:
        yield waiting


def _prefixes(diagram: Diagram, first: int, width: int) -> Iterator[Prefix]:
    """Yield, in order, the fewest prefixes of the number of `width` bits at variable `first`.

    No other variable may matter.
    """
    todo = [(diagram, 0, 0)]
    while todo:
        rest, value, length = todo.pop()
        if not rest.satisfiable():
            continue
        if rest.valid():
            yield value << width - length, length
            continue
        zero, one = halves(rest, first + length)
        todo.append((one, value << 1 | 1, length + 1))
        todo.append((zero, value << 1, length + 1))


def _unless_all(ports: Range) -> Range | None:
    return None if ports == _ALL else ports


def _length(ports: Range | None) -> int:
    return _LAST_PORT + 1 if ports is None else ports[1] - ports[0] + 1


# tcp and udp are what readers look for; then the protocols by number.
_PROTOCOLS_IN_ORDER: Final = (
    *sorted(PORT_PROTOCOLS),
    *(number for number in range(256) if number not in PORT_PROTOCOLS),
)


def _order(box: PacketBox) -> tuple[int, Prefix, Prefix, int, Range, Range]:
    nowhere = (-1, -1)
    return (
        box.family or 0,
        box.source or nowhere,
        box.destination or nowhere,
        -1 if box.protocol is None else box.protocol,
        box.ports or nowhere,
        box.source_ports or nowhere,
    )
