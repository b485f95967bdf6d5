"""Faults of one site's own documents, beside those that it inherits; and warnings."""

from collections.abc import Iterator, Mapping

from shared.ids import FEDERATION, SITE
from shared.model.inventory import Node
from shared.model.kinds import KINDS
from shared.model.policy import SecurityPolicy
from shared.policy.compile import SitePlanner
from shared.policy.definitions import Definitions, Name, name_of
from shared.policy.faults.addresses import address_taken
from shared.policy.faults.balancing import gap_warnings, local_balancer_faults
from shared.policy.faults.fault import Fault
from shared.policy.faults.federation import mandatory_exists, sealed_off
from shared.policy.faults.overrides import override_faults, targetless
from shared.policy.faults.placement import duplicates, inventory, placement
from shared.policy.faults.references import global_fields, reserved_priority, unknown_names
from shared.policy.faults.roles import role_faults
from shared.policy.inherit import is_mandatory, is_sealed, selects
from shared.policy.inputs import Document, SiteInputs, is_inherited_scope
from shared.policy.plan import Unresolved
from shared.policy.scopes import Chain, group_chain
from shared.policy.services import KNOWN


def site_faults(inputs: SiteInputs, planner: SitePlanner | None = None) -> Iterator[Fault]:
    """Yield every fault of a site's own documents; the federation's own are not looked for."""
    planner = planner or SitePlanner(inputs)
    yield from duplicates(inputs.local)
    yield from placement(inputs.local, "sdsp", inputs.federation)
    yield from inventory(inputs.local)
    yield from role_faults(inputs.local)
    places = planner.places
    if places.document is None:
        message = f"the federation has no Site {inputs.site}; declare it there"
        yield Fault(None, "", "unknown_site", message)
    upstream = places.upstream if places.document is not None else (FEDERATION,)
    names = _Declared(planner.definitions, upstream)
    for document in inputs.local:
        if KINDS[document.key.kind].inheritance in ("policy", "settings"):
            yield from global_fields(document, document.spec)
        if isinstance(document.spec, SecurityPolicy):
            yield from _policy(document, document.spec, planner, upstream, names)
    yield from _sealed(inputs, planner, upstream)
    yield from override_faults(inputs, places.labels, upstream, names)
    yield from local_balancer_faults(inputs, planner, names)
    if places.document is not None:
        yield from address_taken(inputs, planner)


def site_warnings(inputs: SiteInputs, planner: SitePlanner | None = None) -> Iterator[Fault]:
    """Yield what is allowed and rarely meant: overrides without a target, and unresolved names
    in rules that aren't `allow`, each once with the nodes that miss it.
    """
    planner = planner or SitePlanner(inputs)
    if planner.places.document is None:
        return
    yield from targetless(inputs, planner.places.upstream)
    yield from gap_warnings(inputs, planner)
    yield from unknown_services(inputs)
    found: dict[tuple[Document, str], tuple[Unresolved, list[str]]] = {}
    views: list[tuple[str | None, str]] = [(None, f"site {inputs.site}")]
    views += [(nodes[0], ", ".join(nodes)) for nodes in planner.distinct_nodes().values()]
    for node, shown in views:
        for each in planner.plan(node).unresolved:
            if each.rule.action != "allow":
                place = (each.rule.document, each.rule.path(each.missing))
                found.setdefault(place, (each, []))[1].append(shown)
    for (document, path), (each, shown_at) in found.items():
        yield Fault(document, path, "unresolved_name", _gap(each, inputs.site, shown_at))


def _gap(each: Unresolved, site: str, shown_at: list[str]) -> str:
    where = "; ".join(shown_at) if len(shown_at) < 4 else f"site {site} and many nodes"
    effect = "is not installed" if each.rule.empty is not None else "is installed without it"
    return (
        f"{each.missing.reference} means nothing at {where}: rule {each.rule.rule} "
        f"({each.rule.action}) {effect}"
    )


def unknown_services(inputs: SiteInputs) -> Iterator[Fault]:
    """Yield the network services that nodes declare and no agent of this release knows."""
    for document in inputs.local.of_kind("Node"):
        if isinstance(document.spec, Node):
            for place, name in enumerate(document.spec.services):
                if name not in KNOWN:
                    message = (
                        f"no node can run {name}; the services that there are: {', '.join(KNOWN)}"
                    )
                    path = f"spec.services[{place}]"
                    yield Fault(document, path, "unknown_network_service", message)


class _Declared:
    """Whether a name is declared at the site, in whatever scope, or upstream of it."""

    def __init__(self, definitions: Definitions, upstream: Chain) -> None:
        self._definitions = definitions
        self._upstream = frozenset(upstream)

    def __call__(self, kind: str, tenant: str, name: str) -> bool:
        return any(
            scope in self._upstream or not is_inherited_scope(scope)
            for scope in self._definitions.of(Name(kind, tenant, name))
        )


def _policy(
    document: Document,
    spec: SecurityPolicy,
    planner: SitePlanner,
    upstream: Chain,
    declared: _Declared,
) -> Iterator[Fault]:
    tenant = document.key.tenant
    yield from reserved_priority(document, spec, tenant)
    yield from unknown_names(document, spec, tenant, declared, hint="at this site or upstream")
    by_scope = planner.definitions.of(name_of(document.key))
    for inherited in (by_scope[scope] for scope in upstream if scope in by_scope):
        # One that doesn't select the site doesn't exist there, and never reaches an SDSP.
        if is_mandatory(inherited) and selects(inherited, planner.places.labels):
            yield mandatory_exists(document, inherited)
            return


def _sealed(inputs: SiteInputs, planner: SitePlanner, upstream: Chain) -> Iterator[Fault]:
    """Yield local definitions that are nearer than a sealed one on any chain of the site."""
    places = planner.places
    chains = {(SITE, *upstream)}
    chains |= {(*group_chain([name], places.groups), SITE, *upstream) for name in places.groups}
    if places.document is not None:
        chains |= {places.chain(node) for node in places.nodes}
    for document in inputs.local.of_kind("Network", "Service"):
        by_scope = planner.definitions.of(name_of(document.key))
        if len(by_scope) == 1 or not any(map(is_sealed, by_scope.values())):
            continue
        if (sealed := _farther_sealed(document, by_scope, chains)) is not None:
            yield sealed_off(document, sealed)


def _farther_sealed(
    document: Document, by_scope: Mapping[str, Document], chains: set[Chain]
) -> Document | None:
    for chain in sorted(chains):
        if document.key.scope in chain:
            for scope in chain[chain.index(document.key.scope) + 1 :]:
                if scope in by_scope and is_sealed(by_scope[scope]):
                    return by_scope[scope]
    return None
