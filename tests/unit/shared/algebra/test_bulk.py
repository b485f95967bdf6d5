"""Many sets of prefixes at once are what AddressSet makes of each."""

from ipaddress import IPv4Network

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.algebra import intervals
from shared.algebra.bulk import code_of, parse_prefixes, texts_of, unite
from shared.algebra.cidrs import canonical_addresses, parse_cidrs, prefix_range


@st.composite
def prefixes(draw: st.DrawFn) -> str:
    length = draw(st.sampled_from([0, 1, 8, 15, 24, 30, 31, 32]))
    # Few bits, so that prefixes meet; at both ends of what there is, too.
    address = draw(st.one_of(st.integers(0, 15), st.integers(2**32 - 16, 2**32 - 1)))
    if draw(st.booleans()):
        address = (address << 24 | address << 4) & (2**32 - 1)
    return str(IPv4Network((address, length), strict=False))


def united(sets: list[list[str]]) -> list[list[str]]:
    texts = [text for each in sets for text in each]
    codes = parse_prefixes(texts)
    assert codes is not None
    groups = np.repeat(np.arange(len(sets)), [len(each) for each in sets]).astype(np.int64)
    unions = unite(codes, groups, len(sets))
    known = np.array([*texts, None], dtype=object)
    found = texts_of(unions, known, np.arange(len(texts)), {})
    for row, texts_in in enumerate(sets):
        runs = slice(unions.run_bounds[row], unions.run_bounds[row + 1])
        pairs = zip(unions.starts[runs].tolist(), unions.ends[runs].tolist(), strict=True)
        assert tuple(each for pair in pairs for each in pair) == parse_cidrs(texts_in).v4
    bounds = unions.bounds.tolist()
    return [found[bounds[row] : bounds[row + 1]] for row in range(len(sets))]


@given(st.lists(st.lists(prefixes(), max_size=6), min_size=1, max_size=6))
def test_unions_are_the_minimal_cidrs_of_each_set(sets: list[list[str]]) -> None:
    assert united(sets) == [[*parse_cidrs(each).cidrs()] for each in sets]


@pytest.mark.parametrize(
    "given_",
    [
        ["0.0.0.0/0"],
        ["0.0.0.0/1", "128.0.0.0/1"],
        ["255.255.255.255/32"],
        ["255.255.255.254/32", "255.255.255.255/32", "0.0.0.0/32"],
        ["10.0.0.0/25", "10.0.0.128/25", "10.0.1.0/24"],
        ["10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/16", "10.255.255.255/32"],
        ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/30", "10.0.0.8/32"],
        [],
    ],
)
def test_edges_of_the_address_space_and_neighbours_merge(given_: list[str]) -> None:
    assert united([[], given_, ["10.0.0.7/32"]]) == [
        [],
        [*parse_cidrs(given_).cidrs()],
        ["10.0.0.7/32"],
    ]


def test_neighbours_in_different_sets_stay_apart() -> None:
    assert united([["255.255.255.255/32"], ["0.0.0.0/32"]]) == [
        ["255.255.255.255/32"],
        ["0.0.0.0/32"],
    ]


def test_more_sets_than_fit_are_refused() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    with pytest.raises(ValueError, match="more than fit"):
        unite(nothing, nothing, 1 << 30)


@given(st.lists(prefixes(), max_size=8))
def test_canonical_texts_are_parsed(texts: list[str]) -> None:
    codes = parse_prefixes(texts)
    assert codes is not None
    expected = [IPv4Network(text) for text in texts]
    assert codes.tolist() == [code_of(int(e.network_address), e.prefixlen) for e in expected]


def test_blocks_of_texts_are_parsed_as_one() -> None:
    texts = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(4500)]
    codes = parse_prefixes(texts)
    assert codes is not None
    assert codes.tolist() == [code_of(10 << 24 | number << 8, 24) for number in range(4500)]


