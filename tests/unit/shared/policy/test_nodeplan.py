"""What a node gets: exactly what touches its own workloads' traffic."""

from itertools import product

import pytest

from shared.policy.compile import SitePlanner
from shared.policy.inputs import SiteInputs
from shared.policy.nodeconfig import Judge, NodeConfiguration, Packet
from shared.policy.nodeplan import (
    admitted_configurations,
    all_node_configurations,
    node_configuration,
    unenforced,
)
from shared.policy.verdict import FlowJudge
from tests.unit.shared.policy.building import (
    group,
    net,
    network,
    node,
    packet,
    policy,
    rule,
    site,
    tenant,
    workload,
    world,
)

A, B, C = "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"


def names(configuration: NodeConfiguration) -> list[str]:
    return [each.rule for each in configuration.rules]


def three(*rules: dict[str, object], **given: object) -> SiteInputs:
    """Node n1 has a workload in A, n2 one in B, n3 none."""
    local = [
        node("n1"),
        node("n2"),
        node("n3"),
        workload("a", "10.0.1.5", node="n1"),
        workload("b", "10.0.2.5", node="n2"),
        workload("loose", "10.0.3.5"),
    ]
    names_given = [network("A", A), network("B", B), network("C", C, "2001:db8::/64")]
    return world([*names_given, policy("p", *rules, **given)], local)


def test_a_node_gets_only_rules_that_touch_its_workloads() -> None:
    inputs = three(
        rule("a-b", from_=net("A"), to=net("B")),
        rule("b-c", from_=net("B"), to=net("C")),
        rule("any-c", to=net("C")),
        rule("c-any", from_=net("C")),
        rule("c-c", from_=net("C"), to=net("C")),
        rule("all"),
    )
    found = all_node_configurations(inputs)
    assert names(found["n1"]) == ["a-b", "any-c", "c-any", "all"]
    assert names(found["n2"]) == ["a-b", "b-c", "any-c", "c-any", "all"]
    assert names(found["n3"]) == []
    assert found["n1"].addresses == ("10.0.1.5/32",)
    assert found["n3"].addresses == ()


def test_a_rule_between_families_touches_nobody() -> None:
    inputs = world(
        [
            network("A", A),
            network("V6", "2001:db8::/64"),
            policy("p", rule("x", from_=net("A"), to=net("V6")), rule("y", to=net("V6"))),
        ],
        [node("n1"), workload("a", "10.0.1.5", node="n1")],
    )
    assert names(node_configuration(inputs, "n1")) == []


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("10.5.0.1", ["bound", "to-blue", "from-blue"]),
        # Traffic of its common workload with blue addresses.
        ("10.0.1.5", ["bound", "to-blue", "from-blue"]),
        ("10.0.9.9", ["bound", "to-blue", "from-blue"]),
    ],
)
def test_a_tenants_rule_touches_whoever_speaks_with_the_tenant(
    own: str, expected: list[str]
) -> None:
    rules = [
        rule("bound"),
        rule("to-blue", to=net("Own")),
        rule("from-blue", from_=net("Own")),
        rule("elsewhere", from_=net("C"), to=net("C")),
    ]
    inputs = world(
        [
            tenant("blue"),
            network("Own", "10.5.0.0/24", tenant="blue"),
            network("C", C),
            policy("p", *rules, tenant="blue"),
        ],
        [node("n1"), workload("w", own, node="n1")],
    )
    assert names(node_configuration(inputs, "n1")) == expected


def test_a_tenants_rule_between_foreign_addresses_touches_nobody() -> None:
    inputs = world(
        [
            tenant("blue"),
            network("Own", "10.5.0.0/24", tenant="blue"),
            network("A", A),
            network("C", C),
            policy("p", rule(from_=net("A"), to=net("C")), tenant="blue"),
        ],
        [node("n1"), workload("w", "10.0.1.5", node="n1")],
    )
    assert names(node_configuration(inputs, "n1")) == []


def test_sets_are_shared_and_named_by_what_they_stand_for() -> None:
    rules = [
        rule("one", from_=net("A", "B"), to=net("A")),
        rule("two", from_=net("B", "A"), services=[{"protocol": "tcp", "ports": ["1-2"]}]),
    ]
    before = node_configuration(three(*rules), "n1")
    one, two = before.rules
    assert one.source == two.source
    assert two.destination is None
    assert before.sets[str(one.source)] == (A, B)
    assert set(before.sets) == {one.source, one.destination}

    moved = three(*rules)
    local = moved.local.changed(put=[network("A", "10.0.7.0/24", scope="site")])
    after = node_configuration(SiteInputs(moved.site, moved.federation, local, moved.now), "n2")
    assert [each.source for each in after.rules] == [one.source, two.source]
    assert after.sets[str(one.source)] == (B, "10.0.7.0/24")


