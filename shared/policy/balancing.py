"""What LoadBalancers come to along one chain: virtual addresses, ports and backends.

A balancer is inherited like a policy: its nearest definition wins whole, and an Override stands in
its place.  What can't be led anywhere exactly is left out and told as a gap, never guessed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol, cast

from shared.algebra import intervals
from shared.algebra.cidrs import AddressSet, format_address, host_set
from shared.model.balancing import BalancedPort, LoadBalancer
from shared.model.policy import Peer, RuleService
from shared.model.selectors import Selector
from shared.model.traffic import PORT_PROTOCOLS, PROTOCOL_NUMBERS, Ports, protocol_text
from shared.policy.balancers import Balancers, NodeBalancer, balancer_id
from shared.policy.definitions import Name
from shared.policy.inherit import Effective, Inheritance
from shared.policy.resolve import View
from shared.policy.scopes import Chain

KIND: Final = "LoadBalancer"
MOST_ADDRESSES: Final = 16
EVERY_PORT: Final = (0, 65535)

PortRange = tuple[int, int]
Why = Literal[
    "unresolved_network",
    "foreign_network",
    "too_many_addresses",
    "not_in_network",
    "unresolved_service",
    "no_ports",
    "address_taken",
    "no_backends",
]
"""Why a part of a balancer does nothing."""


class Sees(Protocol):
    """What balancers ask of a chain's view."""

    def network(self, tenant: str, name: str) -> tuple[str, AddressSet | None]:
        """Return the tenant whose network a balancer of `tenant` means, and its addresses; None
        if the name has no meaning.
        """

    def ports(self, tenant: str, service: str) -> Sequence[tuple[int, PortRange]] | None:
        """Return a Service's protocols that have ports, with them; None without a meaning.

        What asks for certain source ports too is left out: a balancer can't tell them.
        """

    def workloads(self, tenant: str, selector: Selector) -> AddressSet:
        """Return the addresses of workloads."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that a balancer names and can't have; `at` is the field, `what` the name."""

    why: Why
    at: str
    what: str


@dataclass(frozen=True, slots=True)
class Port:
    """One port or range that is balanced; `target` None is the one that was asked."""

    protocol: int
    ports: PortRange
    target: int | None


@dataclass(frozen=True, slots=True, eq=False)
class PlannedBalancer:
    """One balancer in force along a chain."""

    name: Name
    effective: Effective
    addresses: AddressSet = field(default_factory=AddressSet)
    ports: tuple[Port, ...] = ()
    backends: AddressSet = field(default_factory=AddressSet)
    gaps: tuple[Gap, ...] = ()

    @property
    def spec(self) -> LoadBalancer:
        return cast("LoadBalancer", self.effective.spec)


def planned_balancers(
    inheritance: Inheritance, names: Iterable[Name], chain: Chain, sees: Sees
) -> tuple[PlannedBalancer, ...]:
    """Return the balancers of these names that are in force along a chain, by tenant and name."""
    found = []
    for name in sorted(names):
        effective = inheritance.choose(name, chain).effective
        if effective is not None and isinstance(effective.spec, LoadBalancer):
            found.append(_planned(name, effective, effective.spec, sees))
    return tuple(found)


def node_balancers(planned: Iterable[PlannedBalancer]) -> Balancers:
    """Return balancers as nodes get them.

    Where two claim one port of an address, the first by tenant and name has it.  What is a virtual
    address is nobody's backend.
    """
    planned = tuple(planned)
    virtual = AddressSet().union(*(each.addresses for each in planned))
    result = []
    for each, _, found in _claims(planned):
        backends = each.backends.difference(virtual)
        for address, port in found:
            family = 6 if ":" in address else 4
            result.append(
                NodeBalancer(
                    id=balancer_id(*each.name[1:], address, port.protocol, port.ports),
                    tenant=each.name.tenant,
                    name=each.name.name,
                    address=address,
                    protocol=port.protocol,
                    ports=port.ports,
                    target=port.target,
                    algorithm=each.spec.algorithm,
                    backends=tuple(hosts(backends, 6 if family == 6 else 4)),
                )
            )
    return tuple(sorted(result, key=lambda each: each.id))


def with_clashes(planned: Iterable[PlannedBalancer]) -> tuple[PlannedBalancer, ...]:
    """Return balancers with the gaps that come of others beside them."""
    return tuple(
        replace(each, gaps=(*each.gaps, *clashes)) for each, clashes, _ in _claims(planned)
    )


def hosts(addresses: AddressSet, family: Literal[4, 6]) -> Iterator[str]:
    """Yield each address of a family, in order."""
    for first, last in intervals.to_ranges(addresses.of(family)):
        for value in range(first, last + 1):
            yield format_address(family, value)


