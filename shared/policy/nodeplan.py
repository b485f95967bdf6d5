"""What each node of a site gets: of its view's rules those that touch its own workloads.

A rule touches a node if some packet with an end at one of the node's workloads matches it; that
is decided exactly.  Nodes with one chain share one plan, and candidates are found by a bisection
for each address, so that a node's cost is its own rules and not the site's.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final, cast

from shared.algebra import intervals
from shared.algebra.boxes import FAMILIES
from shared.algebra.cidrs import AddressSet, Family
from shared.algebra.rows import AddressCollector
from shared.model.inventory import Node, Workload
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, SiteInputs
from shared.policy.nodeconfig import NodeConfiguration, NodeRule, NodeService, rule_id
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

    def __init__(self, planner: SitePlanner) -> None:
        self._planner = planner
        self._views: dict[tuple[str, ...], _NodeView] = {}
        self._workloads: dict[str, list[Document]] = {}
        for document in planner.workloads.documents:
            if (node := cast("Workload", document.spec).node) is not None:
                self._workloads.setdefault(node, []).append(document)

    def configuration(self, node: str) -> NodeConfiguration:
        """Return what a node enforces; nothing if it isn't admitted."""
        chain = self._planner.view(node).chain
        if chain not in self._views:
            self._views[chain] = _NodeView(self._planner.plan(node))
        own = AddressSet()
        if _is_admitted(self._planner.places.nodes[node]):
            own = host_addresses(self._workloads.get(node, ()))
        return self._views[chain].configuration(node, own)


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
        self._texts: dict[str, tuple[str, ...]] = {}
        self._rules: dict[int, NodeRule] = {}

    def configuration(self, node: str, own: AddressSet) -> NodeConfiguration:
        sets: dict[str, tuple[str, ...]] = {}
        rules = []
        for place in self._candidates(own):
            rule = self._plan.rules[place]
            if touches(rule, own):
                rules.append(self._rule(place, rule))
                sets.update(self._sets(rule))
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

    def _rule(self, place: int, rule: PlannedRule) -> NodeRule:
        if place not in self._rules:
            self._rules[place] = NodeRule(
                id=rule_id(rule.tier, rule.tenant, rule.policy, rule.rule, rule.origin),
                tier=rule.tier,
                tenant=rule.tenant,
                policy=rule.policy,
                rule=rule.rule,
                origin=rule.origin,
                action=rule.action,
                log=rule.log,
                source=None if rule.source is None else peers_set_id(rule.source),
                destination=None if rule.destination is None else peers_set_id(rule.destination),
                services=_services(rule),
                within=None if rule.within is None else tenant_set_id(rule.tenant),
            )
        return self._rules[place]

    def _sets(self, rule: PlannedRule) -> Iterator[tuple[str, tuple[str, ...]]]:
        for side in (rule.source, rule.destination):
            if side is not None:
                yield self._set(peers_set_id(side), side.addresses)
        if rule.within is not None:
            yield self._set(tenant_set_id(rule.tenant), rule.within)

    def _set(self, name: str, addresses: AddressSet) -> tuple[str, tuple[str, ...]]:
        if name not in self._texts:
            self._texts[name] = addresses.cidrs()
        return name, self._texts[name]


def touches(rule: PlannedRule, own: AddressSet) -> bool:
    """Return whether a rule matches some packet with an end among `own`."""
    return any(_touches(rule, own, family) for family in FAMILIES)


def _touches(rule: PlannedRule, own: AddressSet, family: Family) -> bool:
    source, destination = _addresses(rule.source), _addresses(rule.destination)
    mine = own.of(family)
    bounds = (None,) if rule.within is None else (rule.within.of(family),)
    # An end that is ours and an end within the tenant's addresses may be the same or not.
    for bound in bounds:
        for at_source, at_destination in (
            ((mine, bound), ()),
            ((mine,), (bound,)),
            ((bound,), (mine,)),
            ((), (mine, bound)),
        ):
            if _meets(source, family, at_source) and _meets(destination, family, at_destination):
                return True
    return False


def _meets(
    addresses: AddressSet | None,
    family: Family,
    others: tuple[intervals.Intervals | None, ...],
) -> bool:
    """Return whether the addresses and all of `others` share one; None is any."""
    sets = [each for each in others if each is not None]
    if addresses is not None:
        sets.append(addresses.of(family))
    if not sets:
        return True
    common = sets[0]
    for each in sets[1:]:
        common = intervals.intersection(common, each)
    return bool(common)


def peers_set_id(side: Addresses) -> str:
    """Return the id of the set of a rule's side: by its peers, whatever they are now."""
    return _set_id(f"peers|{side.stands_for}")


def tenant_set_id(tenant: str) -> str:
    """Return the id of the set of a tenant's own addresses."""
    return _set_id(f"tenant|{tenant}")


def _set_id(text: str) -> str:
    return f"s{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _services(rule: PlannedRule) -> tuple[NodeService, ...] | None:
    if rule.services.matches is None:
        return None
    return tuple(
        NodeService(
            each.protocol,
            None if each.ports is None else tuple(intervals.to_ranges(each.ports)),
            None if each.source_ports is None else tuple(intervals.to_ranges(each.source_ports)),
        )
        for each in rule.services.matches
    )


def _addresses(side: Addresses | None) -> AddressSet | None:
    return None if side is None else side.addresses


def _is_admitted(node: Node | None) -> bool:
    return node is not None and node.admission == "admitted"
