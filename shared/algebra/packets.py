"""Exact sets of packets, of both families at once: union, difference, count, example, boxes.

A packet is a protocol, two addresses of one family, a source port and a port; of a protocol
without ports (all of the 256 but tcp, udp and sctp) both ports are one value.  Nothing is
sampled or rounded, and equal sets compare equal.

    universe = Universe()
    before = universe.matching([web], [database], [PortMatch(6, (5432, 5433))])
    added = after - before
    added.count(), added.example(), added.boxes(1000)

Sets belong to the universe that made them, and only sets of one can be combined.  A universe
holds all that was ever asked of it until memory runs short; make one for a question, and drop it
with its sets.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from shared.algebra.boxes import FAMILIES, Box, Packet
from shared.algebra.cidrs import BITS, AddressSet, Family
from shared.algebra.diagrams import (
    DESTINATION,
    PORT,
    PROTOCOL,
    SOURCE,
    SOURCE_PORT,
    VARIABLES,
    Diagram,
    Store,
    bounded,
    least,
    number,
)
from shared.algebra.intervals import Intervals
from shared.algebra.packet_boxes import PacketBox, packet_boxes, runs_of
from shared.algebra.ports import PortMatch

NODES: Final = 1 << 24
"""What a universe may hold unless told otherwise.  The difference of two policies of 5,000 rules
makes 3 million nodes; full, the store takes about 600 MiB."""

RESULTS: Final = 1 << 17
"""Results that are remembered.  More make no difference of 10,000 rules faster, and their memory
alone slows small ones: it is all written to."""

_EXAMPLES: Final = (6, 17, 132, 1, 58)
"""The protocols that an example is looked for in first: people know them."""


class PacketSet:
    """An immutable set of packets.

    TooLarge (`packets_too_intricate`) if a result has no room in its universe, ValueError for
    sets of two universes.
    """

    __slots__ = ("_store", "_v4", "_v6")

    def __init__(self, store: Store, v4: Diagram, v6: Diagram) -> None:
        self._store: Final = store
        self._v4: Final = v4
        self._v6: Final = v6

    def of(self, family: Family) -> Diagram:
        return self._v4 if family == 4 else self._v6

    def __bool__(self) -> bool:
        return self._v4.satisfiable() or self._v6.satisfiable()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PacketSet):
            return NotImplemented
        other.must_be_of(self._store)
        return self._v4 == other._v4 and self._v6 == other._v6

    def __hash__(self) -> int:
        return hash((self._v4, self._v6))

    @bounded
    def __or__(self, other: "PacketSet") -> "PacketSet":
        other.must_be_of(self._store)
        return PacketSet(self._store, self._v4 | other._v4, self._v6 | other._v6)

    @bounded
    def __and__(self, other: "PacketSet") -> "PacketSet":
        other.must_be_of(self._store)
        return PacketSet(self._store, self._v4 & other._v4, self._v6 & other._v6)

    @bounded
    def __sub__(self, other: "PacketSet") -> "PacketSet":
        other.must_be_of(self._store)
        return PacketSet(self._store, self._v4 & ~other._v4, self._v6 & ~other._v6)

    @bounded
    def __invert__(self) -> "PacketSet":
        """Return all other packets of the universe."""
        packets = self._store.packets
        return PacketSet(self._store, packets & ~self._v4, packets & ~self._v6)

    def __le__(self, other: "PacketSet") -> bool:
        return not self - other

    def __contains__(self, packet: Packet) -> bool:
        bits = _bits(packet)
        return self.of(packet.family).eval(enumerate(bits))

    def count(self) -> int:
        """Return the number of packets, of both families together."""
        return self._v4.sat_count(VARIABLES[4]) + self._v6.sat_count(VARIABLES[6])

    @bounded
    def example(self) -> Packet | None:
        """Return one packet, always the same of equal sets; None if the set is empty.

        IPv4 before IPv6; tcp, udp, sctp, icmp and icmpv6 before the other protocols; of what is
        left the least port, source port, source and destination, in that order.
        """
        for family in FAMILIES:
            diagram = self.of(family)
            if diagram.satisfiable():
                return _least(self._store, diagram, family)
        return None

    @bounded
    def boxes(self, limit: int) -> tuple[list[PacketBox], bool]:
        """Return disjoint boxes that make up the set, and whether there are more than `limit`.

        Boxes are as large as they can be: of any service first, then of any port, then of the
        widest ranges.  The time depends on `limit`, not on the number of boxes.
        """
        return packet_boxes(self._store, self._v4, self._v6, limit)

    @bounded
    def sources(self) -> AddressSet:
        """Return the source addresses of its packets."""
        return AddressSet(*(self._projected(family, SOURCE) for family in FAMILIES))

    @bounded
    def destinations(self) -> AddressSet:
        """Return the destination addresses of its packets."""
        return AddressSet(*(self._projected(family, DESTINATION[family]) for family in FAMILIES))

    def _projected(self, family: Family, first: int) -> Intervals:
        """Return the addresses at variable `first` of the packets."""
        others = self._store.variables(0, SOURCE)
        other = DESTINATION[family] if first == SOURCE else SOURCE
        others &= self._store.variables(other, BITS[family])
        return runs_of(self.of(family).exists(others), first, BITS[family])

    def must_be_of(self, store: Store) -> None:
        """Raise ValueError if the set was made in another universe."""
        if self._store is not store:
            raise ValueError("sets of two universes can't be combined")


class Universe:
    """All packets, and the memory of the sets of them that are made here.

    It holds at most `nodes` nodes, of some 36 bytes each.  TooLarge (`packets_too_intricate`)
    where a set needs more.
    """

    @bounded
    def __init__(self, *, nodes: int = NODES, results: int = RESULTS) -> None:
        self.store: Final = Store(nodes=nodes, results=results)
        self.nothing: Final = PacketSet(self.store, self.store.nothing, self.store.nothing)
        self.everything: Final = PacketSet(self.store, self.store.packets, self.store.packets)

    @bounded
    def box(self, box: Box) -> PacketSet:
        """Return the packets of a box."""
        service = self.store.services(box.protocols, box.ports, box.source_ports)
        source = self.store.addresses(SOURCE, box.family, box.sources)
        destination = self.store.addresses(DESTINATION[box.family], box.family, box.destinations)
        found = service & (source & destination)
        if box.family == 4:
            return PacketSet(self.store, found, self.store.nothing)
        return PacketSet(self.store, self.store.nothing, found)

    @bounded
    def matching(
        self,
        sources: Sequence[AddressSet] | None,
        destinations: Sequence[AddressSet] | None,
        matches: Sequence[PortMatch] | None,
        within: AddressSet | None = None,
    ) -> PacketSet:
        """Return what a rule matches: None is any; with `within`, one end at least lies there.

        Sources and destinations are given in parts, and each part is made once: hand in those
        that rules share, such as networks.
        """
        if matches is None:
            service = self.store.packets
        else:
            service = self.store.union(map(self.store.service, matches))
        found = []
        for family in FAMILIES:
            ends = self._ends(family, sources, destinations, within)
            found.append(ends if ends is self.store.nothing else service & ends)
        return PacketSet(self.store, *found)

    @bounded
    def union(self, sets: Iterable[PacketSet]) -> PacketSet:
        """Return the union of sets, neighbours first."""
        given = list(sets)
        for each in given:
            each.must_be_of(self.store)
        return PacketSet(
            self.store,
            self.store.union(each.of(4) for each in given),
            self.store.union(each.of(6) for each in given),
        )

    def _ends(
        self,
        family: Family,
        sources: Sequence[AddressSet] | None,
        destinations: Sequence[AddressSet] | None,
        within: AddressSet | None,
    ) -> Diagram:
        # Most rules are of one family, and nothing needs no combining.
        source = self._side(SOURCE, family, sources)
        if source is self.store.nothing:
            return source
        destination = self._side(DESTINATION[family], family, destinations)
        if destination is self.store.nothing:
            return destination
        ends = source & destination
        if within is None:
            return ends
        bound = within.of(family)
        return ends & (
            self.store.addresses(SOURCE, family, bound)
            | self.store.addresses(DESTINATION[family], family, bound)
        )

    def _side(self, first: int, family: Family, parts: Sequence[AddressSet] | None) -> Diagram:
        if parts is None:
            return self.store.everything
        return self.store.union(
            self.store.addresses(first, family, runs) for part in parts if (runs := part.of(family))
        )


def _least(store: Store, diagram: Diagram, family: Family) -> Packet:
    for protocol in _EXAMPLES:
        known = diagram & store.service(PortMatch(protocol))
        if known.satisfiable():
            diagram = known
            break
    bits = least(diagram, VARIABLES[family])
    assert bits is not None, "the diagram holds a packet"
    destination = DESTINATION[family]
    return Packet(
        family,
        number(bits[SOURCE:destination]),
        number(bits[destination:]),
        number(bits[PROTOCOL:PORT]),
        number(bits[SOURCE_PORT:SOURCE]),
        number(bits[PORT:SOURCE_PORT]),
    )


def _bits(packet: Packet) -> list[bool]:
    width = BITS[packet.family]
    fields = (
        (packet.protocol, 8),
        (packet.port, 16),
        (packet.source_port, 16),
        (packet.source, width),
        (packet.destination, width),
    )
    return [bool(value >> place & 1) for value, bits in fields for place in reversed(range(bits))]
