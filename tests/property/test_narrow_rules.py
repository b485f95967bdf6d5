"""Rules for groups and nodes, against all rules of each view judged together."""

from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.narrow_rules import conflicts_of_narrow_rules
from shared.policy.inputs import SiteInputs
from shared.policy.shadows.findings import Shadowed
from shared.policy.shadows.rules import resolved_rules
from shared.policy.shadows.site import Shadows
from tests.property.generated_documents import NOW, SITE
from tests.property.generators import rolled_world
from tests.property.planner_worlds import site_inputs
from tests.property.profile import rolls
from tests.property.test_nodes_disagree import scoped_world
from tests.unit.shared.policy.building import (
    group,
    net,
    network,
    node,
    policy,
    rule,
    workload,
    world,
)


def compare(inputs: SiteInputs) -> list[Finding]:
    """Hold what is found against each view's rules, judged together; return what is found."""
    planner = SitePlanner(inputs)
    there: dict[tuple[str, str, str], int] = {}
    shadowed: dict[tuple[str, str, str], int] = {}
    contradicting: set[tuple[str, str, str]] = set()
    seen = set()
    for name, spec in planner.places.nodes.items():
        plan = planner.plan(name)
        if spec.admission != "admitted" or planner.chain(name) in seen:
            continue
        seen.add(planner.chain(name))
        narrow = {
            (each.tenant, each.name): each.effective.source.key.scope
            for each in plan.policies
            if each.effective.source.key.scope not in ("site", "federation")
            and not each.effective.source.key.scope.startswith("region/")
        }
        rules = resolved_rules(plan)
        for each in rules:
            if (each.name.tenant, each.name.policy) in narrow:
                scope = narrow[each.name.tenant, each.name.policy]
                place = (each.name.tenant, each.name.policy, f"{scope}/{each.name.rule}")
                there[place] = there.get(place, 0) + 1
        for found in Shadows(rules).findings:
            if (found.rule.tenant, found.rule.policy) in narrow:
                scope = narrow[found.rule.tenant, found.rule.policy]
                place = (found.rule.tenant, found.rule.policy, f"{scope}/{found.rule.rule}")
                if isinstance(found, Shadowed):
                    shadowed[place] = shadowed.get(place, 0) + 1
                else:
                    contradicting.add(place)
    conflicts = list(conflicts_of_narrow_rules(planner))
    places = {(each.type, each.target.tenant, each.target.name, each.subject) for each in conflicts}
    assert len(places) == len(conflicts)
    assert {each[1:] for each in places if each[0] == "contradicts_mandatory"} == contradicting
    everywhere = {place for place, count in shadowed.items() if count == there[place]}
    told = {each[1:] for each in places if each[0] == "shadowed_rule"}
    # What an exception is for is no conflict.
    assert told <= everywhere
    excepted = everywhere - told
    assert all(
        "override" in str(planner.inputs.local.of_kind("Override")).lower() for _ in excepted
    )
    return conflicts


def test_rules_for_groups_and_nodes_are_judged_as_each_view_has_them() -> None:
    found = [each for seed in rolls(100) for each in compare(scoped_world(seed))]
    assert len(found) > 20


def test_those_of_generated_worlds_too() -> None:
    worlds = [site_inputs(rolled_world(seed), SITE, NOW) for seed in rolls(100)]
    types = {each.type for inputs in worlds for each in compare(inputs)}
    assert types == {"shadowed_rule", "contradicts_mandatory"}


def test_a_rule_that_some_node_s_packets_reach_is_not_shadowed() -> None:
    everything = policy("first", rule("all"), scope="node/n1", priority=100)
    late = policy("late", rule("r", to=net("A")), scope="group/g")
    own = [
        network("A", "10.0.0.0/24", scope="site"),
        group("g"),
        node("n1", "g"),
        workload("w1", "10.0.0.1", node="n1"),
        everything,
        late,
    ]
    (found,) = conflicts_of_narrow_rules(SitePlanner(world([], own)))
    assert (found.type, found.subject) == ("shadowed_rule", "group/g/r")
    assert found.facts["scope"] == "group/g"
    assert found.proposals == ()
    also = [*own, node("n2", "g")]
    assert list(conflicts_of_narrow_rules(SitePlanner(world([], also)))) == []


def test_a_site_without_scopes_of_its_own_has_none() -> None:
    rules = [rule("all"), rule("again")]
    own = [node("n1"), policy("p", *rules, scope="site")]
    assert list(conflicts_of_narrow_rules(SitePlanner(world([], own)))) == []
