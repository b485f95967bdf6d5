"""The algebra of sets against Python's own sets and ipaddress."""

import ipaddress
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.algebra import intervals
from shared.algebra.boxes import Box, boxes, subtract
from shared.algebra.cidrs import BITS, AddressSet, Family, parse_cidrs
from shared.algebra.labels import LabelIndex, Term
from shared.algebra.ports import ALL_PORTS, PortMatch, group, port_set
from shared.algebra.rows import Collector, Rows

SMALL = st.integers(0, 40)
RANGES = st.lists(st.tuples(SMALL, SMALL).map(lambda pair: (min(pair), max(pair))), max_size=8)
SETS = RANGES.map(intervals.from_ranges)


def members(runs: intervals.Intervals) -> set[int]:
    return {value for first, last in intervals.to_ranges(runs) for value in range(first, last + 1)}


@given(RANGES)
def test_ranges_become_sorted_runs_that_do_not_touch(ranges: list[tuple[int, int]]) -> None:
    runs = intervals.from_ranges(ranges)
    assert list(runs) == sorted(set(runs))
    assert members(runs) == {value for first, last in ranges for value in range(first, last + 1)}


@given(SETS, SETS, SETS)
def test_operations_on_runs_are_those_on_sets(
    one: intervals.Intervals, two: intervals.Intervals, three: intervals.Intervals
) -> None:
    left, right = members(one), members(two)
    assert members(intervals.union(one, two, three)) == left | right | members(three)
    assert members(intervals.intersection(one, two)) == left & right
    assert members(intervals.difference(one, two)) == left - right
    assert intervals.overlaps(one, two) == bool(left & right)
    assert intervals.size(one) == len(left)
    for result in (intervals.union(one, two), intervals.difference(one, two)):
        assert intervals.from_ranges(intervals.to_ranges(result)) == result
    assert all(intervals.contains(one, value) == (value in left) for value in range(42))


def networks(family: Family) -> st.SearchStrategy[Any]:
    """Subnets of a small corner of a family, so that they nest and touch."""
    bits = BITS[family]
    base = {4: 10 << 24, 6: 0x2001_0DB8 << 96}[family]
    make = ipaddress.IPv4Network if family == 4 else ipaddress.IPv6Network

    def build(low: int, length: int) -> Any:
        value = (base | low) >> (bits - length) << (bits - length)
        return make((value, length))

    return st.builds(build, st.integers(0, 255), st.integers(bits - 8, bits))


NETWORKS = st.lists(networks(4) | networks(6), max_size=10)


@given(NETWORKS)
def test_cidrs_print_as_ipaddress_collapses_them(given_networks: list[Any]) -> None:
    four = [each for each in given_networks if each.version == 4]
    six = [each for each in given_networks if each.version == 6]
    expected = [
        str(each) for family in (four, six) for each in sorted(ipaddress.collapse_addresses(family))
    ]
    assert list(parse_cidrs(map(str, given_networks)).cidrs()) == expected


@given(NETWORKS, NETWORKS)
def test_address_sets_are_sets_of_addresses(one: list[Any], two: list[Any]) -> None:
    def hosts(given_networks: list[Any]) -> set[Any]:
        return {address for each in given_networks for address in each}

    left, right = parse_cidrs(map(str, one)), parse_cidrs(map(str, two))
    for found, expected in (
        (left.union(right), hosts(one) | hosts(two)),
        (left.intersection(right), hosts(one) & hosts(two)),
        (left.difference(right), hosts(one) - hosts(two)),
    ):
        assert hosts([ipaddress.ip_network(each) for each in found.cidrs()]) == expected
    assert left.overlaps(right) == bool(hosts(one) & hosts(two))
    assert bool(left) == bool(one)
    for address in hosts(two):
        family: Family = 4 if address.version == 4 else 6
        assert left.contains(family, int(address)) == (address in hosts(one))


KEYS, VALUES = st.sampled_from("abc"), st.sampled_from("xyz")
LABELS = st.dictionaries(KEYS, VALUES, max_size=3)
TERMS: st.SearchStrategy[list[Term]] = st.lists(
    st.one_of(
        st.tuples(KEYS, st.sampled_from(["In", "NotIn"]), st.lists(VALUES, min_size=1, max_size=2)),
        st.tuples(KEYS, st.sampled_from(["Exists", "DoesNotExist"]), st.just([])),
    ),
    max_size=4,
)


