"""What somebody who holds a permission in some tenants only is shown of a site.  Pure.

The site as he sees it is planned from what he may know of: the documents of his tenants, and
those of `common`, on which his own rest.  To take others' rows out of the whole site's plan isn't
enough: a rule of `common` that selects networks or workloads resolves to everybody's addresses,
and positions would count what he doesn't see.
"""

from dataclasses import dataclass, replace
from typing import Any

from shared.ids import COMMON
from shared.model.override import Override
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, Documents, SiteInputs
from shared.policy.verdict import Story


@dataclass(frozen=True, slots=True)
class Sight:
    """The tenants that somebody may see; None: all."""

    tenants: frozenset[str] | None = None

    def __call__(self, tenant: str) -> bool:
        return self.tenants is None or tenant in self.tenants

    @property
    def is_whole(self) -> bool:
        return self.tenants is None

    def rests_on(self, document: Document) -> bool:
        """Return whether what he sees may be worked out from a document.

        An exception is its target's: whoever sees a policy sees what is in force of it.
        """
        spec = document.spec
        tenant = spec.target.tenant if isinstance(spec, Override) else document.key.tenant
        return tenant == COMMON or self(tenant)

    def planner(self, whole: SitePlanner) -> SitePlanner:
        """Return what plans the site as he sees it."""
        if self.is_whole:
            return whole
        return SitePlanner(self._inputs(whole.inputs))

    def resolved(self, planner: SitePlanner, node: str | None, *, staged: bool) -> dict[str, Any]:
        """Return the rules that he sees as `hanse resolve` prints them, counted among themselves.

        `planner` is his; NotFound (`unknown_node`).
        """
        plan = planner.plan(node, staged=staged)
        found = plan.to_json()
        for part in ("rules", "unresolved"):
            found[part] = [each for each in found[part] if self(each["tenant"])]
        for position, rule in enumerate(found["rules"], start=1):
            rule["position"] = position
        keys = [document.key for document in plan.suspended]
        found["suspended"] = [str(key) for key in keys if self(key.tenant)]
        return found

    def story(self, story: Story) -> dict[str, Any]:
        """Return a judgement with every rule that was looked at and may be seen, in order.

        The verdict is the whole site's; which rule gave it is told if that may be seen.
        """
        decision = story.decision
        rule = decision.rule if decision.rule and self(decision.rule.tenant) else None
        return {
            "verdict": decision.verdict,
            "tier": decision.tier,
            "policy": rule.policy if rule else None,
            "tenant": rule.tenant if rule else None,
            "rule": rule.rule if rule else None,
            "origin": rule.origin if rule else None,
            "steps": [
                {
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
                        for name in step.rule.names
                        if name.tenant == COMMON or self(name.tenant)
                    ],
                }
                for step in story.steps
                if self(step.rule.tenant)
            ],
        }

    def _inputs(self, inputs: SiteInputs) -> SiteInputs:
        return replace(
            inputs,
            federation=Documents(each for each in inputs.federation if self.rests_on(each)),
            local=Documents(each for each in inputs.local if self.rests_on(each)),
        )
