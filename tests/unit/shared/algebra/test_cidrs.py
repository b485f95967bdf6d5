import pytest

from shared.algebra.cidrs import AddressSet, format_address, parse_address, parse_cidrs


def test_neighbours_merge_and_ipv4_comes_first() -> None:
    found = parse_cidrs(["2001:db8::/65", "10.0.1.0/24", "2001:db8:0:0:8000::/65", "10.0.0.0/24"])
    assert found.cidrs() == ("10.0.0.0/23", "2001:db8::/64")


def test_what_does_not_align_is_told_as_the_fewest_cidrs() -> None:
    assert parse_cidrs(["10.0.1.0/24", "10.0.2.0/24"]).cidrs() == ("10.0.1.0/24", "10.0.2.0/24")
    assert parse_cidrs(["10.0.0.1", "10.0.0.2/31", "10.0.0.4"]).cidrs() == (
        "10.0.0.1/32",
        "10.0.0.2/31",
        "10.0.0.4/32",
    )


def test_everything_is_one_cidr_a_family() -> None:
    assert parse_cidrs(["::/0", "0.0.0.0/1", "128.0.0.0/1"]).cidrs() == ("0.0.0.0/0", "::/0")
    assert AddressSet().cidrs() == ()


@pytest.mark.parametrize("text", ["10.0.0.1/24", "10.0.0", "", "2001:db8::1/64"])
def test_host_bits_and_nonsense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host bits|does not appear"):
        parse_cidrs([text])


def test_families_never_mix() -> None:
    low = parse_cidrs(["0.0.0.1"])
    assert not low.contains(6, 1)
    assert not low.overlaps(parse_cidrs(["::1"]))
    assert low.intersection(parse_cidrs(["::1"])) == AddressSet()


@pytest.mark.parametrize("text", ["10.0.0.1", "2001:db8::1", "::"])
def test_addresses_print_as_they_are_read(text: str) -> None:
    assert format_address(*parse_address(text)) == text
