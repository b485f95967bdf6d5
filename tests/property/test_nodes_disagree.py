"""Nodes that disagree, against packets on the borders of all rules between all workloads."""

from collections.abc import Iterator
from ipaddress import ip_address
from itertools import permutations
from random import Random
from typing import Any, cast

import pytest

from shared.algebra.packets import PacketSet
from shared.model.inventory import Workload
from shared.policy.compile import SitePlanner
from shared.policy.conflicts import nodes_disagree as module
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.nodes_disagree import nodes_disagree
from shared.policy.flows import packet_json
from shared.policy.inputs import SiteInputs
from shared.policy.nodeconfig import Packet
from shared.policy.verdict import judge
from tests.property.borders import border_ports
from tests.property.generated_documents import NOW, SITE
from tests.property.generators import rolled_world
from tests.property.planner_worlds import site_inputs
from tests.property.profile import rolls
from tests.unit.shared.policy.building import (
    group,
    net,
    network,
    node,
    policy,
    rule,
    site,
    tenant,
    workload,
    world,
)

WITHIN = 60
"""Worlds within which each bug must show."""


def allows(planner: SitePlanner, node: str | None, packet: Packet) -> bool:
    """The verdict, by walking through the rules."""
    return judge(planner.plan(node), packet).decision.verdict == "allow"


def hosts(planner: SitePlanner) -> dict[str, set[tuple[int, int]]]:
    """The addresses behind each admitted node."""
    found: dict[str, set[tuple[int, int]]] = {}
    for document in planner.inputs.local.of_kind("Workload"):
        workload = cast("Workload", document.spec)
        node = planner.places.nodes.get(workload.node or "")
        if node is not None and node.admission == "admitted":
            pairs = {(each.version, int(each)) for each in map(ip_address, workload.addresses)}
            found.setdefault(str(workload.node), set()).update(pairs)
    return found


def packets(planner: SitePlanner, dice: Random) -> Iterator[tuple[str, str, Packet]]:
    """Yield packets between workloads of two nodes, on the borders of what rules match."""
    entries: list[Any] = [
        entry
        for document in planner.inputs.federation
        for entry in document.spec.to_json().get("entries", [])
    ]
    ports = [21, 22, *border_ports([each for each in entries if "ports" in each])]
    for (one, mine), (other, theirs) in permutations(hosts(planner).items(), 2):
        for family, source in mine:
            for version, destination in theirs:
                if family != version:
                    continue
                for protocol in (6, 17, 132, 1, 58, 47):
                    bearing = protocol in (6, 17, 132)
                    port = dice.choice(ports) if bearing else 0
                    from_port = dice.choice(ports) if bearing else 0
                    packet = Packet(
                        cast("Any", family), source, destination, protocol, from_port, port
                    )
                    yield one, other, packet


def scopes(planner: SitePlanner, node: str) -> tuple[str, ...]:
    return tuple(each for each in planner.chain(node) if each.startswith(("node/", "group/")))


HOSTS = [f"10.0.0.{number}" for number in range(1, 7)] + ["2001:db8::1", "2001:db8::2"]
SCOPES = ("node/n1", "node/n2", "group/g", "group/h")


def scoped_world(seed: int) -> SiteInputs:
    """Return a small site with definitions for nodes and groups."""
    dice = Random(seed)
    nodes = [
        node("n1", *dice.choice([(), ("g",)])),
        node("n2", *dice.choice([(), ("g",), ("h", "g")])),
        node("n3", *dice.choice([(), ("h",)])),
        node("n4", "g", admission=dice.choice(["admitted", "pending"])),
    ]
    tenants = ["common"] * 9 + ["acme"]
    workloads = [
        workload(f"w{number}", host, node=f"n{dice.randint(1, 4)}", tenant=dice.choice(tenants))
        for number, host in enumerate(HOSTS)
    ]
    networks = [network("A", "10.0.0.0/30", "2001:db8::/64", scope="site")]
    networks += [
        network("A", "10.0.0.4/31", scope=scope) for scope in SCOPES if dice.random() < 0.15
    ]
    policies = [
        policy(f"p{number}", *_rules(dice), scope=scope, priority=dice.choice([400, 500]))
        for number, scope in enumerate(("site", "site", *SCOPES))
        if scope == "site" or dice.random() < 0.3
    ]
    own = [*nodes, group("g"), group("h"), *workloads, *networks, *policies]
    default = dice.choice(["allow", "deny"])
    return world([tenant("acme")], own, at=site(defaultAction=default))


