"""Network services all the way: asked for at the FSM, named at the site, run by a node's agent."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dsn.enforce.last_good import LastGood
from dsn.settings import Files
from shared.errors import HanseError
from shared.feed import knows
from tests.integration.fsm.harness import FSM
from tests.integration.road.test_conflicts import conflicts, spec_of
from tests.integration.road.world import RoadSite

VIRTUAL = "10.9.9.1"
SHOP = {
    "network": "ShopAddress",
    "ports": [{"protocol": "tcp", "port": 80, "targetPort": 8080}],
    "backends": {"workloads": {"matchLabels": {"app": "shop"}}},
}


async def declared(fsm: FSM, site: RoadSite, requirement: str) -> None:
    """Ask for a balancer at the FSM, and say at the site what it means."""
    admin = fsm.admin()
    await admin.put("networks", "ShopAddress", {})
    await admin.put("loadbalancers", "shop", SHOP)
    await admin.put("servicepolicies", "services", {"services": {"loadBalancer": requirement}})
    await site.heard(fsm)
    await site.populate()
    await site.put("Network", "ShopAddress", {"subnets": [f"{VIRTUAL}/32"]})
    for number in (1, 2):
        await site.put(
            "Workload",
            f"shop-{number}",
            {"addresses": [f"10.0.0.{20 + number}"]},
            labels={"app": "shop"},
        )


def balanced(data: Path) -> list[tuple[str, int | None, tuple[str, ...]]]:
    """Return what a node saved as what it enforces: addresses, target ports and backends."""
    saved = LastGood(Files.of(data).last_good).load()
    assert saved is not None
    found = saved.configuration.balancers or ()
    return [(each.address, each.target, each.backends) for each in found]


async def runs(site: RoadSite, *services: str) -> dict[str, Any]:
    return await site.until_node("node-1", state="realised", services=list(services))


def missing(found: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    return [each for each in found if each["type"] == "mandatory_service_missing"]


def is_open(found: list[dict[str, Any]]) -> bool:
    return [each.get("state", "open") for each in missing(found)] == ["open"]


def is_resolved(found: list[dict[str, Any]]) -> bool:
    return [each.get("state", "open") for each in missing(found)] == ["resolved"]


async def test_an_optional_service_runs_where_it_is_declared_and_nowhere_else(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    await declared(fsm, site, "optional")
    await site.join_node("node-1", tmp_path / "n1")
    async with site.agent(tmp_path / "n1"):
        await runs(site, "firewall")
        assert balanced(tmp_path / "n1") == []

        await site.api.patch("Node", "node-1", {"spec": {"services": ["loadBalancer"]}})
        await runs(site, "firewall", "loadBalancer")
        while balanced(tmp_path / "n1") != [(VIRTUAL, 8080, ("10.0.0.21", "10.0.0.22"))]:
            await site.api.status()

        await site.api.delete("Workload", "shop-1")
        while balanced(tmp_path / "n1") != [(VIRTUAL, 8080, ("10.0.0.22",))]:
            await site.api.status()

        # What the policy doesn't list doesn't run, whoever declares it.
        await fsm.admin().put("servicepolicies", "services", {"services": {}})
        await runs(site, "firewall")
        await site.api.patch("Node", "node-1", {"spec": {"services": []}})
    found = [each async for each in site.api.list("Conflict")]
    assert not missing([dict(spec_of(each)) for each in found])


async def test_a_mandatory_service_that_is_missing_is_a_conflict_until_it_runs(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    await declared(fsm, site, "mandatory")

    (found,) = missing(await conflicts(site, is_open))
    assert found["urgency"] == "immediate"
    assert found["facts"] == {
        "service": "loadBalancer",
        "node": "node-1",
        "why": "undeclared",
        "workloads": ["w1"],
        "workloadCount": 1,
    }

    await site.api.patch("Node", "node-1", {"spec": {"services": ["loadBalancer"]}})
    (found,) = missing(await conflicts(site, is_resolved))
    assert found["closed"]["why"] == (
        "the node runs the service, or it is no longer mandatory there"
    )


async def test_an_agent_that_cannot_balance_gets_all_else_and_is_a_conflict(
    fsm: FSM, site: RoadSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declared(fsm, site, "mandatory")
    await site.api.patch("Node", "node-1", {"spec": {"services": ["loadBalancer"]}})
    await site.join_node("node-1", tmp_path / "n1")
    monkeypatch.setitem(knows.AGENT, knows.HEADER, knows.STAGED)
    async with site.agent(tmp_path / "n1"):
        await runs(site, "firewall")
        (found,) = missing(await conflicts(site, is_open))
        assert found["facts"]["why"] == "notRunning"

        monkeypatch.undo()
    async with site.agent(tmp_path / "n1"):
        await runs(site, "firewall", "loadBalancer")
        await conflicts(site, is_resolved)


async def test_the_fsm_is_told_how_many_nodes_run_a_service(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    await declared(fsm, site, "optional")
    await site.api.patch("Node", "node-1", {"spec": {"services": ["loadBalancer"]}})
    await site.join_node("node-1", tmp_path / "n1")
    async with site.agent(tmp_path / "n1"):
        await runs(site, "firewall", "loadBalancer")
        while True:
            (told,) = (await fsm.admin().status())["sites"]
            if told["counts"].get("runLoadBalancer") == 1:
                break


async def test_a_trace_to_a_virtual_address_tells_the_verdict_of_each_backend(
    fsm: FSM, site: RoadSite
) -> None:
    await declared(fsm, site, "optional")
    # Its node doesn't run the service yet: the address is one like any other.
    await traced(site, lambda told: "balanced" not in told)

    await site.api.patch("Node", "node-1", {"spec": {"services": ["loadBalancer"]}})
    told = await traced(site, lambda told: outcomes(told) == {21: "allow", 22: "allow"})
    chosen = told["balanced"]["chosen"]
    assert chosen["to"] in {"10.0.0.21", "10.0.0.22"}
    assert chosen["port"] == 8080
    assert told["outcome"] == "allow"

    # What is told of the flow is what becomes of the one that it will be.
    rule = {"from": "any", "to": [{"cidr": f"{chosen['to']}/32"}], "action": "deny", "name": "shut"}
    rest = {"from": "any", "to": "any", "action": "allow", "name": "rest"}
    await fsm.admin().delete("securitypolicies", "p")
    await site.heard(fsm)
    await site.put("SecurityPolicy", "shut", {"rules": [rule, rest]})
    mixed = ["allow", "deny"]
    told = await traced(site, lambda told: sorted(outcomes(told).values()) == mixed)
    assert told["outcome"] == "deny"

    for number in (1, 2):
        await site.api.delete("Workload", f"shop-{number}")
    told = await traced(site, lambda told: not outcomes(told))
    assert told["outcome"] == "reject"


async def traced(site: RoadSite, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask until it is so: what was written is compiled soon after."""
    flow = {"from": "10.0.0.5", "to": VIRTUAL, "protocol": 6, "port": 80, "sourcePort": 40000}
    while not holds(told := dict(await site.api.trace(flow))):
        pass
    return told


