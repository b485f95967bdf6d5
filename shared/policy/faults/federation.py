"""Faults of the federation's documents, as far as the FSM can know them."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from shared.ids import COMMON, FEDERATION, Key
from shared.model.balancing import LoadBalancer
from shared.model.inventory import Site
from shared.model.policy import SecurityPolicy
from shared.model.policytest import PolicyTest
from shared.policy.faults.addresses import address_taken
from shared.policy.faults.balancing import balancer_addresses, balancer_names
from shared.policy.faults.fault import Fault, unknown
from shared.policy.faults.placement import duplicates, placement, regions
from shared.policy.faults.references import addresses, reserved_priority, unknown_names
from shared.policy.faults.roles import role_faults
from shared.policy.inherit import is_mandatory, is_sealed
from shared.policy.inputs import Document, Documents, SiteInputs, is_inherited_scope
from shared.policy.scopes import Chain, region_chain, region_parents


def federation_faults(federation: Documents) -> Iterator[Fault]:
    """Yield every fault of the federation's documents."""
    yield from duplicates(federation)
    yield from placement(federation, "fsm", federation)
    yield from regions(federation)
    yield from role_faults(federation)
    chains = _Outwards(federation)
    for document in federation.of_kind("SecurityPolicy"):
        if isinstance(document.spec, SecurityPolicy):
            yield from addresses(document, document.spec)
            yield from reserved_priority(document, document.spec, document.key.tenant)
            yield from _names(document, document.spec, federation, chains)
            yield from _under_mandatory(document, federation, chains)
    for document in federation.of_kind("LoadBalancer"):
        if isinstance(document.spec, LoadBalancer):
            yield from balancer_addresses(document, document.spec)
            yield from _balancer_names(document, document.spec, federation, chains)
    for document in federation.of_kind("Network", "Service"):
        yield from _under_sealed(document, federation, chains)
    yield from policytest_faults(federation, federation)


def policytest_faults(
    tests: Documents, federation: Documents, sites: dict[str, Documents] | None = None
) -> Iterator[Fault]:
    """Yield the unknown sites, and at the `sites` given the unknown nodes, of PolicyTests."""
    for document in tests.of_kind("PolicyTest"):
        spec = document.spec
        assert isinstance(spec, PolicyTest)
        if Key("Site", COMMON, FEDERATION, spec.site) not in federation:
            yield unknown(document, "spec.site", "Site", spec.site)
        elif spec.node is not None and sites is not None:
            node = Key("Node", COMMON, "site", spec.node)
            if node not in sites.get(spec.site, Documents()):
                yield unknown(document, "spec.node", "Node", spec.node, f"at site {spec.site}")


def federation_address_faults(federation: Documents) -> Iterator[Fault]:
    """Yield the overlaps of tenants' inherited subnets, as sites that define none see them.

    A site that defines the names itself may see no overlap; so this is for an FSM, which
    doesn't know sites' definitions, while `validate` looks at each site.
    """
    seen = set()
    reported = set()
    for document in federation.of_kind("Site"):
        assert isinstance(document.spec, Site)
        if document.spec.region not in seen:
            seen.add(document.spec.region)
            # No override is at hand, so that the time doesn't matter.
            long_ago = datetime(1970, 1, 1, tzinfo=UTC)
            inputs = SiteInputs(document.key.name, federation, Documents(), long_ago)
            for fault in address_taken(inputs):
                if fault not in reported:
                    reported.add(fault)
                    yield fault


class _Outwards:
    """The chain from an inherited scope outwards."""

    def __init__(self, federation: Documents) -> None:
        self._parents = region_parents(federation)
        self._chains: dict[str, Chain] = {}

    def of(self, scope: str) -> Chain:
        if scope not in self._chains:
            region = scope.partition("/")[2] if scope != FEDERATION else None
            self._chains[scope] = region_chain(region, self._parents)
        return self._chains[scope]


def _names(
    document: Document, spec: SecurityPolicy, federation: Documents, chains: _Outwards
) -> Iterator[Fault]:
    if is_inherited_scope(document.key.scope):
        declared, hint = _declared(document, federation, chains)
        yield from unknown_names(document, spec, document.key.tenant, declared, hint=hint)


def _balancer_names(
    document: Document, spec: LoadBalancer, federation: Documents, chains: _Outwards
) -> Iterator[Fault]:
    if is_inherited_scope(document.key.scope):
        declared, hint = _declared(document, federation, chains)
        yield from balancer_names(document, spec, document.key.tenant, declared, hint=hint)


def _declared(
    document: Document, federation: Documents, chains: _Outwards
) -> tuple[Callable[[str, str, str], bool], str]:
    """Return what says whether a name is declared for a document, and where that would be."""
    scope = document.key.scope
    chain = chains.of(scope)

    def declared(kind: str, tenant: str, name: str) -> bool:
        return any(Key(kind, tenant, place, name) in federation for place in chain)

    return declared, "in the federation" if scope == FEDERATION else f"in {scope} or further out"


def _under_mandatory(
    document: Document, federation: Documents, chains: _Outwards
) -> Iterator[Fault]:
    for outer in _outer(document, federation, chains):
        if is_mandatory(outer):
            yield mandatory_exists(document, outer)
            return


def mandatory_exists(document: Document, mandatory: Document) -> Fault:
    """Return the fault of bearing an inherited mandatory policy's name."""
    message = (
        f"{mandatory.key} is mandatory, and a nearer policy can't bear its name; "
        "rename this one, or make an Override at a site"
    )
    return Fault(document, "metadata.name", "mandatory_policy_exists", message, others=(mandatory,))


def _under_sealed(document: Document, federation: Documents, chains: _Outwards) -> Iterator[Fault]:
    for outer in _outer(document, federation, chains):
        if is_sealed(outer):
            yield sealed_off(document, outer)
            return


def sealed_off(document: Document, sealed: Document) -> Fault:
    """Return the fault of hiding a sealed definition."""
    message = (
        f"{sealed.key} is sealed, and a nearer definition of its name is refused; "
        "use another name, or make an Override at a site"
    )
    return Fault(document, "metadata.name", "sealed", message, others=(sealed,))


def _outer(document: Document, federation: Documents, chains: _Outwards) -> Iterator[Document]:
    """Yield the definitions of a name in scopes further out than the document's."""
    key = document.key
    if not is_inherited_scope(key.scope):
        return
    for scope in chains.of(key.scope):
        if scope != key.scope and (outer := federation.get(key._replace(scope=scope))):
            yield outer
