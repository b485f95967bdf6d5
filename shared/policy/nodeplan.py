"""What each node of a site gets: of its view's rules those that touch its own workloads.

A rule touches a node if some packet with an end at one of the node's workloads matches it; that
is decided exactly.  Nodes with one chain share one plan, and candidates are found by a bisection
for each address, so that a node's cost is its own rules and not the site's.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, cast

from shared.algebra import intervals
from shared.algebra.boxes import FAMILIES
from shared.algebra.cidrs import AddressSet, Family
from shared.algebra.ports import PortMatch
from shared.algebra.rows import AddressCollector
from shared.model.inventory import Node, Workload
from shared.policy.balancers import SERVICE as LOAD_BALANCER
from shared.policy.balancers import Balancers
from shared.policy.balancing import node_balancers
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, SiteInputs
from shared.policy.nodeconfig import NodeConfiguration, NodeRule, NodeService, rule_id
from shared.policy.nodestaged import with_staged
from shared.policy.plan import Plan, PlannedRule
from shared.policy.resolve import Addresses, host_addresses


def node_configuration(inputs: SiteInputs, node: str) -> NodeConfiguration:
    """Return what a node enforces; NotFound (`unknown_node`, `unknown_site`) if there is none."""
    return NodePlanner(SitePlanner(inputs)).configuration(node)


def all_node_configurations(inputs: SiteInputs) -> Mapping[str, NodeConfiguration]:
    """Return what each of a site's admitted nodes enforces, by name."""
    return admitted_configurations(SitePlanner(inputs))


def admitted_configurations(planner: SitePlanner) -> Mapping[str, NodeConfiguration]:
    """Return what each admitted node enforces, by name, with a planner that is at hand."""
    nodes = NodePlanner(planner)
    return {
        name: nodes.configuration(name)
        for name, node in planner.places.nodes.items()
        if _is_admitted(node)
    }


def counting_configurations(planner: SitePlanner) -> Mapping[str, NodeConfiguration]:
    """Return the same, each with what would be enforced if staged policies were."""
    staged = NodePlanner(planner, staged=True)
    return {
        name: with_staged(enforced, staged.configuration(name))
        for name, enforced in admitted_configurations(planner).items()
    }


def unenforced(planner: SitePlanner) -> Iterator[Document]:
    """Yield the workloads that no node enforces for: those without a node, or with one that
    isn't admitted.
    """
    for document in planner.workloads.documents:
        node = cast("Workload", document.spec).node
        if node is None or not _is_admitted(planner.places.nodes.get(node)):
            yield document


