"""Peers: what one reference of a tenant's policies stands for, and follows.

A change comes down as *windows*: ranges outside of which nothing has changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from shared.algebra import intervals
from shared.algebra.cidrs import (
    BITS,
    NOWHERE,
    AddressSet,
    Family,
    canonical_addresses,
    host_set,
    prefix_text,
)
from shared.algebra.intervals import Intervals
from shared.model.selectors import Selector
from shared.policy.definitions import Name

if TYPE_CHECKING:
    from shared.policy.loaded.sides import Side

FAMILIES: Final[tuple[Family, ...]] = (4, 6)


class Window(NamedTuple):
    """Addresses from `start` to before `end`."""

    family: Family
    start: int
    end: int


def windows_between(before: AddressSet, after: AddressSet) -> list[Window]:
    """Return where two sets differ."""
    found = []
    for family in FAMILIES:
        old, new = before.of(family), after.of(family)
        if old != new:
            for part in (intervals.difference(old, new), intervals.difference(new, old)):
                found += [Window(family, start, end) for start, end in pairs(part)]
    return found


def pairs(values: Intervals) -> Iterable[tuple[int, int]]:
    """Return the runs of a set, half-open."""
    return zip(values[::2], values[1::2], strict=True)


class Meaning:
    """What the name of a network means in a view: its definition's subnets, VLAN and labels."""

    __slots__ = ("_addresses", "labels", "subnets", "vlan")

    def __init__(
        self, subnets: Sequence[str], labels: Mapping[str, str], vlan: int | None = None
    ) -> None:
        self.subnets = subnets
        self.labels = labels
        self.vlan = vlan
        self._addresses: AddressSet | None = None

    @property
    def addresses(self) -> AddressSet:
        if self._addresses is None:
            self._addresses = canonical_addresses(self.subnets)
        return self._addresses

    def says(self, other: "Meaning") -> bool:
        """Return whether the two mean the same."""
        return (list(self.subnets), self.labels, self.vlan) == (
            list(other.subnets),
            other.labels,
            other.vlan,
        )


PeerKind = Literal["network", "networks", "workloads", "cidr"]


_NO_HOSTS: Final[dict[tuple[Family, int], int]] = {}


class Peer:
    """What one reference of a tenant's policies stands for.

    `members` are the networks that it takes in, by name; `hosts` counts, by family and address,
    the workloads that it selects.
    """

    __slots__ = (
        "_addresses",
        "fixed",
        "hosts",
        "kind",
        "members",
        "name",
        "selector",
        "sides",
        "tenant",
        "text",
    )

    def __init__(self, tenant: str, text: str, kind: PeerKind) -> None:
        self.tenant = tenant
        self.text = text
        self.kind = kind
        self.name = ""
        self.selector: Selector | None = None
        self.fixed = ""
        self.members: dict[Name, Meaning] = {}
        self.hosts = _NO_HOSTS if kind == "network" else {}
        self.sides: dict[Side, None] = {}
        self._addresses: AddressSet | None = None

    def cidrs(self) -> Sequence[str]:
        """Return CIDRs that make up the addresses; they may overlap and repeat."""
        if self.kind == "cidr":
            return (self.fixed,)
        if self.kind == "workloads":
            return [prefix_text(family, value, BITS[family]) for family, value in self.hosts]
        if len(self.members) == 1:
            return next(iter(self.members.values())).subnets
        return [cidr for member in self.members.values() for cidr in member.subnets]

    @property
    def addresses(self) -> AddressSet:
        if self._addresses is None:
            self._addresses = self._union()
        return self._addresses

    def change_member(self, name: Name, meaning: Meaning | None) -> list[Window]:
        """Take in another meaning of a network, or none; return where addresses changed."""
        before = self.members.get(name)
        if before is meaning:
            return []
        old = self.addresses
        if meaning is None:
            del self.members[name]
        else:
            self.members[name] = meaning
        windows = windows_between(
            NOWHERE if before is None else before.addresses,
            NOWHERE if meaning is None else meaning.addresses,
        )
        self._addresses = old
        for window in windows:
            inside = [
                intervals.within(member.addresses.of(window.family), window.start, window.end)
                for member in self.members.values()
            ]
            self._replace(window, intervals.union(*inside))
        return windows

    def change_hosts(
        self, gone: Iterable[tuple[Family, int]], come: Iterable[tuple[Family, int]]
    ) -> list[Window]:
        """Let hosts go and come; return where addresses changed."""
        _ = self.addresses
        touched: dict[tuple[Family, int], bool] = {}
        for host in gone:
            touched.setdefault(host, host in self.hosts)
            self.hosts[host] -= 1
            if not self.hosts[host]:
                del self.hosts[host]
        for host in come:
            touched.setdefault(host, host in self.hosts)
            self.hosts[host] = self.hosts.get(host, 0) + 1
        windows = []
        for host, was in touched.items():
            if was != (host in self.hosts):
                window = Window(host[0], host[1], host[1] + 1)
                self._replace(window, () if was else (window.start, window.end))
                windows.append(window)
        return windows

    def _replace(self, window: Window, inside: Intervals) -> None:
        assert self._addresses is not None, "addresses are known before they change"
        values = self._addresses.of(window.family)
        new, _, _ = intervals.replace(values, window.start, window.end, inside)
        self._addresses = with_family(self._addresses, window.family, new)

    def _union(self) -> AddressSet:
        if self.kind == "cidr":
            return canonical_addresses((self.fixed,))
        if self.kind == "workloads":
            return host_set(self.hosts)
        found = [member.addresses for member in self.members.values()]
        return found[0].union(*found[1:]) if found else NOWHERE


def with_family(addresses: AddressSet, family: Family, values: Intervals) -> AddressSet:
    if family == 4:
        return AddressSet(values, addresses.v6)
    return AddressSet(addresses.v4, values)
