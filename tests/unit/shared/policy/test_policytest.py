"""A test's flow stands for every packet that it can mean."""

from typing import Any

import pytest

from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, SiteInputs
from shared.policy.policytest import FlowResult, run_test
from tests.unit.shared.policy.building import (
    document,
    net,
    network,
    node,
    policy,
    rule,
    service,
    tenant,
    workload,
    world,
)

A, B, V6 = "10.0.1.0/24", "10.0.2.0/24", "2001:db8::/64"
NETWORKS = (network("A", A), network("B", B), network("Gone"), network("V6", V6))
LOCAL = (
    workload("w1", "10.0.1.5", labels={"tier": "web"}),
    workload("w2", "10.0.2.5", labels={"tier": "db"}),
    workload("none"),
)


def result(inputs: SiteInputs, *, tenant: str = "common", node: str | None = None, **flow: Any):
    flow = {"from": {"network": "A"}, "to": {"network": "B"}, "service": "tcp/80", **flow}
    flow.setdefault("expect", "allow")
    spec = {"site": "s1", **({"node": node} if node else {}), "flows": [flow]}
    test = document("PolicyTest", "t", spec, tenant=tenant)
    (found,) = run_test(test, SitePlanner(inputs))
    return found


def having(*rules: dict[str, Any], **given: Any) -> SiteInputs:
    return world([*NETWORKS, policy("p", *rules, **given)], LOCAL)


TO_80 = rule("http", from_=net("A"), to=net("B"), services=[{"protocol": "tcp", "ports": [80]}])


def verdicts(found: FlowResult) -> dict[str, str | None]:
    return {
        each.decision.verdict: each.decision.rule.rule if each.decision.rule else None
        for each in found.outcomes
    }


def test_a_flow_holds_if_every_packet_gets_what_is_expected() -> None:
    found = result(having(TO_80))
    assert found.holds
    assert verdicts(found) == {"allow": "http"}


def test_one_address_of_a_network_that_differs_fails_with_an_example_of_each() -> None:
    one = rule("one", from_=[{"workloads": {"matchLabels": {"tier": "web"}}}], action="reject")
    found = result(having(one, TO_80))
    assert not found.holds
    assert verdicts(found) == {"reject": "one", "allow": "http"}
    (bad,) = [each for each in found.outcomes if each.decision.verdict == "reject"]
    assert bad.example.source == int.from_bytes(bytes([10, 0, 1, 5]))


def test_every_source_port_counts_unless_one_is_given() -> None:
    services = [{"protocol": "tcp", "ports": [80], "sourcePorts": ["0-1023"]}]
    inputs = having(rule("low", services=services, action="deny"), TO_80)
    assert verdicts(result(inputs)) == {"deny": "low", "allow": "http"}
    assert result(inputs, sourcePort=1024).holds
    assert result(inputs, sourcePort=1023, expect="deny").holds


def test_deny_also_accepts_reject_and_reject_only_itself() -> None:
    half = rule("half", from_=[{"workloads": {"matchLabels": {"tier": "web"}}}], action="reject")
    inputs = having(half, rule("rest", action="deny"))
    assert result(inputs, expect="deny").holds
    assert not result(inputs, expect="reject").holds


def test_a_uniformly_wrong_outcome_names_its_rule() -> None:
    found = result(having(rule("no", action="deny")))
    assert found.reason == "expected allow, but every packet gets deny"
    assert verdicts(found) == {"deny": "no"}


def test_the_sites_default_decides_too() -> None:
    assert verdicts(result(world(NETWORKS), expect="deny")) == {"deny": None}


def test_both_families_of_ends_are_tested() -> None:
    both = (network("A", A, V6), network("B", B, "2001:db8:1::/64"))
    four = rule(from_=net("A"), to=[{"networks": {"matchLabels": {"only": "v4"}}}])
    inputs = world([*both, network("Four", B, labels={"only": "v4"}), policy("p", four)])
    found = result(inputs)
    assert set(verdicts(found)) == {"allow", "deny"}
    assert {each.example.family for each in found.outcomes} == {4, 6}


@pytest.mark.parametrize(
    ("flow", "reason"),
    [
        ({"from": {"network": "X"}}, "there is no network X here"),
        ({"to": {"network": "Gone"}}, "network Gone has no subnets here"),
        ({"to": {"workload": "w9"}}, "there is no workload w9 at this site"),
        ({"to": {"workload": "none"}}, "`to` stands for no address here"),
        ({"from": {"workloads": {"matchLabels": {"a": "b"}}}}, "`from` stands for no address"),
        ({"from": {"networks": {"matchLabels": {"a": "b"}}}}, "`from` stands for no address"),
        ({"to": {"network": "V6"}}, "no address family in common"),
        ({"to": {"address": "2001:db8::1"}}, "no address family in common"),
        ({"service": "tcp"}, "tcp needs a port"),
        ({"service": "6"}, "6 needs a port: write tcp/PORT"),
        ({"service": "ssh"}, "there is no service ssh"),
        ({"service": "icmp/8"}, "icmp has no ports"),
        ({"service": "tcp/99999"}, "beyond the last port"),
        ({"service": "any/1"}, "name one protocol"),
        ({"service": "gre/1"}, "is no protocol"),
        ({"service": "256"}, "is no protocol"),
        ({"service": "icmp", "sourcePort": 1}, "nothing of icmp comes from source port 1"),
    ],
)
def test_what_stands_for_nothing_or_is_unknown_fails(flow: dict[str, Any], reason: str) -> None:
    for expect in ("allow", "deny"):
        found = result(having(TO_80), **flow, expect=expect)
        assert not found.holds
        assert reason in (found.reason or "")
        assert found.outcomes == ()


