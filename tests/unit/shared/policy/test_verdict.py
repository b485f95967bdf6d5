"""One flow's verdict: quickly, and with its story."""

import pytest

from shared.policy.compile import SitePlanner, plan
from shared.policy.inputs import SiteInputs
from shared.policy.nodeconfig import Packet
from shared.policy.verdict import Decision, FlowJudge, judge
from tests.unit.shared.policy.building import (
    net,
    network,
    packet,
    policy,
    rule,
    site,
    tenant,
    workload,
    world,
)

A, B = "10.0.1.0/24", "10.0.2.0/24"


def decided(inputs: SiteInputs, flow: Packet) -> tuple[str, str, str | None]:
    found = FlowJudge(plan(inputs)).judge(flow)
    assert judge(plan(inputs), flow).decision[:2] == found[:2]
    return shown(found)


def shown(found: Decision) -> tuple[str, str, str | None]:
    return found.verdict, found.tier, found.rule.rule if found.rule else None


FLOW = packet("10.0.1.5", "10.0.2.5", "tcp", 80, 40000)
TCP = [{"protocol": "tcp"}]


def test_the_first_rule_that_matches_wins() -> None:
    rules = [
        rule("udp", services=[{"protocol": "udp"}], action="deny"),
        rule("first", services=TCP, action="reject"),
        rule("second", action="allow"),
    ]
    assert decided(world([policy("p", *rules)]), FLOW) == ("reject", "default", "first")


def test_what_no_rule_decides_the_site_does() -> None:
    assert decided(world(), FLOW) == ("deny", "site", None)
    assert decided(world(at=site(defaultAction="allow")), FLOW) == ("allow", "site", None)


def test_pass_ends_its_tier_and_goes_on_with_the_next() -> None:
    inputs = world(
        [
            policy(
                "m",
                rule("pass", action="pass"),
                rule("never", action="deny"),
                enforcement="mandatory",
                priority=1,
            ),
            policy("m2", rule("nor-this", action="deny"), enforcement="mandatory"),
            policy("d", rule("last", action="reject")),
        ],
        [policy("l", rule("pass-too", action="pass"), rule("skipped"), scope="site")],
    )
    assert decided(inputs, FLOW) == ("reject", "default", "last")


def test_pass_in_the_default_tier_leads_to_the_sites_action() -> None:
    inputs = world([policy("d", rule("p", action="pass"), rule("x", action="allow"))])
    assert decided(inputs, FLOW) == ("deny", "site", None)


def test_any_matches_both_families_and_a_set_its_own() -> None:
    inputs = world(
        [
            network("A", A, "2001:db8::/64"),
            network("B", B),
            policy("p", rule(from_=net("A"), to=net("B"))),
        ]
    )
    assert decided(inputs, FLOW)[0] == "allow"
    assert decided(inputs, packet("2001:db8::1", "2001:db8::2"))[0] == "deny"
    everything = world([policy("p")])
    assert decided(everything, packet("2001:db8::1", "2001:db8::2"))[0] == "allow"


@pytest.mark.parametrize(
    ("flow", "verdict"),
    [
        (packet("10.0.1.5", "192.0.2.1"), "allow"),
        (packet("192.0.2.1", "10.0.1.5"), "allow"),
        (packet("192.0.2.1", "10.9.0.1"), "allow"),
        (packet("192.0.2.1", "198.51.100.1"), "deny"),
        (packet("10.0.2.5", "10.9.0.2"), "deny"),
    ],
)
def test_a_tenants_rule_needs_one_end_among_its_own(flow: Packet, verdict: str) -> None:
    inputs = world(
        [tenant("blue"), network("Own", A, tenant="blue"), policy("p", tenant="blue")],
        [workload("w", "10.9.0.1", tenant="blue"), workload("c", "10.9.0.2")],
    )
    assert decided(inputs, flow)[0] == verdict


@pytest.mark.parametrize(
    ("flow", "rule_name"),
    [
        (packet("10.0.1.5", "10.0.2.5", "tcp", 80, 1000), "both"),
        (packet("10.0.1.5", "10.0.2.5", "tcp", 443, 1000), None),
        (packet("10.0.1.5", "10.0.2.5", "tcp", 443, 2000), "both"),
        (packet("10.0.1.5", "10.0.2.5", "udp", 80, 1000), None),
        (packet("10.0.1.5", "10.0.2.5", "icmp"), "icmp"),
        (packet("10.0.1.5", "10.0.2.5", 47), None),
    ],
)
def test_ports_go_with_their_source_ports(flow: Packet, rule_name: str | None) -> None:
    services = [
        {"protocol": "tcp", "ports": [80], "sourcePorts": [1000]},
        {"protocol": "tcp", "ports": [443], "sourcePorts": [2000]},
    ]
    inputs = world(
        [policy("p", rule("both", services=services), rule("icmp", services=[{"protocol": 1}]))]
    )
    assert decided(inputs, flow)[2] == rule_name


def test_a_story_tells_why_each_rule_did_not_match() -> None:
    rules = [
        rule("gone", from_=net("Gone"), action="deny"),
        rule("none", to=[{"workloads": {"matchLabels": {"a": "b"}}}]),
        rule("source", from_=net("B")),
        rule("target", to=net("A")),
        rule("service", services=[{"protocol": "tcp", "ports": [22]}]),
        rule("hit", from_=net("A"), action="allow"),
        rule("unseen"),
    ]
    inputs = world(
        [network("A", A), network("B", B), network("Gone"), policy("p", *rules)],
    )
    story = judge(SitePlanner(inputs).plan(), FLOW)
    assert [(step.rule.rule, step.matched, step.reason) for step in story.steps] == [
        ("gone", False, "is not installed, since `from` is empty: unresolved network:Gone"),
        ("none", False, "is not installed, since `to` is empty: nothing is selected"),
        ("source", False, "10.0.1.5 is not in `from`"),
        ("target", False, "10.0.2.5 is not in `to`"),
        ("service", False, "the protocol or a port is not among `services`"),
        ("hit", True, "matches"),
    ]


def test_a_story_tells_of_tenants_bounds_and_of_passing_on() -> None:
    inputs = world(
        [
            tenant("blue"),
            policy("b", tenant="blue", enforcement="mandatory"),
            policy("m", rule("on", action="pass"), enforcement="mandatory"),
        ]
    )
    story = judge(plan(inputs), FLOW)
    assert [step.reason for step in story.steps] == [
        "neither end is an address of tenant blue",
        "matches",
    ]
    assert story.decision.tier == "site"
