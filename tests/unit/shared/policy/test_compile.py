"""The order of rules over four tiers."""

from shared.policy.compile import SitePlanner, plan
from shared.policy.inputs import Documents
from tests.unit.shared.policy.building import (
    group,
    network,
    node,
    override,
    policy,
    region,
    rule,
    site,
    tenant,
    world,
)


def names(inputs, at=None) -> list[str]:
    return [each.name for each in plan(inputs, at).policies]


def test_mandatory_goes_by_scope_from_the_outside_then_by_priority() -> None:
    mandatory = {"enforcement": "mandatory"}
    inputs = world(
        [
            region("west"),
            region("bay", "west"),
            policy("inner", scope="region/bay", priority=100, **mandatory),
            policy("outer", scope="region/west", priority=200, **mandatory),
            policy("federal", priority=900, **mandatory),
            policy("first", priority=1, **mandatory),
        ],
        at=site(region="bay"),
    )
    assert names(inputs) == ["first", "federal", "outer", "inner"]


def test_default_goes_by_priority_whatever_the_scope() -> None:
    inputs = world(
        [
            region("west"),
            policy("a", priority=300),
            policy("b", scope="region/west", priority=200),
            policy("c", priority=100),
        ],
        at=site(region="west"),
    )
    assert names(inputs) == ["c", "b", "a"]


def test_local_goes_by_priority_whatever_the_scope() -> None:
    local = [
        group("g"),
        node("n1", "g"),
        policy("site", priority=200, scope="site"),
        policy("group", priority=300, scope="group/g"),
        policy("node", priority=400, scope="node/n1"),
    ]
    assert names(world((), local), "n1") == ["site", "group", "node"]


def test_equal_priorities_go_by_tenant_then_by_name_by_code_point() -> None:
    inputs = world(
        [
            tenant("blue"),
            tenant("Zed"),
            policy("b"),
            policy("a"),
            policy("B"),
            policy("z", tenant="blue"),
            policy("z", tenant="Zed"),
        ]
    )
    found = [(each.tenant, each.name) for each in plan(inputs).policies]
    assert found == [
        ("Zed", "z"),
        ("blue", "z"),
        ("common", "B"),
        ("common", "a"),
        ("common", "b"),
    ]


def test_the_tiers_follow_each_other() -> None:
    inputs = world(
        [policy("d", priority=100), policy("m", enforcement="mandatory", priority=900)],
        [policy("l", priority=500, scope="site")],
    )
    assert [(each.tier, each.name) for each in plan(inputs).policies] == [
        ("mandatory", "m"),
        ("local", "l"),
        ("default", "d"),
    ]


def test_rules_keep_their_order_and_are_numbered_from_one_across_tiers() -> None:
    inputs = world(
        [policy("m", rule("z"), rule("a"), enforcement="mandatory"), policy("d", rule("q"))]
    )
    answer = plan(inputs).to_json()
    assert [(each["position"], each["rule"]) for each in answer["rules"]] == [
        (1, "z"),
        (2, "a"),
        (3, "q"),
    ]


def test_the_sites_default_action_is_shown() -> None:
    assert plan(world()).default_action == "deny"
    assert plan(world(at=site(defaultAction="allow"))).to_json()["defaultAction"] == "allow"


def test_nodes_whose_chains_differ_in_empty_scopes_only_share_a_view() -> None:
    local = [group("g"), node("n1", "g"), node("n2"), node("n3"), network("X", scope="node/n3")]
    planner = SitePlanner(world([policy("p")], local))
    assert planner.view("n1") is planner.view("n2") is planner.view()
    assert planner.view("n3") is not planner.view()
    assert sorted(planner.distinct_nodes().values()) == [["n1", "n2"], ["n3"]]
    # What they answer is their own all the same.
    assert planner.plan("n1").node == "n1"
    assert planner.plan("n1").chain == ("node/n1", "group/g", "site", "federation")


def test_provenance_is_kept() -> None:
    inputs = world([policy("p")], [override("o", "SecurityPolicy", "p", {"rules": [rule("ours")]})])
    (found,) = plan(inputs).rules
    assert found.origin == "override"
    assert found.document.key.name == "o"
    assert plan(inputs).policies[0].effective.document.key.name == "p"


def test_an_unreadable_override_leaves_the_target_in_force() -> None:
    for spec in ({"rules": "none"}, {"surprise": 1}):
        inputs = world([policy("p")], [override("o", "SecurityPolicy", "p", spec)])
        assert [each.rule for each in plan(inputs).rules] == ["r"]


def test_documents_in_the_wrong_home_are_ignored() -> None:
    inputs = world([policy("p", rule("mine"), scope="site"), policy("p", rule("theirs"))])
    assert [each.rule for each in plan(inputs).rules] == ["theirs"]


def test_of_two_documents_with_one_key_the_first_counts_and_a_change_replaces_it() -> None:
    first, second = policy("p", rule("one")), policy("p", rule("two"))
    documents = Documents([first, second])
    assert documents.get(first.key) is first
    assert len(documents) == 1
    assert len(documents.given) == 2
    changed = documents.changed(put=[second])
    assert changed.get(first.key) is second
    assert list(changed.changed(delete=[first.key])) == []
    assert documents.get(first.key) is first