class NodePlanner:
    """Makes node configurations; shares the work of nodes with one view."""

    def __init__(self, planner: SitePlanner, *, staged: bool = False) -> None:
        """With `staged`, staged policies count as enforced."""
        self._planner = planner
        self._staged = staged
        self._views: dict[tuple[str, ...], _NodeView] = {}
        self._balancers: dict[tuple[str, ...], Balancers] = {}
        self._workloads: dict[str, list[Document]] = {}
        for document in planner.workloads.documents:
            if (node := cast("Workload", document.spec).node) is not None:
                self._workloads.setdefault(node, []).append(document)

    def configuration(self, node: str) -> NodeConfiguration:
        """Return what a node enforces; nothing if it isn't admitted."""
        chain = self._planner.view(node).chain
        if chain not in self._views:
            self._views[chain] = _NodeView(self._planner.plan(node, staged=self._staged))
        spec = self._planner.places.nodes[node]
        if not _is_admitted(spec):
            return self._views[chain].configuration(node, AddressSet())
        own = host_addresses(self._workloads.get(node, ()))
        found = self._views[chain].configuration(node, own)
        if not self._balances(node, spec):
            return found
        if chain not in self._balancers:
            self._balancers[chain] = node_balancers(self._planner.balancers(node))
        return replace(found, balancers=self._balancers[chain])

    def _balances(self, node: str, spec: Node) -> bool:
        return LOAD_BALANCER in self._planner.requirements(node).runs(spec.services)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A rule as nodes get it, with the sets that it names."""

    rule: NodeRule
    sets: tuple[tuple[str, AddressSet], ...]


class _NodeView:
    """One plan, ready to be narrowed to the workloads of a node."""

    def __init__(self, plan: Plan) -> None:
        self._plan: Final = plan
        sources, destinations = AddressCollector(), AddressCollector()
        for place, rule in enumerate(plan.rules):
            sources.put(_addresses(rule.source), 1 << place)
            destinations.put(_addresses(rule.destination), 1 << place)
        self._sources = sources.rows()
        self._destinations = destinations.rows()
        self._bounds = {rule.tenant: rule.within for rule in plan.rules if rule.within is not None}
        self._texts: dict[str, tuple[str, ...]] = {}
        self._prepared: dict[int, _Prepared] = {}

    def configuration(self, node: str, own: AddressSet) -> NodeConfiguration:
        inside = {tenant: own.intersection(bound) for tenant, bound in self._bounds.items()}
        sets: dict[str, tuple[str, ...]] = {}
        rules = []
        for place in self._candidates(own):
            rule = self._plan.rules[place]
            if touches(rule, own, inside.get(rule.tenant, own)):
                prepared = self._prepare(place, rule)
                rules.append(prepared.rule)
                for name, addresses in prepared.sets:
                    if name not in sets:
                        sets[name] = self._text(name, addresses)
        return NodeConfiguration(
            node=node,
            default_action=self._plan.default_action,
            addresses=own.cidrs(),
            sets=dict(sorted(sets.items())),
            rules=tuple(rules),
        )

    def _candidates(self, own: AddressSet) -> Iterator[int]:
        """Yield the places of rules with an own address in `from` or `to`, in order."""
        found = 0
        for family in FAMILIES:
            found |= self._sources[family].meeting(own.of(family))
            found |= self._destinations[family].meeting(own.of(family))
        while found:
            lowest = found & -found
            yield lowest.bit_length() - 1
            found ^= lowest

    def _prepare(self, place: int, rule: PlannedRule) -> _Prepared:
        if place not in self._prepared:
            self._prepared[place] = _prepare(rule)
        return self._prepared[place]

    def _text(self, name: str, addresses: AddressSet) -> tuple[str, ...]:
        if name not in self._texts:
            self._texts[name] = addresses.cidrs()
        return self._texts[name]


def _prepare(rule: PlannedRule) -> _Prepared:
    named: dict[str, AddressSet] = {}
    source = destination = within = None
    if rule.source is not None:
        named[source := peers_set_id(rule.source)] = rule.source.addresses
    if rule.destination is not None:
        named[destination := peers_set_id(rule.destination)] = rule.destination.addresses
    if rule.within is not None:
        named[within := tenant_set_id(rule.tenant)] = rule.within
    node_rule = NodeRule(
        id=rule_id(rule.tier, rule.tenant, rule.policy, rule.rule, rule.origin),
        tier=rule.tier,
        tenant=rule.tenant,
        policy=rule.policy,
        rule=rule.rule,
        origin=rule.origin,
        action=rule.action,
        log=rule.log,
        source=source,
        destination=destination,
        services=node_services(rule.services.matches),
        within=within,
    )
    return _Prepared(node_rule, tuple(named.items()))


def touches(rule: PlannedRule, own: AddressSet, inside: AddressSet) -> bool:
    """Return whether a rule matches some packet with an end among `own`.

    `inside` is what of `own` lies in the rule's bound; all of it if there is none.
    """
    return any(_touches(rule, own, inside, family) for family in FAMILIES)


def _touches(rule: PlannedRule, own: AddressSet, inside: AddressSet, family: Family) -> bool:
    return touches_within(
        _addresses(rule.source),
        _addresses(rule.destination),
        rule.within,
        own=own,
        inside=inside,
        family=family,
    )


def touches_within(
    source: AddressSet | None,
    destination: AddressSet | None,
    bound: AddressSet | None,
    *,
    own: AddressSet,
    inside: AddressSet,
    family: Family,
) -> bool:
    """Return whether packets of a family from `source` to `destination` (None is any), with one
    end in `bound` if there is one, can have an end among `own`; `inside` is what of `own` lies
    in the bound.
    """
    if not (_some(source, family) and _some(destination, family)):
        return False
    if _meets(source, family, inside) or _meets(destination, family, inside):
        return True
    # Else one end is ours and the other the tenant's.
    return bound is not None and (
        (_meets(source, family, own) and _meets(destination, family, bound))
        or (_meets(source, family, bound) and _meets(destination, family, own))
    )


def _some(side: AddressSet | None, family: Family) -> bool:
    return side is None or bool(side.of(family))


def _meets(side: AddressSet | None, family: Family, other: AddressSet) -> bool:
    """Return whether a rule's side (None is any) and a set share an address of a family."""
    if side is None:
        return bool(other.of(family))
    return intervals.overlaps(side.of(family), other.of(family))


def peers_set_id(side: Addresses) -> str:
    """Return the id of the set of a rule's side: by its peers, whatever they are now."""
    return set_id(f"peers|{side.stands_for}")


def tenant_set_id(tenant: str) -> str:
    """Return the id of the set of a tenant's own addresses."""
    return set_id(f"tenant|{tenant}")


def set_id(text: str) -> str:
    return f"s{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def node_services(matches: tuple[PortMatch, ...] | None) -> tuple[NodeService, ...] | None:
    """Return resolved services as nodes get them; None is any."""
    if matches is None:
        return None
    return tuple(
        NodeService(
            each.protocol,
            None if each.ports is None else tuple(intervals.to_ranges(each.ports)),
            None if each.source_ports is None else tuple(intervals.to_ranges(each.source_ports)),
        )
        for each in matches
    )


def _addresses(side: Addresses | None) -> AddressSet | None:
    return None if side is None else side.addresses


def _is_admitted(node: Node | None) -> bool:
    return node is not None and node.admission == "admitted"
