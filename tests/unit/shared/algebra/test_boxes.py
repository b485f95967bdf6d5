from shared.algebra.boxes import Box, boxes
from shared.algebra.cidrs import parse_cidrs
from shared.algebra.ports import PortMatch


def test_a_protocol_without_ports_has_one_packet_a_pair() -> None:
    host = parse_cidrs(["10.0.0.1"])
    (ping,) = boxes(host, host, [PortMatch(1)])
    assert ping.size() == 1
    (http,) = boxes(host, host, [PortMatch(6, (80, 81))])
    assert http.size() == 65536
    assert http.example() == (0x0A000001, 0x0A000001, 6, 0, 80)


def test_a_bound_needs_one_end_and_counts_both_ends_once() -> None:
    pair, one = parse_cidrs(["10.0.0.0/31"]), parse_cidrs(["10.0.0.0"])
    found = list(boxes(pair, pair, [PortMatch(1)], within=one))
    assert sum(box.size() for box in found) == 3
    assert not found[0].overlaps(found[1])


def test_ends_of_different_families_make_no_box() -> None:
    assert list(boxes(parse_cidrs(["10.0.0.0/8"]), parse_cidrs(["::/0"]), None)) == []


def test_what_a_box_leaves_is_disjoint_from_it() -> None:
    whole = Box(4, (0, 4), (0, 4), (6, 7), (0, 2), (0, 2))
    middle = Box(4, (1, 2), (1, 2), (6, 7), (0, 1), (0, 1))
    rest = list(whole.difference(middle))
    assert sum(box.size() for box in rest) == whole.size() - 1
    assert not any(box.overlaps(middle) for box in rest)
