"""Faults of LoadBalancers: what they name, and the addresses that they claim."""

from collections.abc import Callable, Iterator
from typing import Final, Literal

from shared.ids import COMMON
from shared.model.balancing import LoadBalancer
from shared.model.selectors import Selector
from shared.policy.balancing import MOST_ADDRESSES, Gap, PlannedBalancer, ViewSees
from shared.policy.compile import SitePlanner
from shared.policy.definitions import read_exemption
from shared.policy.faults.fault import Fault, unknown
from shared.policy.inputs import Document, Documents, SiteInputs

Declared = Callable[[str, str, str], bool]
"""Answers for a kind, tenant and name."""


def balancer_references(
    spec: LoadBalancer, root: str = "spec"
) -> Iterator[tuple[str, Literal["Network", "Service"], str]]:
    """Yield the path, kind and name of each network and service that a balancer names."""
    yield f"{root}.network", "Network", spec.network
    for place, port in enumerate(spec.ports):
        if port.service is not None:
            yield f"{root}.ports[{place}].service", "Service", port.service


def balancer_names(
    document: Document,
    spec: LoadBalancer,
    tenant: str,
    declared: Declared,
    *,
    root: str = "spec",
    hint: str = "",
) -> Iterator[Fault]:
    """Yield the names that aren't declared for a balancer of this tenant.

    Its network must be the tenant's own: nobody else's addresses are its to claim.
    """
    for path, kind, name in balancer_references(spec, root):
        owners = {tenant} if kind == "Network" else {tenant, COMMON}
        if not any(declared(kind, owner, name) for owner in owners):
            own = f"of tenant {tenant} " if kind == "Network" and tenant != COMMON else ""
            yield unknown(document, path, kind, name, f"{own}{hint}")


def balancer_addresses(document: Document, spec: LoadBalancer) -> Iterator[Fault]:
    """Yield the addresses in a global balancer, which may hold none."""
    for place, address in enumerate(spec.addresses):
        yield Fault(
            document,
            f"spec.addresses[{place}]",
            "address_in_global_policy",
            f"a global balancer holds the address {address}; leave addresses out, and let each "
            f"site define Network {spec.network} as the hosts that it means there",
        )


def local_balancer_faults(
    inputs: SiteInputs, planner: SitePlanner, declared: Declared
) -> Iterator[Fault]:
    """Yield the faults of a site's own balancers, and of addresses that two claim."""
    yield from _names(inputs.local, declared)
    if planner.places.document is None or not planner.has_balancers:
        return
    seen = set()
    for node in (None, *(nodes[0] for nodes in planner.distinct_nodes().values())):
        planned = planner.balancers(node)
        for each in planned:
            for fault in (*_gaps(each), *_workloads(each, planner, node)):
                if (fault.key, fault.path, fault.message) not in seen:
                    seen.add((fault.key, fault.path, fault.message))
                    yield fault


def _names(local: Documents, declared: Declared) -> Iterator[Fault]:
    hint = "at this site or upstream"
    for document in local.of_kind("LoadBalancer"):
        if isinstance(document.spec, LoadBalancer):
            yield from balancer_names(
                document, document.spec, document.key.tenant, declared, hint=hint
            )
    for document in local.of_kind("Override"):
        found = read_exemption(document)
        if found is not None and isinstance(found.spec, LoadBalancer):
            tenant = found.terms.target.tenant
            yield from balancer_names(
                document, found.spec, tenant, declared, root="spec.spec", hint=hint
            )


_REFUSED: Final = frozenset({"not_in_network", "too_many_addresses", "address_taken"})
"""What is refused when it is written; other gaps are told by the site."""


def _gaps(planned: PlannedBalancer) -> Iterator[Fault]:
    network = planned.spec.network
    for gap in planned.gaps:
        document, path = _place(planned, gap.at)
        if gap.why == "not_in_network":
            message = f"{gap.what} is no address of Network {network} here; choose one that is"
            yield Fault(document, path, "not_in_network", message)
        elif gap.why == "too_many_addresses":
            message = (
                f"Network {network} has more than {MOST_ADDRESSES} addresses here; say in "
                "addresses which of them are balanced, or let it be those hosts only"
            )
            yield Fault(document, path, "too_many_addresses", message)
        elif gap.why == "address_taken":
            message = (
                f"a port of {gap.what} is balanced by another LoadBalancer already; choose another "
                "address or port"
            )
            yield Fault(document, path, "address_taken", message)


def _workloads(planned: PlannedBalancer, planner: SitePlanner, node: str | None) -> Iterator[Fault]:
    """Yield a fault if a virtual address is a workload's, whoever's that is."""
    every = ViewSees(planner.view(node)).workloads(COMMON, Selector())
    taken = planned.addresses.intersection(every)
    if taken:
        message = f"{taken.cidrs()[0]} is a workload's address, so it can't be a virtual one"
        field = "addresses" if planned.spec.addresses else "network"
        yield Fault(*_place(planned, field), "address_taken", message)


def _place(planned: PlannedBalancer, field: str) -> tuple[Document, str]:
    root = "spec" if planned.effective.override is None else "spec.spec"
    return planned.effective.source, f"{root}.{field}"


def gap_warnings(inputs: SiteInputs, planner: SitePlanner) -> Iterator[Fault]:
    """Yield what balancers lack at the site and may yet come, each once."""
    if not planner.has_balancers:
        return
    seen = set()
    for node in (None, *(nodes[0] for nodes in planner.distinct_nodes().values())):
        for each in planner.balancers(node):
            for gap in each.gaps:
                place = each.effective.source.key, gap
                if gap.why not in _REFUSED and place not in seen:
                    seen.add(place)
                    yield _lack(gap, *_place(each, gap.at), inputs.site)


def _lack(gap: Gap, document: Document, path: str, site: str) -> Fault:
    if gap.why == "no_backends":
        message = f"no workload is selected at site {site}: whoever connects is refused"
        return Fault(document, path, "no_backends", message)
    if gap.why == "no_ports":
        message = f"Service {gap.what} has no ports that can be balanced at site {site}"
        return Fault(document, path, "no_ports", message)
    means = "nothing of the tenant's own" if gap.why == "foreign_network" else "nothing"
    message = f"{gap.what} means {means} at site {site}: that part does nothing there"
    return Fault(document, path, "unresolved_name", message)
