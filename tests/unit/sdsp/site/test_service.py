"""What a site answers about itself."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sdsp.site.service import parse_packet
from sdsp.site.sight import Sight
from shared.access.reach import Place, Reach
from shared.algebra.cidrs import parse_address
from shared.errors import Invalid, NotFound, Unavailable
from shared.policy.nodeconfig import Packet
from tests.unit.sdsp.compiled import World, compiled
from tests.unit.sdsp.world import global_, key, policy, rule, to_network, write

everybody = Sight()
common_only = Sight(Reach((Place(frozenset({"common"})),)))


def packet(source: str, destination: str) -> Packet:
    return parse_packet(parse_address(source), parse_address(destination), 6, 443, 49152)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Node n1 denies what comes to network A; n2, in group g, knows A by other addresses."""
    async with compiled() as found:
        await write(
            found.store,
            {
                key("NodeGroup", "g"): {},
                key("Node", "n2"): {"groups": ["g"]},
                key("Node", "n3"): {"admission": "pending"},
                key("Workload", "x"): {"addresses": ["10.67.0.5"], "node": "n2"},
                key("Workload", "lonely"): {"addresses": ["10.68.0.5"]},
                key("Network", "A", scope="group/g"): {"subnets": ["10.99.0.0/24"]},
                key("SecurityPolicy", "ours"): policy(rule(action="allow")),
                global_("Tenant", "shop"): {},
                key("Network", "T", tenant="shop"): {"subnets": ["10.70.0.0/24"]},
                key("SecurityPolicy", "theirs", tenant="shop"): policy(rule(to=to_network("T"))),
            },
        )
        await found.compile()
        yield found


async def trace(world: World, source: str, destination: str, node: str | None = None) -> Any:
    return await world.view.trace(packet(source, destination), node, staged=False, sight=everybody)


async def test_a_flow_passes_only_if_both_ends_allow(world: World) -> None:
    told = await trace(world, "10.67.0.5", "10.66.0.5")
    assert {name: view["verdict"] for name, view in told["views"].items()} == {
        "n1": "allow",
        "n2": "allow",
    }
    assert told["outcome"] == "allow"
    await write(world.store, {key("SecurityPolicy", "ours", scope="node/n1"): policy(rule())})
    await world.compile()
    told = await trace(world, "10.67.0.5", "10.66.0.5")
    assert {name: view["verdict"] for name, view in told["views"].items()} == {
        "n1": "deny",
        "n2": "allow",
    }
    assert told["outcome"] == "deny"


async def test_a_flow_with_no_end_at_a_node_is_judged_by_the_site(world: World) -> None:
    told = await trace(world, "192.0.2.1", "10.68.0.5")
    assert (told["views"], told["outcome"]) == ({}, told["view"]["verdict"])


async def test_one_nodes_judgement_is_its_own(world: World) -> None:
    told = await trace(world, "10.67.0.5", "10.66.0.5", node="n2")
    assert list(told["views"]) == ["n2"]
    assert told["view"] == told["views"]["n2"]


async def test_an_unknown_node_is_not_found(world: World) -> None:
    for asked in (
        trace(world, "10.67.0.5", "10.66.0.5", node="nope"),
        world.view.resolve("nope", staged=False, sight=everybody),
    ):
        with pytest.raises(NotFound) as caught:
            await asked
        assert caught.value.code == "unknown_node"


def test_a_flow_is_between_addresses_of_one_family() -> None:
    with pytest.raises(Invalid) as caught:
        packet("10.0.0.1", "::1")
    assert caught.value.code == "family_mismatch"


async def test_before_the_fsm_was_heard_nothing_is_resolved(world: World) -> None:
    world.newest = None
    with pytest.raises(Unavailable) as caught:
        await world.view.resolve(None, staged=False, sight=everybody)
    assert caught.value.code == "not_compiled"
    assert (await world.view.status(everybody))["policies"] == []


async def test_another_tenants_policies_rules_and_workloads_are_not_shown(world: World) -> None:
    lonely = key("Workload", "theirs", tenant="shop")
    await write(world.store, {lonely: {"addresses": ["10.70.0.5"]}})
    await world.compile()

    status = await world.view.status(common_only)
    assert {each["name"] for each in status["policies"]} == {"p", "ours"}
    assert status["unenforced"] == ["lonely"]
    assert (await world.view.status(everybody))["unenforced"] == ["lonely", "theirs"]

    resolved = await world.view.resolve(None, staged=False, sight=common_only)
    assert {each["policy"] for each in resolved["rules"]} == {"p", "ours"}

    told = await world.view.trace(
        packet("192.0.2.1", "10.70.0.5"), None, staged=False, sight=common_only
    )
    assert "theirs" not in {step["policy"] for step in told["view"]["steps"]}


async def test_each_node_says_how_it_stands(world: World) -> None:
    world.acknowledge()
    status = await world.view.status(everybody)
    assert {each["name"]: each["state"] for each in status["nodes"]} == {
        "n1": "realised",
        "n2": "pending",
        "n3": "pending",
    }
    assert [each["admission"] for each in status["nodes"]] == ["admitted", "admitted", "pending"]


SHOP = {
    "network": "V",
    "ports": [{"protocol": "tcp", "port": 443}],
    "backends": {"workloads": {"matchLabels": {"app": "shop"}}},
}


@pytest.mark.parametrize("algorithm", ["random", "hash"])
async def test_a_trace_tells_of_the_backends_that_one_may_know_of(
    world: World, algorithm: str
) -> None:
    backends = {
        key("Workload", "near"): {"addresses": ["10.68.0.7"]},
        key("Workload", "theirs", tenant="shop"): {"addresses": ["10.70.0.5"]},
    }
    await write(
        world.store,
        {
            key("ServicePolicy", "may"): {"services": {"loadBalancer": "optional"}},
            key("Node", "n2"): {"groups": ["g"], "services": ["loadBalancer"]},
            key("Network", "V"): {"subnets": ["10.66.0.1/32"]},
            key("LoadBalancer", "front"): {**SHOP, "algorithm": algorithm},
        },
    )
    await write(world.store, backends, labels={"app": "shop"})
    await world.compile()
    asked = packet("10.67.0.5", "10.66.0.1")

    whole = await world.view.trace(asked, None, staged=False, sight=everybody)
    assert {each["to"] for each in whole["balanced"]["backends"]} == {"10.68.0.7", "10.70.0.5"}
    assert whole["balanced"]["count"] == 2

    told = await world.view.trace(asked, None, staged=False, sight=common_only)
    assert [each["to"] for each in told["balanced"]["backends"]] == ["10.68.0.7"]
    assert told["balanced"]["count"] == 2
    assert told["outcome"] == whole["outcome"]
    assert "10.70" not in json.dumps(told)
