"""Exact sets of packets against three slow oracles: packets listed one by one, the algebra of
boxes, and another library's diagrams.
"""

from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import combinations, islice, product
from operator import or_

import pytest
from dd.autoref import BDD
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from shared.algebra import intervals
from shared.algebra.boxes import (
    FAMILIES,
    NO_PORT,
    WITH_PORTS,
    WITHOUT_PORTS,
    Box,
    Packet,
    boxes,
    subtract,
)
from shared.algebra.cidrs import BITS, AddressSet, Family, parse_cidrs
from shared.algebra.diagrams import VARIABLES
from shared.algebra.packet_boxes import PacketBox
from shared.algebra.packets import PacketSet, Universe
from shared.algebra.ports import ALL_PORTS, PORT_PROTOCOLS, PortMatch
from shared.errors import TooLarge

BASES: dict[Family, int] = {4: 10 << 24, 6: 0xFD << 120}


def runs(low: int, high: int, *, size: int = 3) -> st.SearchStrategy[intervals.Intervals]:
    bounds = st.tuples(st.integers(low, high), st.integers(low, high))
    ranges = bounds.map(lambda pair: (min(pair), max(pair)))
    return st.lists(ranges, min_size=1, max_size=size).map(intervals.from_ranges)


# A small world, that can be listed: few addresses, protocols and ports.
SMALL_PROTOCOLS = (1, 6, 7, 17)
SMALL_PORTS = 2
SMALL_ADDRESSES = 3


@st.composite
def small_boxes(draw: st.DrawFn) -> Box:
    family: Family = draw(st.sampled_from(FAMILIES))
    base = BASES[family]
    protocol = draw(st.sampled_from(SMALL_PROTOCOLS))
    source, destination = (
        tuple(base + each for each in draw(runs(0, SMALL_ADDRESSES, size=2))) for _ in range(2)
    )
    with_ports = protocol in PORT_PROTOCOLS
    source_ports, ports = (
        draw(runs(0, SMALL_PORTS, size=2)) if with_ports else NO_PORT for _ in range(2)
    )
    return Box(family, source, destination, (protocol, protocol + 1), source_ports, ports)


def listed(box: Box) -> set[Packet]:
    fields = [
        [value for first, last in intervals.to_ranges(field) for value in range(first, last + 1)]
        for field in box.fields
    ]
    return {Packet(box.family, *values) for values in product(*fields)}


SETS = st.lists(small_boxes(), max_size=4)


def made(universe: Universe, given: Iterable[Box]) -> PacketSet:
    return universe.union(universe.box(each) for each in given)


def members(packets: PacketSet) -> set[Packet]:
    """Return the packets of a set of the small world, asking for each."""
    found = set()
    for family in FAMILIES:
        addresses = range(BASES[family] - 1, BASES[family] + SMALL_ADDRESSES + 2)
        for protocol in (0, *SMALL_PROTOCOLS, 255):
            ports = range(SMALL_PORTS + 2) if protocol in PORT_PROTOCOLS else (0,)
            for values in product(addresses, addresses, (protocol,), ports, ports):
                if (packet := Packet(family, *values)) in packets:
                    found.add(packet)
    return found


def example_order(packet: Packet) -> tuple[int, ...]:
    known = (6, 17, 132, 1, 58)
    place = known.index(packet.protocol) if packet.protocol in known else len(known)
    return (
        packet.family,
        place,
        packet.protocol,
        packet.port,
        packet.source_port,
        packet.source,
        packet.destination,
    )


@settings(max_examples=25)
@given(SETS, SETS)
def test_sets_of_packets_are_sets(one: list[Box], two: list[Box]) -> None:
    universe = Universe()
    a, b = made(universe, one), made(universe, two)
    left: set[Packet] = set().union(*map(listed, one))
    right: set[Packet] = set().union(*map(listed, two))
    for packets, expected in ((a | b, left | right), (a & b, left & right), (a - b, left - right)):
        assert members(packets) == expected
        assert packets.count() == len(expected)
        assert bool(packets) == bool(expected)
        assert packets.example() == min(expected, key=example_order, default=None)
    assert (a == b) == (left == right)
    assert (a <= b) == (left <= right)
    assert ~(a | b) == ~a & ~b
    assert ~~a == a
    assert not (a & ~a)
    assert a | ~a == universe.everything


@settings(max_examples=25)
@given(SETS)
def test_projections_are_the_addresses_of_the_packets(given: list[Box]) -> None:
    universe = Universe()
    packets = made(universe, given)
    for family in FAMILIES:
        there = [each for each in given if each.family == family]
        assert packets.sources().of(family) == intervals.union(*(each.sources for each in there))
        assert packets.destinations().of(family) == intervals.union(
            *(each.destinations for each in there)
        )