def balancer_json(planned: PlannedBalancer) -> dict[str, Any]:
    """Return a balancer as `hanse resolve` shows it."""
    return {
        "balancer": planned.name.name,
        "tenant": planned.name.tenant,
        "origin": planned.effective.origin,
        "algorithm": planned.spec.algorithm,
        "addresses": [*hosts(planned.addresses, 4), *hosts(planned.addresses, 6)],
        "ports": [
            {
                "protocol": protocol_text(each.protocol),
                "ports": str(Ports(*each.ports)),
                **({} if each.target is None else {"targetPort": each.target}),
            }
            for each in planned.ports
        ],
        "backends": [*hosts(planned.backends, 4), *hosts(planned.backends, 6)],
        "lacks": [{"why": each.why, "field": each.at, "what": each.what} for each in planned.gaps],
    }


class ViewSees:
    """A planner's View as balancers ask it."""

    def __init__(self, view: View) -> None:
        self._view = view

    def network(self, tenant: str, name: str) -> tuple[str, AddressSet | None]:
        meant, used = self._view.network(tenant, name)
        if used is None:
            return meant.tenant, None
        return meant.tenant, self._view.network_addresses(meant, used.effective)

    def ports(self, tenant: str, service: str) -> Sequence[tuple[int, PortRange]] | None:
        found = self._view.services(tenant, (RuleService(service=service),))
        if found.missing:
            return None
        return [
            (each.protocol, (first, last))
            for each in found.matches or ()
            if each.protocol in PORT_PROTOCOLS and each.source_ports is None
            for first, last in (
                [EVERY_PORT] if each.ports is None else intervals.to_ranges(each.ports)
            )
        ]

    def workloads(self, tenant: str, selector: Selector) -> AddressSet:
        return self._view.peer(tenant, Peer(workloads=selector)).addresses


def _planned(name: Name, effective: Effective, spec: LoadBalancer, sees: Sees) -> PlannedBalancer:
    gaps: list[Gap] = []
    addresses = _addresses(name.tenant, spec, sees, gaps)
    ports: list[Port] = []
    for place, port in enumerate(spec.ports):
        ports += _ports(name.tenant, place, port, sees, gaps)
    backends = sees.workloads(name.tenant, spec.backends.workloads)
    if not backends:
        gaps.append(Gap("no_backends", "backends", "workloads"))
    return PlannedBalancer(name, effective, addresses, tuple(ports), backends, tuple(gaps))


def _addresses(tenant: str, spec: LoadBalancer, sees: Sees, gaps: list[Gap]) -> AddressSet:
    owner, network = sees.network(tenant, spec.network)
    if network is None:
        gaps.append(Gap("unresolved_network", "network", spec.network))
        return AddressSet()
    if owner != tenant:
        gaps.append(Gap("foreign_network", "network", spec.network))
        return AddressSet()
    if not spec.addresses:
        if _count(network) > MOST_ADDRESSES:
            gaps.append(Gap("too_many_addresses", "network", spec.network))
            return AddressSet()
        return network
    wanted = host_set((4 if each.version == 4 else 6, int(each)) for each in spec.addresses)
    gaps += (
        Gap("not_in_network", "addresses", str(each))
        for each in spec.addresses
        if not network.contains(4 if each.version == 4 else 6, int(each))
    )
    return wanted.intersection(network)


def _count(addresses: AddressSet) -> int:
    return sum(
        last - first + 1
        for family in (addresses.v4, addresses.v6)
        for first, last in intervals.to_ranges(family)
    )


def _ports(
    tenant: str, place: int, port: BalancedPort, sees: Sees, gaps: list[Gap]
) -> Iterator[Port]:
    if port.service is None:
        assert port.protocol is not None
        assert port.port is not None, "they go together"
        ports = (port.port.first, port.port.last)
        yield Port(PROTOCOL_NUMBERS[port.protocol], ports, port.target_port)
        return
    found = sees.ports(tenant, port.service)
    if not found:
        why: Why = "unresolved_service" if found is None else "no_ports"
        gaps.append(Gap(why, f"ports[{place}].service", port.service))
    for protocol, ports in found or ():
        yield Port(protocol, ports, port.target_port)


_Claim = tuple[PlannedBalancer, tuple[Gap, ...], list[tuple[str, Port]]]


def _claims(planned: Iterable[PlannedBalancer]) -> Iterator[_Claim]:
    """Yield balancers with what they can't have since others have it, and what they have."""
    taken: dict[tuple[str, int], list[tuple[PortRange, Name]]] = {}
    for each in planned:
        gaps: dict[Gap, None] = {}
        found = []
        for address in (*hosts(each.addresses, 4), *hosts(each.addresses, 6)):
            for port in each.ports:
                held = taken.setdefault((address, port.protocol), [])
                holder = next((by for ports, by in held if _meet(ports, port.ports)), None)
                if holder is None:
                    held.append((port.ports, each.name))
                    found.append((address, port))
                elif holder != each.name:
                    gaps[Gap("address_taken", "ports", address)] = None
        yield each, tuple(gaps), found


def _meet(one: PortRange, other: PortRange) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]