NOT_CANONICAL = [
    "10.0.0.1/24",
    "10.0.0.0",
    "10.0.0/8",
    "10.0.0.0.0/8",
    "010.0.0.0/8",
    "10.00.0.0/8",
    "10.0.0.0/08",
    "10.0.0.0/33",
    "10.0.0.256/32",
    "1000.0.0.0/8",
    "10.0.0.0/",
    "/8",
    "",
    " 10.0.0.0/8",
    "10.0.0.0/8 ",
    "10.0.0.-1/32",
    "+10.0.0.0/8",
    "10,0,0,0/8",
    "10.0.0.0.8",
    "10/0.0.0.8",
    "a.0.0.0/8",
    "\u0661\u0660.0.0.0/8",
    "::/0",
    "2001:db8::/32",
    "10.0.0.0/8\n10.0.0.0/8",
]


@pytest.mark.parametrize("text", NOT_CANONICAL)
def test_other_texts_are_not_parsed(text: str) -> None:
    assert parse_prefixes([text]) is None
    assert parse_prefixes(["10.0.0.0/8", text, "10.0.0.0/8"]) is None


@given(st.text("0123456789./ :-a", max_size=18))
def test_what_is_parsed_is_what_prints(text: str) -> None:
    codes = parse_prefixes([text])
    try:
        canonical = str(IPv4Network(text)) == text
    except ValueError:
        canonical = False
    assert (codes is not None) is canonical


# cidrs.prefix_range and canonical_addresses, which the bulk way falls back to.


@given(prefixes())
def test_the_range_of_a_prefix_is_its_first_and_one_beyond_its_last(text: str) -> None:
    network = IPv4Network(text)
    first = int(network.network_address)
    assert prefix_range(text) == (4, first, first + network.num_addresses)


def test_ranges_of_ipv6_reach_the_end() -> None:
    assert prefix_range("::/0") == (6, 0, 1 << 128)
    assert prefix_range(f"{'ffff:' * 7}ffff/128") == (6, (1 << 128) - 1, 1 << 128)
    assert prefix_range("2001:db8::/32")[0] == 6


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1/24",
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/x",
        "x/8",
        "::1/64",
        "",
        "/",
    ],
)
def test_what_is_no_cidr_has_no_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"no CIDR|beyond its prefix"):
        prefix_range(text)


@given(st.lists(st.one_of(prefixes(), st.sampled_from(["::/0", "2001:db8::/64", "::1/128"]))))
def test_canonical_addresses_are_those_of_any_cidrs(texts: list[str]) -> None:
    assert canonical_addresses(texts) == parse_cidrs(texts)


# intervals.within and replace, against sets of integers.

SMALL = st.sets(st.integers(0, 20))
WINDOWS = st.tuples(st.integers(0, 22), st.integers(0, 22))


def runs(values: set[int]) -> intervals.Intervals:
    return intervals.from_ranges((each, each) for each in values)


@given(SMALL, WINDOWS)
def test_within_is_what_lies_in_the_window(values: set[int], window: tuple[int, int]) -> None:
    start, end = window
    expected = {each for each in values if start <= each < end}
    assert intervals.within(runs(values), start, end) == runs(expected)


@given(SMALL, SMALL, WINDOWS)
def test_replace_puts_other_values_into_the_window(
    values: set[int], others: set[int], window: tuple[int, int]
) -> None:
    start, end = sorted(window)
    inside = {each for each in others if start <= each < end}
    expected = {each for each in values if not start <= each < end} | inside
    new, before, after = intervals.replace(runs(values), start, end, runs(inside))
    assert new == runs(expected)
    # What is shown of before and after is whole runs, and all that differs.
    assert set(intervals.to_ranges(before)) <= set(intervals.to_ranges(runs(values)))
    assert set(intervals.to_ranges(after)) <= set(intervals.to_ranges(new))
    rest = set(intervals.to_ranges(runs(values))) - set(intervals.to_ranges(before))
    assert rest == set(intervals.to_ranges(new)) - set(intervals.to_ranges(after))
