"""Addresses that two tenants claim at one site."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shared.algebra import intervals
from shared.algebra.cidrs import AddressSet, Family, format_address
from shared.ids import COMMON
from shared.policy.compile import SitePlanner
from shared.policy.faults.fault import Fault
from shared.policy.inputs import Document, SiteInputs
from shared.policy.resolve import host_addresses


class Claim(NamedTuple):
    """What a document says is a tenant's; nearness orders which of two is at fault."""

    tenant: str
    document: Document
    path: str
    addresses: AddressSet


def address_taken(inputs: SiteInputs, planner: SitePlanner | None = None) -> Iterator[Fault]:
    """Yield the overlaps of two tenants' addresses over all views of a site.

    Addresses of tenant common may overlap all.  Each overlapping pair of documents that
    a sweep meets is reported at the local one of the two, or at the one claimed later.
    """
    claims = list(_claims(planner or SitePlanner(inputs)))
    reported = set()
    for family in (4, 6):
        for value, one, other in _overlaps(claims, 4 if family == 4 else 6):
            first, second = sorted((one, other))
            if (first, second) in reported:
                continue
            reported.add((first, second))
            taken, fault = claims[first], claims[second]
            yield Fault(
                fault.document,
                fault.path,
                "address_taken",
                f"{format_address(4 if family == 4 else 6, value)} belongs to tenant "
                f"{taken.tenant} ({taken.document.key}); two tenants can't share addresses",
                others=(taken.document,),
            )


def _claims(planner: SitePlanner) -> Iterator[Claim]:
    """Yield what is claimed in any view: inherited networks, local ones, workloads."""
    found: dict[tuple[Document, str], Claim] = {}
    names = [name for name in planner.definitions.names("Network") if name.tenant != COMMON]
    if names:
        nodes = [each[0] for each in planner.distinct_nodes().values()]
        for node in (None, *nodes):
            view = planner.view(node)
            for name in names:
                effective = view.definition(name)
                if effective is not None:
                    source = effective.source
                    path = "spec.subnets" if effective.override is None else "spec.spec.subnets"
                    addresses = view.network_addresses(name, effective)
                    found[source, name.tenant] = Claim(name.tenant, source, path, addresses)
    yield from sorted(found.values(), key=lambda claim: claim.document.origin == "local")
    for document in planner.workloads.documents:
        if document.key.tenant != COMMON:
            addresses = host_addresses((document,))
            yield Claim(document.key.tenant, document, "spec.addresses", addresses)


def _overlaps(claims: Iterable[Claim], family: Family) -> Iterator[tuple[int, int, int]]:
    """Yield a shared address and the two claims of different tenants that share it.

    One sweep in address order, holding for the tenant whose run reaches furthest, and for the
    best of the others, that run.
    """
    runs = sorted(
        (first, last, place, claim.tenant)
        for place, claim in enumerate(claims)
        for first, last in intervals.to_ranges(claim.addresses.of(family))
    )
    furthest: dict[str, tuple[int, int]] = {}
    for first, last, place, tenant in runs:
        for other, (reach, holder) in furthest.items():
            if other != tenant and reach >= first:
                yield first, holder, place
        if tenant not in furthest or furthest[tenant][0] < last:
            furthest.pop(tenant, None)
            furthest[tenant] = (last, place)
        for other in [each for each, (reach, _) in furthest.items() if reach < first]:
            del furthest[other]