def _rules(dice: Random) -> list[dict[str, Any]]:
    ends: list[Any] = ["any", net("A"), [{"cidr": "10.0.0.2/31"}], [{"cidr": "2001:db8::1"}]]
    services: list[Any] = ["any", [{"protocol": "tcp", "ports": ["22"]}], [{"protocol": "icmp"}]]
    return [
        rule(
            f"r{number}",
            from_=dice.choice(ends),
            to=dice.choice(ends),
            services=dice.choice(services),
            action=dice.choice(["allow", "allow", "deny", "reject", "pass"]),
        )
        for number in range(dice.randint(1, 3))
    ]


def compare(inputs: SiteInputs, seed: int) -> list[Finding]:
    """Hold what is found in a world against its packets; return what is found."""
    planner = SitePlanner(inputs)
    found = list(nodes_disagree(planner))
    blamed = {tuple(cast("list[str]", each.facts["scopes"])) for each in found}
    for one, other, packet in packets(planner, Random(seed)):
        sides = {node: allows(planner, node, packet) for node in (one, other)}
        if sides[one] != sides[other]:
            own = allows(planner, None, packet)
            (apart,) = [node for node, verdict in sides.items() if verdict != own]
            assert scopes(planner, apart) in blamed
    for each in found:
        check(planner, each)
    return found


def check(planner: SitePlanner, finding: Finding) -> None:
    """The example lies between the two nodes, which judge it apart."""
    source, target = cast("list[dict[str, Any]]", finding.facts["ends"])
    assert (source["verdict"] == "allow") != (target["verdict"] == "allow")
    example = cast("Any", finding.facts["example"])
    if example is None:
        assert finding.facts["byOthers"]
        return
    for end, address in ((source, example["from"]), (target, example["to"])):
        ip = ip_address(address)
        assert (ip.version, int(ip)) in hosts(planner)[end["node"]]
        packet = packet_of(example)
        story = judge(planner.plan(end["node"]), packet)
        assert story.decision.verdict == end["verdict"]
        assert packet_json(packet) == example


def packet_of(flow: dict[str, Any]) -> Packet:
    source, target = ip_address(flow["from"]), ip_address(flow["to"])
    numbers = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
    protocol = numbers.get(flow["protocol"])
    return Packet(
        cast("Any", source.version),
        int(source),
        int(target),
        int(flow["protocol"]) if protocol is None else protocol,
        flow.get("sourcePort", 0),
        flow.get("port", 0),
    )


def test_disagreements_are_those_of_packets_and_examples_are_true() -> None:
    found = [each for seed in rolls(150) for each in compare(scoped_world(seed), seed)]
    assert len(found) > 40
    assert {bool(each.facts["example"]) for each in found} == {True, False}


def test_disagreements_of_generated_worlds_are_those_of_packets() -> None:
    worlds = {seed: site_inputs(rolled_world(seed), SITE, NOW) for seed in rolls(60)}
    assert [each for seed, inputs in worlds.items() for each in compare(inputs, seed)]


BUGS: dict[str, tuple[Any, str, Any]] = {
    "only what leaves is looked at": (
        module,
        "_between",
        lambda universe, one, other: universe.matching([one.addresses], [other.addresses], None),
    ),
    "whoever is not admitted counts": (
        module,
        "_admitted",
        lambda planner: set(planner.places.nodes),
    ),
    "what both judge otherwise is apart": (PacketSet, "__sub__", lambda one, _: one),
}


@pytest.mark.parametrize("bug", [pytest.param(bug, id=name) for name, bug in BUGS.items()])
def test_a_bug_in_the_comparison_is_noticed(
    bug: tuple[Any, str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*bug)
    with pytest.raises((AssertionError, KeyError)):
        compare_worlds()


def compare_worlds() -> None:
    for seed in range(WITHIN):
        compare(scoped_world(seed), seed)