def outcomes(told: Mapping[str, Any]) -> dict[int, str]:
    """Return what becomes of a flow to each backend, by the last part of its address."""
    backends = told.get("balanced", {}).get("backends", ())
    return {int(each["to"].rpartition(".")[2]): each["outcome"] for each in backends}


async def test_balancers_are_judged_where_they_are_written(fsm: FSM, site: RoadSite) -> None:
    await declared(fsm, site, "optional")
    await site.put("Network", "V", {"subnets": [f"{VIRTUAL}/32", "10.9.9.2/32"]})

    async def refused(spec: dict[str, Any], name: str = "other", **metadata: Any) -> set[str]:
        with pytest.raises(HanseError) as caught:
            await site.put("LoadBalancer", name, {**SHOP, **spec}, **metadata)
        return {each.code for each in caught.value.fields}

    assert await refused({"network": "nowhere"}) == {"unknown_network"}
    assert await refused({"ports": [{"service": "nowhere"}]}) == {"unknown_service"}
    assert await refused({"network": "A"}) == {"too_many_addresses"}
    assert await refused({"network": "V", "addresses": ["10.9.9.3"]}) == {"not_in_network"}
    assert await refused({"network": "V", "addresses": [VIRTUAL]}) == {"address_taken"}
    assert await refused({"network": "A", "addresses": ["10.0.0.5"]}) == {"address_taken"}
    only_here = {"network": "V", "addresses": ["10.9.9.2"]}
    assert await refused({**only_here, "sites": {}}) == {"fsm_only"}
    await site.put("LoadBalancer", "other", {**SHOP, **only_here})

    admin = fsm.admin()
    with pytest.raises(HanseError) as caught:
        await admin.put("loadbalancers", "fixed", {**SHOP, "addresses": [VIRTUAL]})
    assert {each.code for each in caught.value.fields} == {"address_in_global_policy"}
