"""Sets of IP addresses, both families, kept minimal.

Everything the planner resolves ends as an AddressSet; it prints as the minimal list of disjoint
CIDRs in address order, IPv4 before IPv6.
"""

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from shared.algebra import intervals
from shared.algebra.intervals import Intervals

Family = Literal[4, 6]
BITS: Final[dict[Family, int]] = {4: 32, 6: 128}
_SOCKET_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class AddressSet:
    """Addresses of both families; equal sets compare equal."""

    v4: Intervals = intervals.EMPTY
    v6: Intervals = intervals.EMPTY

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)

    def of(self, family: Family) -> Intervals:
        return self.v4 if family == 4 else self.v6

    def contains(self, family: Family, value: int) -> bool:
        return intervals.contains(self.of(family), value)

    def union(self, *others: "AddressSet") -> "AddressSet":
        return AddressSet(
            intervals.union(self.v4, *(other.v4 for other in others)),
            intervals.union(self.v6, *(other.v6 for other in others)),
        )

    def intersection(self, other: "AddressSet") -> "AddressSet":
        return AddressSet(
            intervals.intersection(self.v4, other.v4), intervals.intersection(self.v6, other.v6)
        )

    def difference(self, other: "AddressSet") -> "AddressSet":
        return AddressSet(
            intervals.difference(self.v4, other.v4), intervals.difference(self.v6, other.v6)
        )

    def overlaps(self, other: "AddressSet") -> bool:
        return intervals.overlaps(self.v4, other.v4) or intervals.overlaps(self.v6, other.v6)

    def cidrs(self) -> tuple[str, ...]:
        """Return the fewest disjoint CIDRs, in address order, IPv4 first; hosts as /32, /128."""
        return tuple(
            [prefix_text(4, value, bits) for value, bits in prefixes(4, self.v4)]
            + [prefix_text(6, value, bits) for value, bits in prefixes(6, self.v6)]
        )


NOWHERE: Final = AddressSet()


def parse_address(text: str) -> tuple[Family, int]:
    """Return an address's family and value; ValueError if it is none."""
    address = ipaddress.ip_address(text)
    return (4 if address.version == 4 else 6), int(address)


def parse_cidrs(cidrs: Iterable[str]) -> AddressSet:
    """Return the union of CIDRs or single addresses; ValueError on one that is none.

    Bits beyond a prefix are an error, as everywhere in Hanse.
    """
    ranges: dict[Family, list[tuple[int, int]]] = {4: [], 6: []}
    for text in cidrs:
        network = ipaddress.ip_network(text)
        family: Family = 4 if network.version == 4 else 6
        first = int(network.network_address)
        ranges[family].append((first, first + network.num_addresses - 1))
    return AddressSet(intervals.from_ranges(ranges[4]), intervals.from_ranges(ranges[6]))


def prefix_range(text: str) -> tuple[Family, int, int]:
    """Return the family of a CIDR in canonical form, and its addresses from first to beyond the
    last; ValueError if it is none.  Far faster than ipaddress.
    """
    address, _, length = text.partition("/")
    family: Family = 6 if ":" in address else 4
    try:
        value = int.from_bytes(socket.inet_pton(_SOCKET_FAMILY[family], address), "big")
        size = 1 << BITS[family] - int(length)
    except (OSError, ValueError) as exc:
        raise ValueError(f"{text!r} is no CIDR") from exc
    if value & (size - 1):
        raise ValueError(f"{text!r} has bits beyond its prefix")
    return family, value, value + size


def canonical_addresses(texts: Iterable[str]) -> AddressSet:
    """Return the union of CIDRs in canonical form; ValueError on one that is none."""
    ranges: dict[Family, list[tuple[int, int]]] = {4: [], 6: []}
    for text in texts:
        family, start, end = prefix_range(text)
        ranges[family].append((start, end - 1))
    return AddressSet(intervals.from_ranges(ranges[4]), intervals.from_ranges(ranges[6]))


def host_set(hosts: Iterable[tuple[Family, int]]) -> AddressSet:
    """Return the set of single addresses, given by family and value."""
    ranges: dict[Family, list[tuple[int, int]]] = {4: [], 6: []}
    for family, value in hosts:
        ranges[family].append((value, value))
    return AddressSet(intervals.from_ranges(ranges[4]), intervals.from_ranges(ranges[6]))


def format_address(family: Family, value: int) -> str:
    # inet_ntop prints RFC 5952 form and is far faster than ipaddress.
    if family == 4:
        return socket.inet_ntop(socket.AF_INET, value.to_bytes(4, "big"))
    return str(ipaddress.IPv6Address(value))


def prefixes(family: Family, runs: Intervals) -> Iterator[tuple[int, int]]:
    """Yield (network value, prefix length), the fewest that cover each run."""
    return blocks(BITS[family], runs)


def blocks(width: int, runs: Intervals) -> Iterator[tuple[int, int]]:
    """Yield (value, length) of the fewest prefixes that cover runs of numbers of `width` bits."""
    for start, end in zip(runs[::2], runs[1::2], strict=True):
        first = start
        while first < end:
            # The largest aligned block at `first` that doesn't pass `end`.
            aligned = (first & -first).bit_length() - 1 if first else width
            bits = min(aligned, (end - first).bit_length() - 1)
            yield first, width - bits
            first += 1 << bits


def prefix_text(family: Family, value: int, length: int) -> str:
    return f"{format_address(family, value)}/{length}"
