"""`unresolved_name`: a policy names what has no definition with addresses or entries here.

One conflict for each policy and name.  Facts: the `reference`, the `rules` that are not installed
or only in part, and whether one `failsOpen`: a deny that isn't installed lets pass what must not.
"""

from collections.abc import Iterator

from shared.policy.compile import POLICY, SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.definitions import Name


def unresolved_name(planner: SitePlanner) -> Iterator[Finding]:
    found: dict[tuple[Name, str], dict[str, bool]] = {}
    for plan, enforces in planner.enforced_plans():
        for policy in plan.policies:
            target = Name(POLICY, policy.tenant, policy.name)
            for rule in policy.rules:
                fails = enforces and rule.action in ("deny", "reject") and rule.empty is not None
                for each in rule.missing:
                    rules = found.setdefault((target, each.reference), {})
                    rules[rule.rule] = rules.get(rule.rule, False) or fails
    for (target, reference), rules in sorted(found.items()):
        fails_open = any(rules.values())
        yield Finding(
            "unresolved_name",
            target,
            reference,
            urgency="immediate" if fails_open else "normal",
            facts={"reference": reference, "rules": sorted(rules), "failsOpen": fails_open},
        )
