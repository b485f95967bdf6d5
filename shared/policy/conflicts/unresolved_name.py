"""`unresolved_name`: a policy names what has no definition with addresses or entries here.

One conflict for each policy and name.  Facts: the `reference`, the `rules` that are not installed
or only in part, and whether one `failsOpen`: a deny that isn't installed lets pass what must not.
The views of the site and of its admitted nodes count: what no node sees with disturbs nobody.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shared.policy.compile import POLICY, SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.definitions import Name
from shared.policy.loaded.site import LoadedSite
from shared.policy.loaded.view import LoadedView


class Missing(NamedTuple):
    """What a rule names that has no meaning; `fails_open` if it ought to stop packets, somebody
    ought to enforce it, and it isn't installed.
    """

    policy: Name
    reference: str
    rule: str
    fails_open: bool


def unresolved_name(missing: Iterable[Missing]) -> Iterator[Finding]:
    found: dict[tuple[Name, str], dict[str, bool]] = {}
    for each in missing:
        rules = found.setdefault((each.policy, each.reference), {})
        rules[each.rule] = rules.get(each.rule, False) or each.fails_open
    for (target, reference), rules in sorted(found.items()):
        fails_open = any(rules.values())
        yield Finding(
            "unresolved_name",
            target,
            reference,
            urgency="immediate" if fails_open else "normal",
            facts={"reference": reference, "rules": sorted(rules), "failsOpen": fails_open},
        )


def missing_in_plans(planner: SitePlanner) -> Iterator[Missing]:
    """Yield what rules name in vain in a planned site."""
    for plan, enforces in planner.enforced_plans():
        if plan.node is not None and not enforces:
            continue
        for policy in plan.policies:
            target = Name(POLICY, policy.tenant, policy.name)
            for rule in policy.rules:
                fails = enforces and rule.action in ("deny", "reject") and rule.empty is not None
                for each in rule.missing:
                    yield Missing(target, each.reference, rule.rule, fails)


def missing_in_views(site: LoadedSite) -> Iterator[Missing]:
    """Yield the same of a loaded site that has its own view."""
    for view in site.views:
        enforces = bool(view.nodes) or (view is site.view and not site.nodes)
        yield from _missing_in(view, enforces=enforces)


def _missing_in(view: LoadedView, *, enforces: bool) -> Iterator[Missing]:
    for reference, rule in view.unresolved():
        stops = rule.data["action"] in ("deny", "reject") and not rule.is_installed
        yield Missing(rule.policy.name, reference, rule.data["name"], enforces and stops)
