"""What somebody whose permission doesn't reach everything is shown of a site.  Pure.

Whose reach ends at his tenants is shown the site as it is planned from what he may know of: the
documents of his tenants, and those of `common`, on which his own rest.  To take others' rows out
of the whole site's plan isn't enough: a rule of `common` that selects networks or workloads
resolves to everybody's addresses, and positions would count what he doesn't see.

Labels and scopes bound which rules he sees, and no more: a rule means what it means, so that one
that he sees is shown with all addresses that it comes to in his tenants.  Of the definitions
behind them he is told which he may see himself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from shared.access.reach import WHOLE, Reach
from shared.ids import COMMON, SITE, Key
from shared.model.override import Override
from shared.policy.balancing import balancer_json
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, Documents, SiteInputs
from shared.policy.plan import PlannedPolicy, PlannedRule, Unresolved, name_json, rule_json
from shared.policy.resolve import NameUsed
from shared.policy.scopes import no_node
from shared.policy.verdict import Step, Story

Tenants = frozenset[str] | None
"""None: all."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How far somebody sees."""

    reach: Reach = WHOLE

    @property
    def is_whole(self) -> bool:
        return self.reach.is_whole

    def sees(self, document: Document) -> bool:
        return self.reach.sees(document.key, document.labels)

    def sees_node(self, inputs: SiteInputs, name: str) -> bool:
        """Return whether he sees a node of the site; of one that isn't there it doesn't matter."""
        document = inputs.local.get(Key("Node", COMMON, SITE, name))
        return document is not None and self.reach.sees_machine(document.labels)

    def check_node(self, inputs: SiteInputs, name: str | None) -> None:
        """Raise NotFound (`unknown_node`) for a node that he doesn't see, or that isn't there."""
        if name is not None and not self.sees_node(inputs, name):
            raise no_node(inputs.site, name)

    def knows_of(self, document: Document) -> bool:
        """Return whether he may be told of something: he sees it, or his own may rest on it."""
        return self.sees(document) or self._rests_on(document.key.tenant)

    def resolved(
        self, planner_for: Callable[[Tenants], SitePlanner], node: str | None, *, staged: bool
    ) -> dict[str, Any]:
        """Return the rules that he sees as `hanse resolve` prints them, counted among themselves.

        `planner_for` returns what plans the site from tenants' documents: see narrowed().  NotFound
        (`unknown_node`).
        """
        planner = planner_for(self.reach.tenants)
        self.check_node(planner.inputs, node)
        plan = planner.plan(node, staged=staged)
        policies = [
            self._policy(each, planner_for, node, staged=staged)
            for each in plan.policies
            if self.sees(each.effective.document)
        ]
        rules = [
            (each, policy) for policy in policies for each in policy.rules if each.empty is None
        ]
        return {
            "site": plan.site,
            "node": plan.node,
            "defaultAction": plan.default_action,
            "rules": [
                rule_json(rule, position)
                | {"names": [name_json(each) for each in self._names(rule, policy)]}
                for position, (rule, policy) in enumerate(rules, start=1)
            ],
            "unresolved": [
                Unresolved(rule, missing).to_json()
                for policy in policies
                for rule in policy.rules
                for missing in rule.missing
            ],
            "suspended": [str(each.key) for each in plan.suspended if self.sees(each)],
            **self._balancers(planner, node),
        }

    def _balancers(self, planner: SitePlanner, node: str | None) -> dict[str, Any]:
        """Return the balancers that he sees, with backends of the tenants that he sees."""
        if not planner.has_balancers:
            return {}
        planned = planner.balancers(node)
        seen = [balancer_json(each) for each in planned if self.sees(each.effective.document)]
        return {"balancers": seen}

    def story(self, story: Story) -> dict[str, Any]:
        """Return a judgement with every rule that was looked at and may be seen, in order.

        The verdict is the whole site's; which rule gave it is told if that may be seen.
        """
        decision = story.decision
        steps = [each for each in story.steps if self.sees(each.policy.effective.document)]
        rule = next((each.rule for each in steps if each.rule is decision.rule), None)
        return {
            "verdict": decision.verdict,
            "tier": decision.tier,
            "policy": rule.policy if rule else None,
            "tenant": rule.tenant if rule else None,
            "rule": rule.rule if rule else None,
            "origin": rule.origin if rule else None,
            "steps": [self._step(each) for each in steps],
        }

    def _step(self, step: Step) -> dict[str, Any]:
        return {
            "tier": step.rule.tier,
            "policy": step.rule.policy,
            "tenant": step.rule.tenant,
            "rule": step.rule.rule,
            "origin": step.rule.origin,
            "action": step.rule.action,
            "matched": step.matched,
            "reason": step.reason,
            "names": [
                {"reference": name.reference, "tenant": name.tenant, "scope": name.scope}
                for name in self._names(step.rule, step.policy)
            ],
        }

    def _names(self, rule: PlannedRule, policy: PlannedPolicy) -> Iterator[NameUsed]:
        """Yield what a rule's references resolved to, as far as he may know of the definitions."""
        document = policy.effective.document
        places = self.reach.places_of(document.key, document.labels)
        is_bound = all(each.labels is not None for each in places)
        for name in rule.names:
            if self.sees(name.effective.document) or (not is_bound and self._rests_on(name.tenant)):
                yield name

    def _rests_on(self, tenant: str) -> bool:
        """Return whether what he sees whatever its labels may rest on what is of a tenant."""
        places = [each for each in self.reach.places if each.labels is None]
        return any(tenant == COMMON or each.has_tenant(tenant) for each in places)

    def _policy(
        self,
        policy: PlannedPolicy,
        planner_for: Callable[[Tenants], SitePlanner],
        node: str | None,
        *,
        staged: bool,
    ) -> PlannedPolicy:
        """Return a policy as it is planned from the tenants that count for him who sees it.

        A tenant's rules speak of that tenant and of `common`, whoever else is there.  One of
        `common` speaks of everybody: of the tenants that he sees wholly, and of those in which the
        permission is held that shows it.
        """
        document = policy.effective.document
        tenants = self.reach.full_tenants
        for place in self.reach.places_of(document.key, document.labels):
            tenants = None if tenants is None or place.tenants is None else tenants | place.tenants
        if policy.tenant != COMMON or tenants == self.reach.tenants:
            return policy
        found = planner_for(tenants).plan(node, staged=staged).policies
        return next(each for each in found if each.effective == policy.effective)


def narrowed(whole: SitePlanner, tenants: Tenants) -> SitePlanner:
    """Return what plans the site from the documents of some tenants, and of `common`."""
    if tenants is None:
        return whole
    inputs = whole.inputs
    return SitePlanner(
        replace(
            inputs,
            federation=Documents(each for each in inputs.federation if rests_on(each, tenants)),
            local=Documents(each for each in inputs.local if rests_on(each, tenants)),
        )
    )


def rests_on(document: Document, tenants: frozenset[str]) -> bool:
    """Return whether what some tenants' people see may be worked out from a document.

    An exception is its target's: whoever sees a policy sees what is in force of it.
    """
    spec = document.spec
    tenant = spec.target.tenant if isinstance(spec, Override) else document.key.tenant
    return tenant == COMMON or tenant in tenants
