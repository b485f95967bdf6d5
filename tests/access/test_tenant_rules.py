"""What a tenant's people may write at both servers, asked of their real API."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.model.kinds import KINDS
from shared.policy.nodeplan import admitted_configurations
from tests.access.tenants import RIVAL, Asked, Server, World, world
from tests.access.test_doors import all_routes
from tests.integration.fsm.conftest import stopped, template
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import document

__all__ = ["stopped", "template"]

RULE = {"name": "r", "from": "any", "to": "any", "action": "allow"}


@pytest.fixture
async def everything(stopped: FSM, tmp_path: Path) -> AsyncIterator[World]:
    async with stopped.serving(), world(stopped, tmp_path) as found:
        yield found


async def put(  # noqa: PLR0917 - as they are read aloud
    server: Server, token: str, kind: str, name: str, spec: Any, tenant: str = "acme", **more: str
) -> Asked:
    query = "&".join(f"{key}={value}" for key, value in {"tenant": tenant, **more}.items())
    url = f"/api/v1/{KINDS[kind].plural}/{name}?{query}"
    return await server.ask(token, "PUT", url, document(kind, name, spec, tenant=tenant, **more))


def codes(asked: Asked) -> list[tuple[str, str]]:
    """Return code and path of each fault of a refusal; nothing if it was no refusal."""
    if asked.status in (200, 201):
        return []
    found = json.loads(asked.answer)
    return [(each["code"], each["path"]) for each in found["errors"]] or [(found["code"], "")]


async def test_a_tenants_addresses_are_given_by_who_may_allot(everything: World) -> None:
    subnets = {"subnets": ["10.1.7.0/24"]}
    for server in (everything.fsm, everything.sdsp):
        admin = server.token("admin", tenants=["acme"])
        tenant = server.token("tenant-admin", tenants=["acme"])
        refused = await put(server, tenant, "Network", "more", subnets)
        assert codes(refused) == [("forbidden", "spec.subnets")]
        # A name alone gives nobody addresses, and who has been given some may write all else.
        assert codes(await put(server, tenant, "Network", "named", {})) == []
        assert codes(await put(server, admin, "Network", "more", subnets)) == []
        assert codes(await put(server, tenant, "Network", "more", {**subnets, "vlan": 7})) == []
        wider = {"subnets": ["10.1.7.0/24", "10.1.8.0/24"]}
        for method, body in (
            ("PUT", document("Network", "more", wider, tenant="acme")),
            ("PATCH", {"spec": wider}),
        ):
            url = "/api/v1/networks/more?tenant=acme"
            assert codes(await server.ask(tenant, method, url, body)) == [
                ("forbidden", "spec.subnets")
            ]
        operations = [
            {"operation": "put", "object": document("Network", "more", wider, tenant="acme")}
        ]
        batch = await server.ask(tenant, "POST", "/api/v1/transactions", {"operations": operations})
        assert codes(batch) == [("forbidden", "spec.subnets")]
        assert codes(await server.ask(tenant, "DELETE", "/api/v1/networks/more?tenant=acme")) == []
    server = everything.sdsp
    tenant = server.token("tenant-admin", tenants=["acme"])
    web = {"addresses": ["10.1.0.5"], "node": "node-2"}
    assert codes(await put(server, tenant, "Workload", "web", web)) == []
    web = {"addresses": ["10.1.0.6"], "node": "node-2"}
    assert codes(await put(server, tenant, "Workload", "web", web)) == [
        ("forbidden", "spec.addresses")
    ]


async def test_no_two_tenants_share_addresses_in_any_view(everything: World) -> None:
    above, below = everything.fsm, everything.sdsp
    admin = above.token("admin")
    taken = [("address_taken", "spec.subnets")]
    wide = {"subnets": ["203.0.113.0/24"]}
    assert codes(await put(above, admin, "Network", "wide", wide)) == taken
    # Common may overlap all.
    assert codes(await put(above, admin, "Network", "wide", wide, tenant="common")) == []
    admin = below.token("admin")
    # Where the site's own definition stands, the federation's is not in force: nor in conflict.
    assert codes(await put(below, admin, "Network", "wide", {"subnets": ["203.0.113.8/29"]})) == []
    assert codes(await below.ask(admin, "DELETE", "/api/v1/networks/wide?tenant=acme")) == []
    within = {"subnets": ["203.0.113.96/29"]}
    assert codes(await put(below, admin, "Network", "wide", within)) == taken
    # In the view of one node, or of a group's nodes, alone.
    assert codes(await put(below, admin, "NodeGroup", "g", {}, tenant="common")) == []
    member = {"groups": ["g"]}
    assert codes(await put(below, admin, "Node", "node-3", member, tenant="common")) == []
    for scope in ("group/g", "node/node-3"):
        assert codes(await put(below, admin, "Network", "wide", within, scope=scope)) == taken
    workload = {"addresses": ["203.0.113.97"]}
    assert codes(await put(below, admin, "Workload", "w", workload)) == [
        ("address_taken", "spec.addresses")
    ]
    inner = {
        "target": {"kind": "Network", "tenant": "acme", "name": "ours"},
        "reason": "x",
        "spec": within,
    }
    found = codes(await put(below, admin, "Override", "o", inner, tenant="common"))
    assert [code for code, _ in found] == ["address_taken"]
    # Another target with the same addresses is another gift.
    tenant = below.token("admin", tenants=["acme", "common"])
    assert codes(await put(below, tenant, "Workload", "w", {"addresses": ["10.1.0.9"]})) == []


async def test_the_first_hundred_priorities_are_commons(everything: World) -> None:
    for server in (everything.fsm, everything.sdsp):
        admin = server.token("admin")
        for priority, tenant, fine in (
            (0, "acme", False),
            (99, "acme", False),
            (100, "acme", True),
            (0, "common", True),
        ):
            spec = {"priority": priority, "rules": [RULE]}
            found = codes(await put(server, admin, "SecurityPolicy", "first", spec, tenant))
            assert found == ([] if fine else [("priority_reserved", "spec.priority")])
        patch = {"spec": {"priority": 99}}
        url = "/api/v1/securitypolicies/first?tenant=acme"
        assert codes(await server.ask(admin, "PATCH", url, patch)) == [
            ("priority_reserved", "spec.priority")
        ]
    server = everything.sdsp
    target = {"kind": "SecurityPolicy", "tenant": RIVAL, "name": "zqsecret"}
    for priority, fine in ((99, False), (100, True)):
        inner = {"priority": priority, "rules": [{**RULE, "from": [{"cidr": "203.0.113.9/32"}]}]}
        spec = {"target": target, "reason": "x", "spec": inner}
        found = await put(server, server.token("admin"), "Override", "zqsecret", spec, RIVAL)
        assert codes(found) == ([] if fine else [("priority_reserved", "spec.spec.priority")])


async def test_a_tenants_rules_reach_its_own_addresses_only(everything: World) -> None:
    server = everything.sdsp
    admin = server.token("admin")
    deny = {"priority": 100, "rules": [{**RULE, "name": "deny", "action": "deny"}]}
    assert codes(await put(server, admin, "SecurityPolicy", "mine", deny)) == []

    async def resolved(token: str) -> list[dict[str, Any]]:
        rules: list[dict[str, Any]] = []
        while not any(rule["policy"] == "mine" for rule in rules):
            asked = await server.ask(token, "GET", "/api/v1/resolve")
            rules = json.loads(asked.answer)["rules"]
        return rules

    rules = await resolved(server.token("admin", tenants=["acme"]))
    (mine,) = [rule for rule in rules if rule["policy"] == "mine"]
    assert mine["within"] == ["10.1.0.0/24"]
    # What one doesn't see is not counted.
    assert [rule["position"] for rule in rules] == list(range(1, len(rules) + 1))

    async def verdict(source: str, destination: str) -> str:
        flow = {"from": source, "to": destination, "protocol": "tcp", "port": 9}
        asked = await server.ask(admin, "POST", "/api/v1/trace", flow)
        policy = json.loads(asked.answer)["view"]["policy"]
        return str(policy)

    assert await verdict("10.1.0.5", "192.0.2.1") == "mine"
    assert await verdict("192.0.2.1", "10.1.0.5") == "mine"
    assert await verdict("192.0.2.1", "203.0.113.80") != "mine"
    assert await verdict("192.0.2.1", "192.0.2.2") != "mine"


async def test_a_tenant_in_use_stays(everything: World) -> None:
    server = everything.fsm
    url = f"/api/v1/tenants/{RIVAL}"
    refused = await server.ask(server.token("admin"), "DELETE", url)
    assert {code for code, _ in codes(refused)} == {"in_use"}
    # By whom, those are told who may see it.
    assert b"zqsecret" in refused.answer
    refused = await server.ask(server.token("admin", tenants=["common"]), "DELETE", url)
    assert {code for code, _ in codes(refused)} == {"in_use"}
    assert refused.leaks == []
    admin = server.token("admin")
    assert codes(await put(server, admin, "Tenant", "empty", {}, "common")) == []
    assert codes(await server.ask(admin, "DELETE", "/api/v1/tenants/empty")) == []


async def test_who_looks_after_one_tenant_has_no_say_about_sites_and_nodes(
    everything: World,
) -> None:
    for server, path in (
        (everything.fsm, "/api/v1/sites/sfo/jointoken?replace=true"),
        (everything.fsm, "/api/v1/sites/sfo/revoke"),
        (everything.sdsp, "/api/v1/nodes/node-1/jointoken?replace=true"),
        # It would show the server's own Credentials to a directory of his choice.
        (everything.fsm, "/api/v1/authentication/test"),
        (everything.sdsp, "/api/v1/authentication/test"),
    ):
        body = {"reason": "x"} if path.endswith("revoke") else None
        if path.endswith("test"):
            body = {"policy": {"providers": ["local"]}, "username": "a", "password": "b"}
        refused = await server.ask(server.token("admin", tenants=["acme"]), "POST", path, body)
        assert codes(refused) == [("forbidden", "")]


async def test_a_node_of_one_tenant_gets_nothing_of_anothers(everything: World) -> None:
    """node-2 has acme's workload only: of the rival's rules none concerns it."""
    server = everything.sdsp
    admin = server.token("admin")
    web = {"addresses": ["10.1.0.5"], "node": "node-2"}
    assert codes(await put(server, admin, "Workload", "web", web)) == []
    own = {"rules": [{**RULE, "from": [{"network": "zqsecret"}], "to": [{"network": "zqsecret"}]}]}
    assert codes(await put(server, admin, "SecurityPolicy", "zqsecret-own", own, RIVAL)) == []
    running = everything.site.running
    assert running is not None
    while True:
        newest = running.compiler.newest
        if newest and any(each.key.name == "zqsecret-own" for each in newest.policies):
            break
        await server.ask(admin, "GET", "/api/v1/resolve")
    configurations = admitted_configurations(newest.planner)
    of_acme = {rule.policy for rule in configurations["node-2"].rules if rule.tenant == RIVAL}
    of_rival = {rule.policy for rule in configurations["node-1"].rules if rule.tenant == RIVAL}
    assert "zqsecret-own" not in of_acme
    assert "zqsecret-own" in of_rival


@pytest.mark.parametrize("home", ["fsm", "sdsp"])
def test_regression_a_join_token_is_described_as_it_is_answered(home: str) -> None:
    """A node's was answered with 201 and described as 200."""
    given = [route for name, route in all_routes(home).items() if name.endswith("/jointoken")]
    assert [route.status for route in given] == [201]
