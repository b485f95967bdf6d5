"""Network services in a loaded site: which nodes balance, and what.

Balancers are few, and each is worked out anew when something changes that any may depend on; a
site without a ServicePolicy pays nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from shared.algebra.cidrs import AddressSet, canonical_addresses, host_set
from shared.model.selectors import Selector
from shared.model.traffic import PORT_PROTOCOLS
from shared.policy.balancers import SERVICE, Balancers
from shared.policy.balancing import EVERY_PORT, KIND, node_balancers, planned_balancers
from shared.policy.loaded.names import Names
from shared.policy.loaded.nodes import LoadedNode
from shared.policy.loaded.source import LoadedDefinitions
from shared.policy.loaded.workloads import WorkloadTable, hosts_of
from shared.policy.scopes import Chain
from shared.policy.services import KIND as SERVICE_POLICY
from shared.policy.services import requirements

NamesOf = Callable[[str], Names]
"""Gives the view of a node."""


class LoadedBalancing:
    """Says which nodes run the service, and gives each of them what it balances."""

    def __init__(
        self,
        definitions: LoadedDefinitions,
        workloads: WorkloadTable,
        able: Callable[[str], bool],
    ) -> None:
        """`able` says whether a node's agent can balance at all."""
        self._definitions: Final = definitions
        self._workloads: Final = workloads
        self._able: Final = able
        self._running: set[str] = set()

    @property
    def is_wanted(self) -> bool:
        """Whether any node may run the service, or has to stop."""
        return bool(self._running) or any(True for _ in self._definitions.names(SERVICE_POLICY))

    def choose(self, declared: Mapping[str, Iterable[str]], names_of: NamesOf) -> None:
        """Find out which of the admitted nodes run the service, by what they declare."""
        allowed: dict[Chain, bool] = {}
        self._running = set()
        for node, services in declared.items():
            if SERVICE not in services or not self._able(node):
                continue
            view = names_of(node)
            if view.chain not in allowed:
                policies = self._definitions.names(SERVICE_POLICY)
                needed = requirements(view.inheritance, policies, view.chain)
                allowed[view.chain] = SERVICE in needed.services
            if allowed[view.chain]:
                self._running.add(node)

    def distribute(
        self, nodes: Mapping[str, LoadedNode], names_of: NamesOf, *, loading: bool
    ) -> None:
        """Give every node what it balances now."""
        found: dict[Chain, Balancers] = {}
        for name, node in nodes.items():
            wanted: Balancers | None = None
            if name in self._running:
                view = names_of(name)
                if view.chain not in found:
                    found[view.chain] = self._balancers(view)
                wanted = found[view.chain]
            if loading:
                node.balance_at_load(wanted)
            elif node.balancers != wanted:
                node.change_balancers(wanted)

    def _balancers(self, names: Names) -> Balancers:
        sees = _Sees(names, self._workloads)
        every = self._definitions.names(KIND)
        return node_balancers(planned_balancers(names.inheritance, every, names.chain, sees))


class _Sees:
    """A loaded view's names as balancers ask them: see shared.policy.balancing.Sees."""

    def __init__(self, names: Names, workloads: WorkloadTable) -> None:
        self._names = names
        self._workloads = workloads

    def network(self, tenant: str, name: str) -> tuple[str, AddressSet | None]:
        meant = self._names.lookup("Network", tenant, name)
        (subnets,) = self._names.subnets(tenant, [name])
        return meant.tenant, canonical_addresses(subnets) if subnets else None

    def ports(self, tenant: str, service: str) -> Sequence[tuple[int, tuple[int, int]]] | None:
        found = self._names.matches(tenant, ({"service": service},))
        if found == ():
            return None
        return [
            (each.protocol, ports)
            for each in found or ()
            if each.protocol in PORT_PROTOCOLS and each.source_ports is None
            for ports in ([EVERY_PORT] if each.ports is None else each.ports)
        ]

    def workloads(self, tenant: str, selector: Selector) -> AddressSet:
        selected = self._workloads.select(tenant, selector)
        return host_set(host for source in selected for host in hosts_of(source))