@pytest.mark.parametrize(
    ("end", "holds"),
    [
        ({"network": "A"}, True),
        ({"networks": {}}, False),
        ({"workload": "w1"}, True),
        ({"workload": "w2"}, False),
        ({"workloads": {"matchLabels": {"tier": "web"}}}, True),
        ({"workloads": {}}, False),
        ({"address": "10.0.1.77"}, True),
        ({"address": "10.0.3.77"}, False),
    ],
)
def test_ends_are_named_in_five_ways(end: dict[str, Any], holds: bool) -> None:
    assert result(having(TO_80), **{"from": end}).holds is holds


class TestServices:
    def test_a_services_every_entry_is_tested(self) -> None:
        web = service("web", {"protocol": "tcp", "ports": [80]}, {"protocol": "tcp", "ports": [81]})
        inputs = world([*NETWORKS, web, policy("p", TO_80)])
        found = result(inputs, service="web")
        assert set(verdicts(found)) == {"allow", "deny"}
        assert {each.example.port for each in found.outcomes} == {80, 81}

    def test_a_service_of_any_protocol_means_all_256(self) -> None:
        everything = service("all", {"protocol": "any"})
        gre = rule("gre", services=[{"protocol": 47}], action="deny")
        inputs = world([*NETWORKS, everything, policy("p", gre, rule())])
        assert verdicts(result(inputs, service="all")) == {"deny": "gre", "allow": "r"}

    def test_overlapping_entries_are_no_trouble(self) -> None:
        web = service(
            "web",
            {"protocol": "tcp", "ports": ["1-100"]},
            {"protocol": "tcp", "ports": ["50-200"], "sourcePorts": [7]},
        )
        assert result(world([*NETWORKS, web, policy("p")]), service="web").holds

    def test_protocols_without_ports_stand_alone(self) -> None:
        inputs = having(rule(services=[{"protocol": "icmp"}, {"protocol": 47}]))
        assert result(inputs, service="icmp").holds
        assert result(inputs, service="47").holds
        assert result(inputs, service="icmpv6", expect="deny").holds

    def test_a_protocol_may_be_a_number(self) -> None:
        assert result(having(TO_80), service="6/80").holds

    def test_a_service_may_be_called_tcp(self) -> None:
        named = service("tcp", {"protocol": "tcp", "ports": [80]})
        inputs = world([*NETWORKS, named, policy("p", TO_80)])
        assert result(inputs, service="tcp").holds

    def test_a_service_without_entries_is_unresolved(self) -> None:
        found = result(world([*NETWORKS, service("s"), policy("p")]), service="s")
        assert found.reason == "service s has no entries here"

    def test_a_given_source_port_narrows_a_service(self) -> None:
        named = service(
            "s",
            {"protocol": "tcp", "ports": [80], "sourcePorts": ["1-9"]},
            {"protocol": "udp", "ports": [81]},
            {"protocol": "icmp"},
        )
        asking = policy("p", rule(services=[{"protocol": "udp"}]))
        inputs = world([*NETWORKS, named, asking])
        assert result(inputs, service="s", sourcePort=10).holds
        assert not result(inputs, service="s", sourcePort=9).holds

    def test_a_given_source_port_of_any_means_the_protocols_with_ports(self) -> None:
        everything = service("all", {"protocol": "any"})
        rules = rule(services=[{"protocol": each} for each in ("tcp", "udp", "sctp")])
        inputs = world([*NETWORKS, everything, policy("p", rules)])
        assert result(inputs, service="all", sourcePort=5).holds


class TestTenants:
    def inputs(self) -> SiteInputs:
        own = network("A", "10.5.0.0/24", tenant="blue")
        local = [workload("w1", "10.5.0.9", tenant="blue"), *LOCAL]
        asking = policy("p", rule(from_=net("A")), tenant="blue")
        return world([tenant("blue"), *NETWORKS, own, asking], local)

    def test_names_are_the_tests_tenants_and_then_commons(self) -> None:
        assert result(self.inputs(), tenant="blue").holds
        assert not result(self.inputs()).holds

    def test_a_workload_is_the_tests_tenants_and_then_commons(self) -> None:
        assert result(self.inputs(), tenant="blue", **{"from": {"workload": "w1"}}).holds
        found = result(self.inputs(), tenant="blue", **{"from": {"workload": "w2"}})
        assert not found.holds
        assert found.outcomes


def test_a_nodes_view_is_its_own() -> None:
    local: list[Document] = [
        node("n1"),
        network("B", "10.7.0.0/24", scope="node/n1"),
        *LOCAL,
    ]
    inputs = world([*NETWORKS, policy("p", TO_80)], local)
    to = {"to": {"address": "10.7.0.1"}}
    assert not result(inputs, **to).holds
    assert result(inputs, node="n1", **to).holds


def test_staged_policies_count_when_asked() -> None:
    test = document(
        "PolicyTest",
        "t",
        {
            "site": "s1",
            "flows": [
                {
                    "from": {"network": "A"},
                    "to": {"network": "B"},
                    "service": "tcp/80",
                    "expect": "allow",
                }
            ],
        },
    )
    planner = SitePlanner(having(TO_80, stage="staged"))
    assert not run_test(test, planner)[0].holds
    assert run_test(test, planner, staged=True)[0].holds
