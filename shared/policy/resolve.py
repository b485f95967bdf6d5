"""Names and selectors to addresses, as one view sees them, with where each name was defined.

A view is a site's chain at one moment.  What it has resolved it remembers, and nodes whose
chains differ only in scopes without definitions share one.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal, cast

from pyroaring import BitMap

from shared.algebra import intervals
from shared.algebra.cidrs import NOWHERE, AddressSet, Family, host_set
from shared.algebra.labels import LabelIndex, Term
from shared.algebra.ports import PortMatch, group, port_set
from shared.ids import COMMON
from shared.model.inventory import Workload
from shared.model.network import Network, Service
from shared.model.policy import Peer, RuleService
from shared.model.selectors import Selector
from shared.model.traffic import Entry, Ports
from shared.policy.definitions import Definitions, Name
from shared.policy.inherit import Effective, Inheritance
from shared.policy.inputs import Document, Documents
from shared.policy.scopes import Chain

Side = Literal["from", "to", "services"]


@dataclass(frozen=True, slots=True)
class NameUsed:
    """What a reference resolved to; `reference` is `network:NAME` or `service:NAME`."""

    reference: str
    tenant: str
    scope: str
    effective: Effective
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A reference that is unresolved; `index` is its place in its list."""

    side: Side
    index: int
    reference: str


@dataclass(frozen=True, slots=True)
class Addresses:
    """One side of a rule, resolved.  `stands_for` tells sides apart by what they ask for, not by
    what that is now.  `parts`, of which `addresses` is the union, are shared between sides.
    """

    addresses: AddressSet
    stands_for: str
    names: tuple[NameUsed, ...] = ()
    missing: tuple[Missing, ...] = ()
    parts: tuple[AddressSet, ...] = ()


@dataclass(frozen=True, slots=True)
class Services:
    """A rule's services, resolved; `matches` None is any."""

    matches: tuple[PortMatch, ...] | None
    names: tuple[NameUsed, ...] = ()
    missing: tuple[Missing, ...] = ()


ANY_SERVICE: Final = Services(None)


class Workloads:
    """A site's workloads: the same for all of its views."""

    def __init__(self, local: Documents) -> None:
        self.documents: Final[Sequence[Document]] = local.of_kind("Workload")
        self._index = LabelIndex(each.labels for each in self.documents)
        self._by_tenant: dict[str, BitMap] = {}
        for row, document in enumerate(self.documents):
            self._by_tenant.setdefault(document.key.tenant, BitMap()).add(row)
        self._selected: dict[tuple[str, str], AddressSet] = {}

    def select(self, tenant: str, selector: Selector) -> AddressSet:
        """Return the addresses of those that a policy of this tenant means."""
        place = (tenant, selector_text(selector))
        if place not in self._selected:
            rows = self._index.select(selector_terms(selector), among=self._visible(tenant))
            self._selected[place] = host_addresses(self.documents[row] for row in rows)
        return self._selected[place]

    def of_tenant(self, tenant: str) -> AddressSet:
        """Return all addresses of a tenant's own workloads."""
        rows = self._by_tenant.get(tenant, BitMap())
        return host_addresses(self.documents[row] for row in rows)

    def _visible(self, tenant: str) -> BitMap | None:
        if tenant == COMMON:
            return None
        return self._by_tenant.get(tenant, BitMap()) | self._by_tenant.get(COMMON, BitMap())


