"""Policies to ordered rules in four tiers: the planner itself.

Four layers, each remembering its work: the definitions of a site; a chain with what it
inherits; names and selectors resolved along it; rules.  Nodes whose chains differ only in
scopes without definitions share all but their name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, cast

from shared.model.policy import SecurityPolicy
from shared.policy.balancing import KIND as BALANCER
from shared.policy.balancing import PlannedBalancer, ViewSees, planned_balancers, with_clashes
from shared.policy.definitions import Definitions, Name
from shared.policy.inherit import Choice, Effective, Inheritance, LeftOut, Tier
from shared.policy.inputs import SiteInputs
from shared.policy.plan import TIERS, Plan, PlannedPolicy, PlannedRule
from shared.policy.resolve import View, Workloads
from shared.policy.scopes import Chain, Places
from shared.policy.services import KIND as SERVICE_POLICY
from shared.policy.services import Requirements, requirements

POLICY: Final = "SecurityPolicy"


class SitePlanner:
    """Plans for one site and its nodes; shares work between them.

    NotFound (`unknown_site`, `unknown_node`) for a site or node that isn't there.
    """

    def __init__(self, inputs: SiteInputs) -> None:
        self.inputs: Final = inputs
        self.places: Final = Places(inputs)
        self.definitions: Final = Definitions(inputs)
        self.workloads: Final = Workloads(inputs.local)
        self._views: dict[tuple[Chain, bool], View] = {}
        self._plans: dict[tuple[Chain, bool], Plan] = {}
        self._requirements: dict[Chain, Requirements] = {}

    def view(self, node: str | None = None, *, staged: bool = False) -> View:
        """Return how a node, or the site, sees names and selectors."""
        chain = self.chain(node)
        if (chain, staged) not in self._views:
            self._views[chain, staged] = View(
                chain,
                inheritance=self.inheritance(staged=staged),
                definitions=self.definitions,
                workloads=self.workloads,
            )
        return self._views[chain, staged]

    def plan(self, node: str | None = None, *, staged: bool = False) -> Plan:
        """Return what a node, or the site, makes of policy."""
        chain = self.chain(node)
        if (chain, staged) not in self._plans:
            self._plans[chain, staged] = self._compile(self.view(node, staged=staged), staged)
        return replace(self._plans[chain, staged], node=node, chain=self.places.chain(node))

    def balancers(self, node: str | None = None) -> tuple[PlannedBalancer, ...]:
        """Return the balancers in force for a node, or at the site, with what they lack.

        Whether a node runs them is a matter of requirements().
        """
        view = self.view(node)
        names = self.definitions.names(BALANCER)
        return with_clashes(
            planned_balancers(self.inheritance(), names, view.chain, ViewSees(view))
        )

    @property
    def has_balancers(self) -> bool:
        """Whether there is any LoadBalancer."""
        return any(True for _ in self.definitions.names(BALANCER))

    @property
    def has_requirements(self) -> bool:
        """Whether there is any ServicePolicy."""
        return any(True for _ in self.definitions.names(SERVICE_POLICY))

    def requirements(self, node: str | None = None) -> Requirements:
        """Return which network services a node, or the site's nodes, must and may run."""
        chain = self.chain(node)
        if chain not in self._requirements:
            names = self.definitions.names(SERVICE_POLICY)
            self._requirements[chain] = requirements(self.inheritance(), names, chain)
        return self._requirements[chain]

    def enforced_plans(self) -> Iterator[tuple[Plan, bool]]:
        """Yield the site's plan and each distinct one of its nodes, and whether somebody enforces
        it: an admitted node does, and the site's own counts as long as there are none.
        """
        nodes = self.places.nodes
        views = [
            (group[0], any(nodes[name].admission == "admitted" for name in group))
            for group in self.distinct_nodes().values()
        ]
        yield self.plan(), not any(enforces for _, enforces in views)
        for node, enforces in views:
            yield self.plan(node), enforces

    def inheritance(self, *, staged: bool = False) -> Inheritance:
        return Inheritance(
            self.definitions, labels=self.places.labels, now=self.inputs.now, staged=staged
        )

    def distinct_nodes(self) -> Mapping[Chain, list[str]]:
        """Return the nodes by the part of their chain that has definitions: one plan each."""
        found: dict[Chain, list[str]] = {}
        for node in self.places.nodes:
            found.setdefault(self.chain(node), []).append(node)
        return found

    def chain(self, node: str | None = None) -> Chain:
        """Return what of a chain has definitions: all that tells views apart."""
        scopes = self.definitions.scopes
        return tuple(scope for scope in self.places.chain(node) if scope in scopes)

    def _compile(self, view: View, staged: bool) -> Plan:
        inheritance = self.inheritance(staged=staged)
        chosen: list[tuple[Name, Choice]] = [
            (name, inheritance.choose(name, view.chain)) for name in self.definitions.names(POLICY)
        ]
        left_out: list[LeftOut] = []
        placed = []
        for name, choice in sorted(chosen, key=lambda each: each[0]):
            left_out += choice.left_out
            if choice.effective is not None:
                order = policy_order(view.chain, name, choice.tier, choice.effective)
                placed.append((order, name, choice.tier, choice.effective))
        placed.sort(key=lambda each: each[0])
        return Plan(
            site=self.inputs.site,
            node=None,
            chain=view.chain,
            default_action=self.places.site.default_action,
            policies=tuple(
                _policy(view, name, tier, effective) for _, name, tier, effective in placed
            ),
            left_out=tuple(left_out),
        )


def plan(inputs: SiteInputs, node: str | None = None, *, staged: bool = False) -> Plan:
    """Return what a site, or one of its nodes, makes of policy."""
    return SitePlanner(inputs).plan(node, staged=staged)


def policy_order(
    chain: Chain, name: Name, tier: Tier, effective: Effective
) -> tuple[int, int, int, str, str]:
    """Return the place of a policy: by tier, priority, tenant and name; of mandatory ones the
    outermost scope first.
    """
    depth = 0
    if tier == "mandatory":
        depth = -chain.index(effective.document.key.scope)
    priority = cast("SecurityPolicy", effective.spec).priority
    return (TIERS.index(tier), depth, priority, name.tenant, name.name)


def _policy(view: View, name: Name, tier: Tier, effective: Effective) -> PlannedPolicy:
    spec = cast("SecurityPolicy", effective.spec)
    within = view.within(name.tenant)
    rules = tuple(
        PlannedRule(
            tier=tier,
            tenant=name.tenant,
            policy=name.name,
            rule=rule.name,
            index=index,
            action=rule.action,
            log=rule.log,
            origin=effective.origin,
            source=None if rule.from_ == "any" else view.side(name.tenant, "from", rule.from_),
            destination=None if rule.to == "any" else view.side(name.tenant, "to", rule.to),
            services=view.services(name.tenant, rule.services),
            within=within,
            document=effective.source,
        )
        for index, rule in enumerate(spec.rules)
    )
    return PlannedPolicy(tier, name.tenant, name.name, spec.priority, effective, rules)
