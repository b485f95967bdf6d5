"""Rules that the site's own view doesn't have, since they are of policies or exceptions for a group
or a node: judged in the views that have them.

Such a rule is shadowed if no packet reaches it in any view of an admitted node, and contradicts
mandatory ones if it does so in one.  A conflict is told as the first such view has it, in order of
scopes, with the rule's `scope` among the facts; its subject is SCOPE/RULE.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shared.algebra import intervals
from shared.algebra.products import Product
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.contradicts_mandatory import contradicts_mandatory
from shared.policy.conflicts.shadowed_rule import shadowed_rule
from shared.policy.plan import Plan
from shared.policy.shadows.findings import Contradiction, Shadowed
from shared.policy.shadows.rules import Products, ResolvedRule, RuleName, resolved_rules
from shared.policy.shadows.site import Shadows

_NARROW = ("node/", "group/")

_Place = tuple[str, str, str, str]
"""A rule: the scope of what gave it, tenant, policy, name."""


@dataclass(slots=True)
class _Judged:
    """What was found about a rule, in how many views."""

    views: int = 0
    shadowed: list[Shadowed] = field(default_factory=list)
    contradictions: list[Contradiction] = field(default_factory=list)


def conflicts_of_narrow_rules(planner: SitePlanner) -> Iterator[Finding]:
    judged: dict[_Place, _Judged] = {}
    nodes = planner.places.nodes
    for _, names in sorted(planner.distinct_nodes().items()):
        node = next((name for name in names if nodes[name].admission == "admitted"), None)
        if node is not None:
            _judge(planner.plan(node), judged)
    for place, found in sorted(judged.items(), key=lambda each: each[0]):
        told: list[Finding] = []
        if len(found.shadowed) == found.views:
            told += shadowed_rule(found.shadowed[:1])
        told += contradicts_mandatory(found.contradictions[:1])
        scope, *_, rule = place
        for each in told:
            # What there is to choose elsewhere is about the site's own view.
            yield replace(
                each, subject=f"{scope}/{rule}", facts={**each.facts, "scope": scope}, proposals=()
            )


def _judge(plan: Plan, judged: dict[_Place, _Judged]) -> None:
    scopes = {
        (policy.tenant, policy.name): scope
        for policy in plan.policies
        if (scope := policy.effective.source.key.scope).startswith(_NARROW)
    }
    if not scopes:
        return
    rules = resolved_rules(plan)
    for each in rules:
        if _policy_of(each.name) in scopes:
            judged.setdefault(_place(each.name, scopes), _Judged()).views += 1
    for found in Shadows(_concerned(rules, scopes)).findings:
        if _policy_of(found.rule) not in scopes:
            continue
        about = judged[_place(found.rule, scopes)]
        if isinstance(found, Shadowed):
            about.shadowed.append(found)
        else:
            about.contradictions.append(found)


def _concerned(
    rules: Sequence[ResolvedRule], scopes: Mapping[tuple[str, str], str]
) -> list[ResolvedRule]:
    """Return the rules of these policies and all that meet one of them: what others do to each
    other is judged elsewhere, and says nothing of these.
    """
    products = Products()
    found = [(each, products.of(each)) for each in rules]
    theirs = [one for each, parts in found if _policy_of(each.name) in scopes for one in parts]
    return [
        each
        for each, parts in found
        if _policy_of(each.name) in scopes
        or any(_meet(one, other) for one in parts for other in theirs)
    ]


def _meet(one: Product, other: Product) -> bool:
    return all(map(intervals.overlaps, one, other))


def _place(rule: RuleName, scopes: Mapping[tuple[str, str], str]) -> _Place:
    return scopes[_policy_of(rule)], rule.tenant, rule.policy, rule.rule


def _policy_of(rule: RuleName) -> tuple[str, str]:
    return rule.tenant, rule.policy