def test_sets_of_tenants_and_of_other_tenants_peers_have_ids_of_their_own() -> None:
    inputs = world(
        [
            tenant("blue"),
            network("A", A),
            network("A", B, tenant="blue"),
            policy("p", rule("common", from_=net("A"))),
            policy("q", rule("blue", from_=net("A")), tenant="blue"),
        ],
        [node("n1"), workload("w", "10.0.2.5", "10.0.1.5", node="n1")],
    )
    blue, common = node_configuration(inputs, "n1").rules
    sets = node_configuration(inputs, "n1").sets
    assert sets[str(common.source)] == (A,)
    assert sets[str(blue.source)] == (B,)
    assert sets[str(blue.within)] == (B,)
    assert len({common.source, blue.source, blue.within}) == 3


def test_services_are_told_as_ranges() -> None:
    web = {"protocol": "tcp", "ports": [80, "81-90"], "sourcePorts": [5]}
    found = node_configuration(three(rule(services=[web, {"protocol": 47}])), "n1")
    services = found.rules[0].services
    assert services is not None
    assert [(each.protocol, each.ports, each.source_ports) for each in services] == [
        (6, ((80, 90),), ((5, 5),)),
        (47, None, None),
    ]
    assert node_configuration(three(rule()), "n1").rules[0].services is None


def test_a_node_that_is_not_admitted_enforces_nothing() -> None:
    inputs = world(
        [policy("p")],
        [
            node("n1", admission="pending"),
            node("n2", admission="refused"),
            node("n3"),
            workload("a", "10.0.0.1", node="n1"),
            workload("c", "10.0.0.3", node="n3"),
            workload("d", "10.0.0.4"),
        ],
    )
    found = node_configuration(inputs, "n1")
    assert (found.rules, found.addresses, dict(found.sets)) == ((), (), {})
    planner = SitePlanner(inputs)
    assert list(admitted_configurations(planner)) == ["n3"]
    assert [each.key.name for each in unenforced(planner)] == ["a", "d"]


def test_staged_policies_are_not_enforced() -> None:
    assert node_configuration(three(rule(), stage="staged"), "n1").rules == ()


def test_a_node_sees_names_along_its_own_chain() -> None:
    inputs = world(
        [network("X", A), policy("p", rule(to=net("X")))],
        [
            group("g"),
            node("n1", "g"),
            node("n2"),
            network("X", B, scope="group/g"),
            workload("w1", "10.0.1.1", node="n1"),
            workload("w2", "10.0.1.2", node="n2"),
        ],
        at=site(defaultAction="allow"),
    )
    found = all_node_configurations(inputs)
    ((one,), (two,)) = found["n1"].rules, found["n2"].rules
    assert one.destination == two.destination
    assert found["n1"].sets[str(one.destination)] == (B,)
    assert found["n2"].sets[str(two.destination)] == (A,)
    assert found["n1"].default_action == "allow"


def test_a_node_judges_its_own_traffic_as_the_whole_view_does() -> None:
    rules = [
        rule("p", from_=net("A"), to=net("B"), action="pass"),
        rule(
            "d", from_=net("A"), services=[{"protocol": "tcp", "ports": ["10-20"]}], action="deny"
        ),
        rule("c", from_=net("C"), to=net("C"), action="reject"),
        rule("x", to=net("C"), services=[{"protocol": "udp"}]),
    ]
    inputs = three(*rules)
    planner = SitePlanner(inputs)
    addresses = ["10.0.1.5", "10.0.2.5", "10.0.3.5", "192.0.2.1"]
    for name, configuration in all_node_configurations(inputs).items():
        whole, own = FlowJudge(planner.plan(name)), Judge(configuration)
        for flow in flows(addresses):
            found = own.judge(flow)
            assert (found is not None) == own.concerns(flow)
            if found is not None:
                decision = whole.judge(flow)
                assert found.verdict == decision.verdict
                assert (found.rule.rule if found.rule else None) == (
                    decision.rule.rule if decision.rule else None
                )


def flows(addresses: list[str]) -> list[Packet]:
    return [
        packet(source, destination, protocol, port)
        for source, destination in product(addresses, repeat=2)
        for protocol, port in (("tcp", 9), ("tcp", 10), ("tcp", 21), ("udp", 15), ("icmp", 0))
    ]