def holds(labels: dict[str, str], term: Term) -> bool:
    key, operator, values = term
    return {
        "In": key in labels and labels[key] in values,
        "NotIn": key not in labels or labels[key] not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[operator]


@given(
    st.lists(LABELS, max_size=8), st.lists(st.tuples(st.integers(0, 9), LABELS | st.none())), TERMS
)
def test_the_label_index_selects_what_a_look_at_each_member_does(
    start: list[dict[str, str]],
    changes: list[tuple[int, dict[str, str] | None]],
    terms: list[Term],
) -> None:
    index, model = LabelIndex(start), dict(enumerate(start))
    for member, labels in changes:
        if labels is None:
            index.discard(member)
            model.pop(member, None)
        else:
            index.put(member, labels)
            model[member] = labels
    expected = {
        member for member, labels in model.items() if all(holds(labels, term) for term in terms)
    }
    found = index.select(terms)
    assert set(found) == expected
    assert set(index.select(terms, among=found)) == expected


PORTS = st.lists(
    st.tuples(SMALL, SMALL).map(lambda pair: (min(pair), max(pair))), min_size=1, max_size=3
).map(port_set)
MATCHES = st.lists(
    st.builds(PortMatch, st.sampled_from([6, 17]), st.none() | PORTS, st.none() | PORTS)
    | st.builds(PortMatch, st.sampled_from([1, 47])),
    max_size=5,
)


@given(MATCHES, st.sampled_from([1, 6, 17, 47, 58]), SMALL, SMALL)
def test_grouped_services_match_the_same_packets(
    matches: list[PortMatch], protocol: int, source_port: int, port: int
) -> None:
    grouped = group(matches)
    packet = (protocol, source_port, port) if protocol in (6, 17) else (protocol, 0, 0)
    assert any(each.matches(*packet) for each in grouped) == any(
        each.matches(*packet) for each in matches
    )
    places = [(each.protocol, each.source_ports) for each in grouped]
    assert len(places) == len(set(places))


@given(st.lists(st.none() | SETS, max_size=6), SETS)
def test_rows_are_the_sets_that_hold_a_value(
    sets: list[intervals.Intervals | None], asked: intervals.Intervals
) -> None:
    collector = Collector()
    for place, values in enumerate(sets):
        collector.put(values, 1 << place)
    rows = collector.rows()

    def bits(value: int) -> int:
        return sum(
            1 << place
            for place, values in enumerate(sets)
            if values is None or value in members(values)
        )

    assert all(rows.of(value) == bits(value) for value in range(42))
    meeting = 0
    for value in members(asked):
        meeting |= bits(value)
    assert rows.meeting(asked) == meeting
    assert Rows(5, ()).of(3) == 5


FEW = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=2).map(
    lambda pairs: intervals.from_ranges((min(pair), max(pair)) for pair in pairs)
)
BOXES = st.builds(Box, st.sampled_from([4, 6]), FEW, FEW, FEW, FEW, FEW)


def packets(*given_boxes: Box) -> set[tuple[int, ...]]:
    return {
        (box.family, *values)
        for box in given_boxes
        for values in product(*(sorted(members(field)) for field in box.fields))
    }


@given(BOXES, BOXES, BOXES)
def test_boxes_are_sets_of_packets(one: Box, two: Box, three: Box) -> None:
    common = one.intersection(two)
    assert packets(*([common] if common else [])) == packets(one) & packets(two)
    assert one.overlaps(two) == (common is not None)
    rest = subtract(one.difference(two), three)
    assert packets(*rest) == packets(one) - packets(two) - packets(three)
    # Disjoint: no packet is counted twice.
    assert sum(box.size() for box in rest) == len(packets(*rest))
    assert (one.family, *one.example()) in packets(one)


def around(text: str) -> AddressSet:
    return parse_cidrs([text])


ENDS = st.none() | st.sampled_from(
    [around(each) for each in ("10.0.0.0/30", "10.0.0.2/31", "2001:db8::/126", "10.0.0.0/31")]
    + [AddressSet()]
)


@given(ENDS, ENDS, st.none() | MATCHES.map(group), ENDS)
def test_a_rules_boxes_hold_the_packets_that_it_matches(
    sources: AddressSet | None,
    destinations: AddressSet | None,
    matches: tuple[PortMatch, ...] | None,
    within: AddressSet | None,
) -> None:
    found = list(boxes(sources, destinations, matches, within))
    probes: list[tuple[Family, int, int]] = [
        (4, (10 << 24) + first, (10 << 24) + second)
        for first, second in product(range(5), repeat=2)
    ] + [(6, (0x2001_0DB8 << 96) + first, (0x2001_0DB8 << 96) + 4) for first in (0, 5)]
    services = [(6, 0, 0), (6, 7, 41), (17, 3, 9), (1, 0, 0), (47, 0, 0), (132, 65535, 1)]
    for (family, source, destination), (protocol, source_port, port) in product(probes, services):
        expected = (
            (sources is None or sources.contains(family, source))
            and (destinations is None or destinations.contains(family, destination))
            and (
                matches is None
                or any(each.matches(protocol, source_port, port) for each in matches)
            )
            and (
                within is None
                or within.contains(family, source)
                or within.contains(family, destination)
            )
        )
        values = (source, destination, protocol, source_port, port)
        assert expected == any(
            box.family == family
            and all(
                intervals.contains(field, value)
                for field, value in zip(box.fields, values, strict=True)
            )
            for box in found
        )


def test_all_packets_are_counted_as_they_are() -> None:
    counted = sum(box.size() for box in boxes(None, None, None))
    per_pair = 253 + 3 * 65536 * 65536
    assert counted == (2**64 + 2**256) * per_pair
    assert intervals.size(ALL_PORTS) == 65536