class View:
    """Resolves what policies name along one chain."""

    def __init__(
        self,
        chain: Chain,
        *,
        inheritance: Inheritance,
        definitions: Definitions,
        workloads: Workloads,
    ) -> None:
        self.chain: Final = chain
        self._inheritance = inheritance
        self._definitions = definitions
        self._workloads = workloads
        self._found: dict[Name, Effective | None] = {}
        self._peers: dict[tuple[str, str], Addresses] = {}
        self._sides: dict[str, AddressSet] = {}
        self._within: dict[str, AddressSet] = {}
        self._sets: dict[Name, AddressSet] = {}
        self._visible: dict[str, BitMap] = {}

    def definition(self, name: Name) -> Effective | None:
        """Return what a network or service means here; None if it is unresolved."""
        if name not in self._found:
            self._found[name] = self._inheritance.definition(name, self.chain)
        return self._found[name]

    def lookup(self, kind: str, tenant: str, name: str) -> Name:
        """Return which name a policy of this tenant means: its own if the chain declares it."""
        own = Name(kind, tenant, name)
        if tenant == COMMON or self._inheritance.declares(own, self.chain):
            return own
        return Name(kind, COMMON, name)

    def declares(self, name: Name) -> bool:
        return self._inheritance.declares(name, self.chain)

    def side(self, tenant: str, side: Side, peers: Sequence[Peer]) -> Addresses:
        """Resolve a rule's `from` or `to`, given as a list."""
        found = [self.peer(tenant, peer) for peer in peers]
        stands_for = f"{tenant}|{'|'.join(sorted({each.stands_for for each in found}))}"
        if stands_for not in self._sides:
            self._sides[stands_for] = found[0].addresses.union(
                *(each.addresses for each in found[1:])
            )
        return Addresses(
            self._sides[stands_for],
            stands_for,
            tuple(name for each in found for name in each.names),
            _missing(side, ((index, each.missing) for index, each in enumerate(found))),
            tuple(part for each in found for part in each.parts or (each.addresses,)),
        )

    def services(self, tenant: str, services: Literal["any"] | Sequence[RuleService]) -> Services:
        """Resolve a rule's services.  One that means any protocol makes the whole any."""
        if services == "any":
            return ANY_SERVICE
        entries: list[Entry | RuleService] = []
        names: list[NameUsed] = []
        missing: list[Missing] = []
        for index, each in enumerate(services):
            if each.service is None:
                entries.append(each)
                continue
            used = self._name("Service", tenant, each.service)
            if used is None:
                missing.append(Missing("services", index, f"service:{each.service}"))
                continue
            names.append(used)
            entries += cast("Service", used.effective.spec).entries
        return Services(port_matches(entries), tuple(names), tuple(missing))

    def within(self, tenant: str) -> AddressSet | None:
        """Return a tenant's own addresses as this view sees them; None (no bound) for common."""
        if tenant == COMMON:
            return None
        if tenant not in self._within:
            networks = [
                self.network_addresses(name, found)
                for name in self._definitions.names("Network")
                if name.tenant == tenant and (found := self.definition(name)) is not None
            ]
            self._within[tenant] = self._workloads.of_tenant(tenant).union(*networks)
        return self._within[tenant]

    def network(self, tenant: str, name: str) -> tuple[Name, NameUsed | None]:
        """Return which network a policy of this tenant means, and what it resolved to."""
        return self.lookup("Network", tenant, name), self._name("Network", tenant, name)

    def network_addresses(self, name: Name, effective: Effective) -> AddressSet:
        if name not in self._sets:
            self._sets[name] = cidr_addresses(cast("Network", effective.spec).subnets)
        return self._sets[name]

    def networks(self, tenant: str, selector: Selector) -> list[tuple[Name, Effective]]:
        """Return the networks that a selector means in a policy of this tenant, by name."""
        names, index = self._network_index
        rows = index.select(selector_terms(selector), among=self._visible_rows(tenant))
        return [names[row] for row in rows]

    def _name(self, kind: str, tenant: str, name: str) -> NameUsed | None:
        meant = self.lookup(kind, tenant, name)
        found = self.definition(meant)
        return None if found is None else _used(meant, found)

    def peer(self, tenant: str, peer: Peer) -> Addresses:
        """Resolve one peer of a policy of this tenant; its `missing` say side `from`."""
        stands_for = peer_text(peer)
        place = (tenant, stands_for)
        if place not in self._peers:
            self._peers[place] = self._resolved(tenant, peer, stands_for)
        return self._peers[place]

    def _resolved(self, tenant: str, peer: Peer, stands_for: str) -> Addresses:
        if peer.network is not None:
            name, used = self.network(tenant, peer.network)
            if used is None:
                gap = Missing("from", 0, stands_for)
                return Addresses(NOWHERE, stands_for, missing=(gap,))
            return Addresses(self.network_addresses(name, used.effective), stands_for, (used,))
        if peer.networks is not None:
            found = self.networks(tenant, peer.networks)
            parts = tuple(self.network_addresses(*each) for each in found)
            names = tuple(_used(*each) for each in found)
            return Addresses(NOWHERE.union(*parts), stands_for, names, parts=parts)
        if peer.workloads is not None:
            return Addresses(self._workloads.select(tenant, peer.workloads), stands_for)
        assert peer.cidr is not None, "a peer is named in exactly one way"
        return Addresses(cidr_addresses((peer.cidr,)), stands_for)

    @cached_property
    def _network_index(self) -> tuple[Sequence[tuple[Name, Effective]], LabelIndex]:
        """The networks that mean something here, by name and tenant, and their labels."""
        found = [
            (name, effective)
            for name in sorted(
                self._definitions.names("Network"), key=lambda each: (each.name, each.tenant)
            )
            if (effective := self.definition(name)) is not None
        ]
        return found, LabelIndex(effective.document.labels for _, effective in found)

    def _visible_rows(self, tenant: str) -> BitMap | None:
        if tenant == COMMON:
            return None
        if tenant not in self._visible:
            self._visible[tenant] = BitMap(
                row
                for row, (name, _) in enumerate(self._network_index[0])
                if name.tenant == tenant
                or (name.tenant == COMMON and not self.declares(Name("Network", tenant, name.name)))
            )
        return self._visible[tenant]


