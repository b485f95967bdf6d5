"""Resolved rules as products of sets, and back to packets.

A product here has four dimensions: source, destination, traffic, source port.  An address is a
place on one line, IPv4 before IPv6; traffic is a protocol's rank × 65,536 + destination port.  A
protocol without ports takes all of its 65,536 places and all source ports, so `any` is everything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from shared.algebra import intervals
from shared.algebra.cidrs import AddressSet
from shared.algebra.intervals import Intervals
from shared.algebra.ports import ALL_PORTS, PORT_PROTOCOLS, PortMatch
from shared.algebra.products import Point, Product
from shared.policy.definitions import Name
from shared.policy.inherit import Tier
from shared.policy.nodeconfig import Packet
from shared.policy.plan import Plan
from shared.policy.resolve import Addresses

Action = Literal["allow", "deny", "reject", "pass"]

_SIX: Final = 1 << 33
"""Where IPv6 addresses begin on the line.  Beyond the end of IPv4, so that no run spans both."""

_ANYWHERE: Final[tuple[Intervals, Intervals]] = ((0, 1 << 32), (_SIX, _SIX + (1 << 128)))
_PORTS: Final = 1 << 16
_ANY_TRAFFIC: Final[Intervals] = (0, 256 * _PORTS)

_FIRST: Final = (6, 17, 132, 1, 58)
_PROTOCOLS: Final = (*_FIRST, *(each for each in range(256) if each not in _FIRST))
"""By rank.  Examples are of the least rank that there is, so those that people know come first."""
_NO_NAMES: Final[frozenset[Name]] = frozenset()
_NONE: Final = (_NO_NAMES, _NO_NAMES)
_RANKS: Final = {protocol: rank for rank, protocol in enumerate(_PROTOCOLS)}


class RuleName(NamedTuple):
    """Which rule, and what it does: what a finding says of a rule."""

    tier: Tier
    tenant: str
    policy: str
    rule: str
    origin: str
    action: Action

    @property
    def is_own(self) -> bool:
        """Whether the site wrote it, and it is no exception to an inherited policy."""
        return self.origin == "local"


@dataclass(frozen=True, slots=True)
class ResolvedRule:
    """What a rule matches.  None is any; with `within`, one end at least lies there."""

    name: RuleName
    source: AddressSet | None
    destination: AddressSet | None
    services: tuple[PortMatch, ...] | None
    within: AddressSet | None = None
    networks: tuple[frozenset[Name], frozenset[Name]] = field(default=_NONE, compare=False)
    """Those that it names as source and as destination; they decide nothing of it."""


def resolved_rules(plan: Plan) -> list[ResolvedRule]:
    """Return the installed rules of a plan, in order of evaluation."""
    return [
        ResolvedRule(
            RuleName(each.tier, each.tenant, each.policy, each.rule, each.origin, each.action),
            None if each.source is None else each.source.addresses,
            None if each.destination is None else each.destination.addresses,
            each.services.matches,
            each.within,
            (_networks(each.source), _networks(each.destination)),
        )
        for each in plan.rules
    ]


def _networks(side: Addresses | None) -> frozenset[Name]:
    if side is None:
        return _NO_NAMES
    names = ((each.reference.partition(":"), each.tenant) for each in side.names)
    return frozenset([Name(kind.capitalize(), tenant, name) for (kind, _, name), tenant in names])


class Products:
    """Makes products of rules.  What many rules share is made once."""

    def __init__(self) -> None:
        self._traffic: Final[
            dict[tuple[PortMatch, ...], Sequence[tuple[Intervals, Intervals]]]
        ] = {}

    def of(self, rule: ResolvedRule) -> tuple[Product, ...]:
        """Return what a rule matches, in parts that may overlap; none if it matches nothing."""
        ends = []
        sides = (_lines(rule.source), _lines(rule.destination), _lines(rule.within))
        for source, destination, within in zip(*sides, strict=True):
            if rule.within is None:
                ends.append((source, destination))
            else:
                ends += _bounded(source, destination, within)
        ends = [each for each in ends if all(each)]
        if not ends:
            return ()
        parts = self._parts(rule.services)
        return tuple(
            [
                (source, destination, traffic, source_ports)
                for source, destination in ends
                for traffic, source_ports in parts
            ]
        )

    def _parts(
        self, matches: tuple[PortMatch, ...] | None
    ) -> Sequence[tuple[Intervals, Intervals]]:
        if matches is None:
            return ((_ANY_TRAFFIC, ALL_PORTS),)
        if matches not in self._traffic:
            self._traffic[matches] = [*_traffic(matches)]
        return self._traffic[matches]


def packet_at(point: Point) -> Packet:
    """Return the packet that a point of a rule's products stands for."""
    source, destination, traffic, source_port = point
    rank, port = divmod(traffic, _PORTS)
    protocol = _PROTOCOLS[rank]
    if protocol not in PORT_PROTOCOLS:
        source_port = port = 0
    if source < _SIX:
        return Packet(4, source, destination, protocol, source_port, port)
    return Packet(6, source - _SIX, destination - _SIX, protocol, source_port, port)


def _lines(addresses: AddressSet | None) -> tuple[Intervals, Intervals]:
    """Return the places on the line of a set's IPv4 and IPv6 addresses."""
    if addresses is None:
        return _ANYWHERE
    return addresses.v4, tuple([value + _SIX for value in addresses.v6])


def _bounded(
    source: Intervals, destination: Intervals, within: Intervals
) -> list[tuple[Intervals, Intervals]]:
    """Return sources with their destinations, of one family, one of which is `within`."""
    own_source = intervals.intersection(source, within)
    own_destination = intervals.intersection(destination, within)
    if own_source == source or own_destination == destination:
        return [(source, destination)]
    return [(own_source, destination), (source, own_destination)]


def _traffic(matches: Sequence[PortMatch]) -> Iterator[tuple[Intervals, Intervals]]:
    """Yield traffic for each set of source ports."""
    groups: dict[Intervals, list[tuple[int, int]]] = {}
    for each in matches:
        start = _RANKS[each.protocol] * _PORTS
        ports: Intervals = ALL_PORTS
        source_ports = ALL_PORTS
        if each.protocol in PORT_PROTOCOLS:
            ports = ALL_PORTS if each.ports is None else each.ports
            source_ports = ALL_PORTS if each.source_ports is None else each.source_ports
        groups.setdefault(source_ports, []).extend(
            (start + first, start + last) for first, last in intervals.to_ranges(ports)
        )
    for source_ports, ranges in groups.items():
        yield intervals.from_ranges(ranges), source_ports