# The whole world: any width, so that nothing can be listed.
@st.composite
def prefix_runs(draw: st.DrawFn, family: Family) -> intervals.Intervals:
    """Whole address space, or prefixes beneath few bases, so that they overlap and nest."""
    width = BITS[family]
    ranges = []
    for _ in range(draw(st.integers(1, 3))):
        length = draw(st.sampled_from((0, 1, 8, 9, 12, width - 1, width)))
        value = draw(st.sampled_from((0, 1, 3, 2**128 // 3))) % (1 << length)
        first = value << (width - length)
        ranges.append((first, first + (1 << width - length) - 1))
    return intervals.from_ranges(ranges)


@st.composite
def wide_boxes(draw: st.DrawFn) -> Box:
    family: Family = draw(st.sampled_from(FAMILIES))
    source, destination = draw(prefix_runs(family)), draw(prefix_runs(family))
    if draw(st.booleans()):
        protocols = draw(st.sampled_from((WITHOUT_PORTS, (1, 2), (0, 1, 58, 59), (255, 256))))
        return Box(family, source, destination, protocols, NO_PORT, NO_PORT)
    protocols = draw(st.sampled_from((WITH_PORTS, (6, 7), (17, 18), (132, 133))))
    ports = st.one_of(st.just(ALL_PORTS), runs(0, 65535), st.sampled_from([(80, 81), (22, 24)]))
    return Box(family, source, destination, protocols, draw(ports), draw(ports))


WIDE = st.lists(wide_boxes(), max_size=4)


def disjoint(given: Iterable[Box]) -> list[Box]:
    found: list[Box] = []
    for box in given:
        parts = [box]
        for other in found:
            parts = subtract(parts, other)
        found += parts
    return found


def total(given: Iterable[Box]) -> int:
    return sum(each.size() for each in given)


@given(WIDE, WIDE)
def test_counts_are_those_of_the_algebra_of_boxes(one: list[Box], two: list[Box]) -> None:
    universe = Universe()
    a, b = made(universe, one), made(universe, two)
    left = disjoint(one)
    rest = left
    for other in two:
        rest = subtract(rest, other)
    assert a.count() == total(left)
    assert (a - b).count() == total(rest)
    assert (a & b).count() == total(left) - total(rest)
    assert made(universe, rest) == a - b
    assert (a - b == universe.nothing) == (a <= b) == (not rest)


def as_boxes(box: PacketBox) -> Iterator[Box]:
    """Yield what commands.md says a box holds."""
    for family in FAMILIES if box.family is None else (box.family,):
        source, destination = (
            (0, 1 << BITS[family])
            if prefix is None
            else (prefix[0], prefix[0] + (1 << BITS[family] - prefix[1]))
            for prefix in (box.source, box.destination)
        )
        ports, source_ports = (
            ALL_PORTS if each is None else (each[0], each[1] + 1)
            for each in (box.ports, box.source_ports)
        )
        if box.protocol is None:
            yield Box(family, source, destination, WITHOUT_PORTS, NO_PORT, NO_PORT)
            yield Box(family, source, destination, WITH_PORTS, ALL_PORTS, ALL_PORTS)
        elif box.protocol in PORT_PROTOCOLS:
            protocol = (box.protocol, box.protocol + 1)
            yield Box(family, source, destination, protocol, source_ports, ports)
        else:
            protocol = (box.protocol, box.protocol + 1)
            yield Box(family, source, destination, protocol, NO_PORT, NO_PORT)


# Without tracing branches, which takes far longer than the test.
@settings(phases=[Phase.generate, Phase.shrink])
@given(WIDE, WIDE, st.booleans())
def test_boxes_are_disjoint_and_make_up_the_set(
    one: list[Box], two: list[Box], inverted: bool
) -> None:
    universe = Universe()
    packets = made(universe, one) - made(universe, two)
    if inverted:
        packets = ~packets
    found, truncated = packets.boxes(300)
    parts = [part for each in found for part in as_boxes(each)]
    together = made(universe, parts)
    assert sum(each.size() for each in found) == together.count()
    assert together <= packets
    assert truncated == (together != packets)
    assert truncated <= (len(found) == 300)
    if found:
        cut, truncated = packets.boxes(len(found) - 1)
        assert truncated
        assert len(cut) == len(found) - 1
        assert set(cut) <= set(found)


@given(SETS)
def test_no_two_boxes_share_a_packet(given: list[Box]) -> None:
    universe = Universe()
    found, _ = made(universe, given).boxes(1000)
    parts = [listed(part) for each in found for part in as_boxes(each)]
    assert sum(map(len, parts)) == len(set().union(*parts))


PLACES = st.sampled_from(
    ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.1/32", "fd00::/8", "fd00:1::/32", "::/0"]
)
SIDES = st.one_of(st.none(), st.lists(st.sets(PLACES).map(parse_cidrs), max_size=2))
PORTS = st.one_of(st.none(), runs(0, 65535, size=2))
MATCHES = st.one_of(
    st.none(),
    st.lists(
        st.one_of(
            st.builds(PortMatch, st.sampled_from(sorted(PORT_PROTOCOLS)), PORTS, PORTS),
            st.builds(PortMatch, st.sampled_from((0, 1, 58, 255))),
        ),
        max_size=3,
    ),
)


def united(parts: list[AddressSet] | None) -> AddressSet | None:
    return None if parts is None else AddressSet().union(*parts)


@given(SIDES, SIDES, MATCHES, st.one_of(st.none(), st.sets(PLACES).map(parse_cidrs)))
def test_a_rule_matches_the_boxes_of_its_sets(
    sources: list[AddressSet] | None,
    destinations: list[AddressSet] | None,
    matches: list[PortMatch] | None,
    within: AddressSet | None,
) -> None:
    universe = Universe()
    packets = universe.matching(sources, destinations, matches, within)
    assert packets == made(universe, boxes(united(sources), united(destinations), matches, within))


@settings(max_examples=40)
@given(WIDE, WIDE)
def test_counts_are_those_of_another_librarys_diagrams(one: list[Box], two: list[Box]) -> None:
    universe = Universe()
    difference = made(universe, one) - made(universe, two)
    expected = 0
    for family in FAMILIES:
        other = Other(family)
        left = reduce(or_, map(other.box, one), other.bdd.false)
        right = reduce(or_, map(other.box, two), other.bdd.false)
        expected += other.bdd.count(left & ~right, VARIABLES[family])
    assert difference.count() == expected


class Other:
    """The same packets in dd: bounds of numbers as comparisons, bit by bit from the lowest."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.bdd = BDD()
        widths = {"p": 8, "d": 16, "s": 16, "f": BITS[family], "t": BITS[family]}
        self.bits = {
            name: [f"{name}{place}" for place in range(width)] for name, width in widths.items()
        }
        for names in self.bits.values():
            self.bdd.declare(*names)

    def box(self, box: Box):
        if box.family != self.family:
            return self.bdd.false
        found = self.bdd.true
        fields = zip("ftpsd", box.fields, strict=True)
        for name, field in fields:
            parts = [
                self._at_least(name, first) & ~self._at_least(name, last + 1)
                for first, last in intervals.to_ranges(field)
            ]
            found &= reduce(or_, parts)
        return found

    def _at_least(self, name: str, value: int):
        bits = self.bits[name]
        if value >> len(bits):
            return self.bdd.false
        found = self.bdd.true
        for place in reversed(range(len(bits))):
            variable = self.bdd.var(bits[place])
            set_here = value >> (len(bits) - 1 - place) & 1
            found = variable & found if set_here else variable | found
        return found


def test_everything_is_one_box() -> None:
    universe = Universe()
    services = 253 + 3 * 65536**2
    assert universe.everything.count() == services * (2**64 + 2**256)
    assert universe.everything.boxes(1) == ([PacketBox(None, None, None, None, None, None)], False)
    assert universe.nothing.boxes(0) == ([], False)
    assert universe.nothing.example() is None


def test_a_rule_comes_back_as_it_was_written() -> None:
    universe = Universe()
    web, database = parse_cidrs(["10.1.10.0/24"]), parse_cidrs(["10.1.20.0/24", "10.1.30.0/24"])
    packets = universe.matching([web], [database], [PortMatch(6, (8000, 8081)), PortMatch(1)])
    found, truncated = packets.boxes(10)
    assert [
        (each.source_text, each.destination_text, each.protocol, each.ports) for each in found
    ] == [
        ("10.1.10.0/24", "10.1.20.0/24", 1, None),
        ("10.1.10.0/24", "10.1.20.0/24", 6, (8000, 8080)),
        ("10.1.10.0/24", "10.1.30.0/24", 1, None),
        ("10.1.10.0/24", "10.1.30.0/24", 6, (8000, 8080)),
    ]
    assert not truncated


def test_port_0_from_port_0_is_not_any_port() -> None:
    universe = Universe()
    zero = PortMatch(6, (0, 1), (0, 1))
    packets = universe.matching(None, None, [PortMatch(5), zero, PortMatch(7)])
    found, _ = packets.boxes(10)
    assert [(each.protocol, each.ports, each.source_ports) for each in found] == [
        (5, None, None),
        (6, (0, 0), (0, 0)),
        (7, None, None),
    ]


def test_the_same_numbers_in_both_families_are_two_sets_of_addresses() -> None:
    universe = Universe()
    low = AddressSet(v4=(0, 4), v6=(0, 4))
    assert universe.matching([low], None, [PortMatch(1)]).count() == 4 * 2**32 + 4 * 2**128


def test_a_port_within_a_range_does_not_split_it() -> None:
    universe = Universe()
    a, b, c = (parse_cidrs([f"10.0.{n}.0/24"]) for n in range(3))
    wide = universe.matching([a], [b], [PortMatch(6, (8000, 8081))])
    narrow = universe.matching([c], [b], [PortMatch(6, (8040, 8041))])
    found, _ = (wide | narrow).boxes(10)
    assert [(each.source_text, each.ports) for each in found] == [
        ("10.0.0.0/24", (8000, 8080)),
        ("10.0.2.0/24", (8040, 8040)),
    ]


def test_a_wider_source_is_not_split_by_a_narrower_one() -> None:
    universe = Universe()
    wide, narrow = parse_cidrs(["10.0.0.0/16"]), parse_cidrs(["10.0.7.0/24"])
    first, second = parse_cidrs(["10.1.0.0/24"]), parse_cidrs(["10.1.1.0/24"])
    ssh = [PortMatch(6, (22, 23))]
    packets = universe.matching([wide], [first], ssh) | universe.matching([narrow], [second], ssh)
    found, _ = packets.boxes(10)
    assert [(each.source_text, each.destination_text) for each in found] == [
        ("10.0.0.0/16", "10.1.0.0/24"),
        ("10.0.7.0/24", "10.1.1.0/24"),
    ]


def test_few_of_a_huge_number_of_boxes_are_found_without_the_others() -> None:
    universe = Universe()
    # Every other address with every other: 2^62 pairs of hosts for each of 2^15 ports.
    odd = intervals.from_ranges((each, each) for each in range(1, 65536, 2))
    every_other = universe.union(
        universe.matching([AddressSet(v4=(0, 1 << 32))], None, [PortMatch(6, ports)])
        for ports in (odd,)
    )
    parity = reduce(
        lambda found, place: (found - _bit(universe, place)) | (_bit(universe, place) - found),
        range(8),
        every_other,
    )
    found, truncated = parity.boxes(50)
    assert truncated
    assert len(found) == 50
    assert all(universe.union(map(universe.box, as_boxes(each))) <= parity for each in found)


def _bit(universe: Universe, place: int) -> PacketSet:
    """All packets with a bit set, from an end of the source and from one of the destination."""
    runs = intervals.from_ranges(
        (start, start + (1 << place) - 1)
        for start in islice(range(1 << place, 1 << 16, 2 << place), 64)
    )
    return universe.matching([AddressSet(v4=runs)], None, None)


def test_a_full_universe_says_so_and_can_still_be_asked() -> None:
    universe = Universe(nodes=3000, results=1024)
    small = universe.matching([parse_cidrs(["10.0.0.0/8"])], None, [PortMatch(6)])
    with pytest.raises(TooLarge) as caught:
        reduce(
            or_,
            (
                universe.matching(
                    [parse_cidrs([f"10.{n}.{n * 7 % 256}.0/24"])],
                    [parse_cidrs([f"10.{n * 3 % 256}.1.{n}/32"])],
                    [PortMatch(6, (n * 11, n * 11 + 3))],
                )
                for n in range(200)
            ),
        )
    assert caught.value.code == "packets_too_intricate"
    assert small.count() == 2**24 * 2**32 * 2**32


def test_sets_of_two_universes_do_not_mix() -> None:
    one, two = Universe(), Universe()
    for operation in (
        lambda: one.everything | two.everything,
        lambda: one.everything == two.everything,
        lambda: one.union([two.everything]),
    ):
        with pytest.raises(ValueError, match="two universes"):
            operation()


def test_equal_sets_hash_alike_and_tell_themselves_apart() -> None:
    universe = Universe()
    parts = [universe.matching([parse_cidrs([f"10.{n}.0.0/16"])], None, None) for n in range(4)]
    assert len({one | other for one, other in combinations(parts, 2)}) == 6
    assert len({one | other for one, other in product(parts, parts)}) == 10