def _used(name: Name, effective: Effective) -> NameUsed:
    vlan = effective.spec.vlan if isinstance(effective.spec, Network) else None
    reference = f"{name.kind.lower()}:{name.name}"
    return NameUsed(reference, name.tenant, effective.scope, effective, vlan)


def _missing(side: Side, found: Iterable[tuple[int, Sequence[Missing]]]) -> tuple[Missing, ...]:
    return tuple(
        Missing(side, index, each.reference) for index, missing in found for each in missing
    )


def port_matches(entries: Iterable[Entry | RuleService]) -> tuple[PortMatch, ...] | None:
    """Return what entries match, grouped; None if one of them is any protocol."""
    matches = []
    for entry in entries:
        if entry.protocol == "any" or entry.protocol is None:
            return None
        matches.append(PortMatch(entry.protocol, _ports(entry.ports), _ports(entry.source_ports)))
    return group(matches)


def _ports(ranges: Sequence[Ports]) -> intervals.Intervals | None:
    return port_set(ranges) if ranges else None


def selector_terms(selector: Selector) -> list[Term]:
    """Return a selector's terms as a label index takes them."""
    equal: list[Term] = [(key, "In", (value,)) for key, value in selector.match_labels.items()]
    return equal + [(each.key, each.operator, each.values) for each in selector.match_expressions]


def selector_text(selector: Selector) -> str:
    """Return a text that selectors share which are written alike up to order."""
    terms = [
        (key, operator, sorted(set(values))) for key, operator, values in selector_terms(selector)
    ]
    return json.dumps(sorted(terms), separators=(",", ":"))


def peer_text(peer: Peer) -> str:
    """Return what a peer asks for: `network:NAME`, `networks:[…]`, `workloads:[…]`, `cidr:…`."""
    if peer.network is not None:
        return f"network:{peer.network}"
    if peer.networks is not None:
        return f"networks:{selector_text(peer.networks)}"
    if peer.workloads is not None:
        return f"workloads:{selector_text(peer.workloads)}"
    return f"cidr:{peer.cidr}"


def cidr_addresses(networks: Iterable[IPv4Network | IPv6Network]) -> AddressSet:
    """Return the union of CIDRs."""
    ranges: dict[Family, list[tuple[int, int]]] = {4: [], 6: []}
    for network in networks:
        first = int(network.network_address)
        last = first + network.num_addresses - 1
        ranges[4 if network.version == 4 else 6].append((first, last))
    return AddressSet(intervals.from_ranges(ranges[4]), intervals.from_ranges(ranges[6]))


def host_addresses(workloads: Iterable[Document]) -> AddressSet:
    """Return the addresses of workloads."""
    return host_set(
        (4 if address.version == 4 else 6, int(address))
        for document in workloads
        for address in cast("Workload", document.spec).addresses
    )
