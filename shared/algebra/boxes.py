"""Sets of packets as products of sets, and exact differences of them.

A box is sources × destinations × protocols × source ports × ports, each a set of integers, of
one address family.  A protocol without ports has port 0 and source port 0 only, so a box holds
either protocols with ports or ones without: then all counts and differences are exact.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, NamedTuple

from shared.algebra import intervals
from shared.algebra.cidrs import BITS, AddressSet, Family
from shared.algebra.intervals import Intervals
from shared.algebra.ports import ALL_PORTS, PORT_PROTOCOLS, PortMatch

NO_PORT: Final[Intervals] = (0, 1)
WITH_PORTS: Final[Intervals] = intervals.from_ranges((each, each) for each in PORT_PROTOCOLS)
WITHOUT_PORTS: Final[Intervals] = intervals.difference((0, 256), WITH_PORTS)
FAMILIES: Final[tuple[Family, ...]] = (4, 6)


class Packet(NamedTuple):
    """A connection's first packet.  Ports are 0 where the protocol has none."""

    family: Family
    source: int
    destination: int
    protocol: int
    source_port: int = 0
    port: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """Protocols with their ports: what a box says beside addresses."""

    protocols: Intervals
    source_ports: Intervals = NO_PORT
    ports: Intervals = NO_PORT


@dataclass(frozen=True, slots=True)
class Box:
    """The packets with every field in its set.  None of the sets is empty."""

    family: Family
    sources: Intervals
    destinations: Intervals
    protocols: Intervals
    source_ports: Intervals
    ports: Intervals

    @property
    def fields(self) -> tuple[Intervals, ...]:
        return (
            self.sources,
            self.destinations,
            self.protocols,
            self.source_ports,
            self.ports,
        )

    def size(self) -> int:
        """Return the number of packets."""
        return prod(map(intervals.size, self.fields))

    def example(self) -> tuple[int, int, int, int, int]:
        """Return the least source, destination, protocol, source port and port."""
        source, destination, protocol, source_port, port = (each[0] for each in self.fields)
        return source, destination, protocol, source_port, port

    def overlaps(self, other: "Box") -> bool:
        return self.family == other.family and all(
            intervals.overlaps(mine, theirs)
            for mine, theirs in zip(self.fields, other.fields, strict=True)
        )

    def intersection(self, other: "Box") -> "Box | None":
        if not self.overlaps(other):
            return None
        return Box(
            self.family,
            *(
                intervals.intersection(mine, theirs)
                for mine, theirs in zip(self.fields, other.fields, strict=True)
            ),
        )

    def difference(self, other: "Box") -> Iterator["Box"]:
        """Yield disjoint boxes that make up what is here and not in `other`."""
        if not self.overlaps(other):
            yield self
            return
        fields = list(self.fields)
        for place, (mine, theirs) in enumerate(zip(self.fields, other.fields, strict=True)):
            if outside := intervals.difference(mine, theirs):
                parts = [*fields[:place], outside, *fields[place + 1 :]]
                yield Box(self.family, *parts)
                fields[place] = intervals.intersection(mine, theirs)


def traffic(matches: Sequence[PortMatch] | None) -> Iterator[Traffic]:
    """Yield what services match; None is any.  The parts may overlap."""
    if matches is None:
        yield Traffic(WITHOUT_PORTS)
        yield Traffic(WITH_PORTS, ALL_PORTS, ALL_PORTS)
        return
    for each in matches:
        protocol = (each.protocol, each.protocol + 1)
        if each.protocol in PORT_PROTOCOLS:
            source_ports = ALL_PORTS if each.source_ports is None else each.source_ports
            yield Traffic(protocol, source_ports, ALL_PORTS if each.ports is None else each.ports)
        else:
            yield Traffic(protocol)


def boxes(
    sources: AddressSet | None,
    destinations: AddressSet | None,
    matches: Sequence[PortMatch] | None,
    within: AddressSet | None = None,
) -> Iterator[Box]:
    """Yield what a rule matches: None is any; with `within`, one end at least lies there.

    Of one service's boxes none overlap; those of two may.
    """
    parts = list(traffic(matches))
    for family in FAMILIES:
        for source, destination in _ends(family, sources, destinations, within):
            if source and destination:
                for part in parts:
                    yield Box(
                        family,
                        source,
                        destination,
                        part.protocols,
                        part.source_ports,
                        part.ports,
                    )


def _ends(
    family: Family,
    sources: AddressSet | None,
    destinations: AddressSet | None,
    within: AddressSet | None,
) -> Iterator[tuple[Intervals, Intervals]]:
    everywhere = (0, 1 << BITS[family])
    source = everywhere if sources is None else sources.of(family)
    destination = everywhere if destinations is None else destinations.of(family)
    if within is None:
        yield source, destination
        return
    bound = within.of(family)
    yield intervals.intersection(source, bound), destination
    yield intervals.difference(source, bound), intervals.intersection(destination, bound)


def subtract(these: Iterable[Box], other: Box) -> list[Box]:
    """Return disjoint boxes that make up what is in `these` (disjoint) and not in `other`."""
    return [rest for box in these for rest in box.difference(other)]
