"""Another tenant's objects, through every door of both servers: 404, and not one row.

The doors are the route table's, so that a new route without a case here fails.
"""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from shared.http.routes import Access, Route
from shared.model.kinds import KINDS, PLURALS, Home
from tests.access.tenants import (
    ABSENT,
    MARKS,
    NOT_WRITTEN,
    RIVAL,
    SECRET,
    SPECS,
    Asked,
    Server,
    World,
    world,
)
from tests.access.test_doors import all_routes
from tests.integration.fsm.conftest import stopped, template
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import document

__all__ = ["stopped", "template"]

HOMES: tuple[Home, ...] = ("fsm", "sdsp")
CALLERS = {
    "acme's admin": (("admin",), ("acme",)),
    "admin of acme and common": (("admin",), ("acme", "common")),
    "operator of acme and common": (("site-operator",), ("acme", "common")),
}
_FLOW = {"from": "10.1.0.5", "to": "203.0.113.80", "protocol": "tcp", "port": 4711}
_TO_RIVAL = {"from": "192.0.2.1", "to": "203.0.113.80", "protocol": "tcp", "port": 4711}

_STEERED: list[tuple[str, Any]] = [("?tenant=zqtenant", {"reason": "x"}), ("", {"reason": "x"})]

CASES: dict[str, list[tuple[str, Any]]] = {
    "GET /api/v1/audit": [
        ("", None),
        ("?limit=1000", None),
        ("?text=zqsecret", None),
        ("?text=zqtext&tenant=zqtenant", None),
        ("?kind=Network&name=zqsecret&tenant=zqtenant", None),
        ("?kind=Network&name=zqsecret", None),
    ],
    "GET /api/v1/watch": [],
    "POST /api/v1/transactions": [
        ("", {"operations": [{"operation": "delete", "object": document("Network", "x", {})}]}),
    ],
    "GET /api/v1/status": [
        ("", None),
        ("?policy=zqsecret", None),
        ("?tenant=zqtenant", None),
        ("?site=sfo", None),
    ],
    "GET /api/v1/sites/{name}/status": [("", None)],
    "GET /api/v1/conflicts": [("", None), ("?all=true", None), ("?tenant=zqtenant", None)],
    "GET /api/v1/exceptions": [
        ("", None),
        ("?tenant=zqtenant", None),
        ("?kind=SecurityPolicy&name=zqsecret", None),
    ],
    "GET /api/v1/resolve": [("", None), ("?staged=true", None), ("?node=node-1", None)],
    "POST /api/v1/trace": [
        ("", _FLOW),
        ("", _TO_RIVAL),
        ("", {**_TO_RIVAL, "node": "node-1"}),
        ("", {**_FLOW, "from": "10.2.0.1", "to": "10.3.0.1"}),
    ],
    "POST /api/v1/impact": [
        (
            "",
            {"operations": [{"operation": "delete", "object": document("Network", "shared", {})}]},
        ),
        (
            "",
            {
                "operations": [
                    {
                        "operation": "delete",
                        "object": document("Network", "zqsecret", {}, tenant=RIVAL),
                    }
                ]
            },
        ),
    ],
    "GET /api/v1/held": [("", None)],
    "POST /api/v1/held/drop": [
        ("", {"keys": [{"kind": "Network", "name": "zqsecret", "tenant": RIVAL}], "reason": "x"}),
    ],
    "GET /api/v1/conflicts/{name}/impact": [("?tenant=zqtenant", None), ("", None)],
    "POST /api/v1/conflicts/{name}/decision": [
        ("?tenant=zqtenant", {"proposal": "acceptGlobal", "reason": "x"}),
        ("", {"proposal": "acceptGlobal", "reason": "x"}),
    ],
    "POST /api/v1/changerequests/{name}/decision": [
        ("?tenant=zqtenant", {"decision": "accept", "reason": "x"}),
        ("", {"decision": "refuse", "reason": "x"}),
    ],
    "POST /api/v1/conflicts/{name}/deferral": [
        ("?tenant=zqtenant", {"until": "2999-01-01T00:00:00Z", "reason": "x"}),
        ("", {"until": "2999-01-01T00:00:00Z", "reason": "x"}),
    ],
    # With bodies that are none, lest whoever may do it does.
    "POST /api/v1/upstream/detachment": [("", {"zq": 1})],
    "POST /api/v1/upstream/attachment": [("", {"zq": 1})],
    "POST /api/v1/conflicts/{name}/undo": [
        ("?tenant=zqtenant", {"reason": "x"}),
        ("", {"reason": "x"}),
    ],
    # With a body that is none where it would write.
    "POST /api/v1/rollouts/start": [
        ("", {"object": document("SecurityPolicy", "zqsecret", {"rules": []}, tenant=RIVAL)}),
        ("", {"object": document("SecurityPolicy", "x", {"rules": []}), "name": ""}),
    ],
    "POST /api/v1/rollouts/{name}/pause": _STEERED,
    "POST /api/v1/rollouts/{name}/resume": _STEERED,
    "POST /api/v1/rollouts/{name}/abort": _STEERED,
    "GET /api/v1/rollouts/{name}/progress": [("?tenant=zqtenant", None), ("", None)],
    "GET /api/v1/whoami": [("", None)],
    "GET /metrics": [("", None)],
    "POST /api/v1/sites/{name}/jointoken": [("", {})],
    "POST /api/v1/sites/{name}/revoke": [("", {"reason": "x"})],
    # With bodies that are none, lest whoever may do it does.
    "POST /api/v1/sites/{name}/pause": [("", {"zq": 1})],
    "POST /api/v1/sites/{name}/resume": [("", {"zq": 1})],
    "POST /api/v1/nodes/{name}/jointoken": [("", {})],
    "GET /api/v1/can-i": [
        ("?verb=read&kind=Network&name=zqsecret&tenant=zqtenant", None),
        ("?verb=write&kind=Network&name=zqsecret", None),
    ],
    "GET /api/v1/permissions": [("", None)],
    "GET /api/v1/sessions": [("", None), ("?user=somebody", None)],
    # It would end the very login that asks; it names nothing.
    "POST /api/v1/logout": [],
    "POST /api/v1/sessions/{id}/revoke": [("", {"reason": "x"})],
    "POST /api/v1/tokens/{id}/revoke": [("", {"reason": "x"})],
    "POST /api/v1/users/{name}/revoke": [("", {"reason": "x"})],
    "GET /api/v1/serviceaccounts/{name}/tokens": [("", None), ("?tenant=zqtenant", None)],
    "POST /api/v1/serviceaccounts/{name}/tokens": [("?tenant=zqtenant", {"reason": "x"})],
    "POST /api/v1/serviceaccounts/{name}/revoke": [("?tenant=zqtenant", {"reason": "x"})],
    # With a body that is none, lest whoever may do it does.
    "GET /api/v1/tokenkeys": [("", None)],
    "GET /api/v1/audit/export": [("", None), ("?after=1", None)],
    "GET /api/v1/audit/seals": [("", None)],
    "POST /api/v1/authentication/test": [
        ("", {"policy": {"providers": ["local"]}, "username": "somebody", "password": "x"}),
    ],
    "POST /api/v1/tokenkeys/rotate": [("", {"zq": 1})],
    "GET /api/v1/certificates": [("", None)],
    "POST /api/v1/certificates/revoke": [("", {"target": "c0ffee", "reason": "x"})],
    "POST /api/v1/certificates/rotate": [("", {"what": "root", "step": "finish"})],
}
"""What is asked of each route that isn't of one kind; of those, _of_kind() knows."""


@pytest.fixture
async def everything(stopped: FSM, tmp_path: Path) -> AsyncIterator[World]:
    async with stopped.serving(), world(stopped, tmp_path) as found:
        yield found


def kind_of(route: Route) -> str | None:
    """Return the kind whose objects a generated route is for."""
    parts = route.path.removeprefix("/api/v1/").split("/")
    rest = parts[1:]
    if parts[0] not in PLURALS or rest not in ([], ["{name}"], ["{name}", "history"]):
        return None
    return PLURALS[parts[0]].name


def is_closed(route: Route) -> bool:
    """Return whether nobody or no person at all is meant, so that no tenant matters."""
    return route.permission in (Access.PUBLIC, Access.PEER)


@pytest.mark.parametrize("home", HOMES)
def test_every_route_has_a_case(home: Home) -> None:
    missing = [
        name
        for name, route in all_routes(home).items()
        if name not in CASES and kind_of(route) is None and not is_closed(route)
    ]
    assert missing == [], "routes without a case: what could they tell of another tenant?"
    known = {name for home in HOMES for name in all_routes(home)}
    assert sorted(set(CASES) - known) == [], "cases without a route"


def test_every_kind_of_a_tenant_is_the_rivals_too() -> None:
    of_tenants = {
        name for name, kind in KINDS.items() if kind.tenanted and kind.written_by == "person"
    }
    assert of_tenants == set(SPECS) | NOT_WRITTEN


def blind(home: Home, name: str, route: Route) -> Iterator[tuple[str, str, Any]]:
    """Yield requests that name nothing of the rival's but what anybody could guess."""
    place = "sfo" if "/sites/" in route.path else "node-1"
    path = route.path.replace("{name}", place).replace("{id}", "0" * 32)
    kind = kind_of(route)
    if kind is None or name in CASES:
        path = path.replace("{page}", "index")
        for query, body in CASES.get(name, [("", None)]):
            yield route.method, path + query, body
        return
    if route.method != "GET":
        return
    path = route.path.replace("{name}", "x")
    for query in (
        "",
        "?tenant=zqtenant",
        "?tenant=acme",
        "?labelSelector=zqlabel",
        "?labelSelector=tier%3Dany",
        "?fieldSelector=metadata.tenant%3Dzqtenant",
        "?fieldSelector=metadata.name%3Dzqsecret",
        "?limit=1",
        f"?limit=1000&scope={'federation' if home == 'fsm' else 'site'}",
    ):
        yield "GET", path + query, None


async def test_no_byte_of_any_answer_is_another_tenants(everything: World) -> None:
    for home, who in product(HOMES, CALLERS):
        await no_byte_is_anothers(everything, home, who)


async def no_byte_is_anothers(everything: World, home: Home, who: str) -> None:
    server = everything.server(home)
    roles, tenants = CALLERS[who]
    token = server.token(*roles, tenants=tenants)
    asked: list[Asked] = []
    for name, route in all_routes(home).items():
        for method, url, body in blind(home, name, route):
            asked.append(await server.ask(token, method, url, body))
            asked += [each async for each in pages(server, token, asked[-1])]
    for method, url, body in clashes(home):
        asked.append(await server.ask(token, method, url, body))
        asked.append(await server.ask(token, method, f"{url}&dryRun=true", body))
        assert asked[-2].status in (403, 404, 409, 422), asked[-2]
    # What was refused just now is in the audit trail.
    asked.append(await server.ask(token, "GET", "/api/v1/audit?limit=1000"))

    assert [each for each in asked if each.status >= 500] == []
    assert [(each.leaks, each) for each in asked if each.leaks] == []
    # The marks are there for those who may see them.
    for plural in ("networks", "securitypolicies", "savedqueries"):
        seen = await server.ask(server.token("admin"), "GET", f"/api/v1/{plural}?limit=1000")
        assert MARKS[0] in seen.answer


async def pages(server: Server, token: str, first: Asked) -> AsyncIterator[Asked]:
    """Follow a list to its end."""
    asked, seen = first, 0
    while asked.method == "GET" and b'"continue":"' in asked.answer and seen < 50:
        goes_on = json.loads(asked.answer)["metadata"]["continue"]
        url = f"{first.url}&continue={goes_on}"
        asked = await server.ask(token, "GET", url)
        # Whatever the token holds, it is no word of the rival's.
        readable = base64.urlsafe_b64decode(goes_on + "===")
        assert not [mark for mark in MARKS if mark in readable], readable
        seen += 1
        yield asked


def clashes(home: Home) -> Iterator[tuple[str, str, Any]]:
    """Yield writes that are refused because of what the rival has."""
    scope = "federation" if home == "fsm" else "site"

    def put(kind: str, name: str, spec: Any, tenant: str = "acme") -> tuple[str, str, Any]:
        url = f"/api/v1/{KINDS[kind].plural}/{name}?tenant={tenant}"
        return "PUT", url, document(kind, name, spec, tenant=tenant)

    yield (
        put("Network", "wide", {"subnets": ["203.0.0.0/8"]})
        if home == "fsm"
        else put("Network", "wide", {"subnets": ["203.0.112.0/20"]})
    )
    if home == "fsm":
        # Named by the rival's policy.
        yield "DELETE", f"/api/v1/networks/shared?scope={scope}", None
        yield "DELETE", "/api/v1/tenants/zqtenant?x=y".replace("?x=y", "?tenant=common"), None
        operations = [
            {"operation": "delete", "object": document("Network", "shared", {})},
            {"operation": "put", "object": document("Network", "free", {}, tenant="acme")},
        ]
        yield "POST", "/api/v1/transactions?force=false", {"operations": operations}
    else:
        yield put("Workload", "w9", {"addresses": ["203.0.112.1", "203.0.113.80"]})
        yield "DELETE", "/api/v1/networks/near?tenant=common", None
        yield "DELETE", "/api/v1/nodes/node-1?tenant=common", None
        yield put(
            "Override",
            "theirs",
            {
                "target": {"kind": "SecurityPolicy", "tenant": RIVAL, "name": "zqsecret"},
                "reason": "x",
                "spec": {"rules": []},
            },
        )


async def test_what_is_anothers_is_as_what_is_not_there(everything: World) -> None:
    """Every answer about a thing of the rival's equals that about a thing that nobody has."""
    for home, who in product(HOMES, CALLERS):
        await anothers_is_not_there(everything, home, who)


async def anothers_is_not_there(everything: World, home: Home, who: str) -> None:
    server = everything.server(home)
    roles, tenants = CALLERS[who]
    token = server.token(*roles, tenants=tenants)
    compared = 0
    for method, url, body in about_the_rival(home):
        there = await server.ask(token, method, url, body)
        absent = await server.ask(
            token, method, _swapped(url), json.loads(_swapped(json.dumps(body)))
        )
        assert there.status not in (200, 201) or "dryRun" in url, there
        assert comparable(there) == comparable(absent), (there, absent)
        compared += 1
    assert compared > 100
    # Nothing has been changed by it.
    for kind, spec in SPECS.items():
        if home in KINDS[kind].lives_on and kind != "SecurityPolicy":
            url = f"/api/v1/{KINDS[kind].plural}/{SECRET}?tenant={RIVAL}"
            found = await server.ask(server.token("admin"), "GET", url)
            assert found.status == 200, (kind, spec)


def about_the_rival(home: Home) -> Iterator[tuple[str, str, Any]]:
    for kind, spec in SPECS.items():
        if home not in KINDS[kind].lives_on:
            continue
        path = f"/api/v1/{KINDS[kind].plural}/{SECRET}"
        here = document(kind, SECRET, spec, tenant=RIVAL)
        for tenant in (RIVAL, "acme"):
            for query in (f"?tenant={tenant}", f"?tenant={tenant}&scope=federation"):
                yield "GET", path + query, None
                yield "GET", path.replace(SECRET, f"{SECRET}/history") + query, None
                yield "DELETE", f"{path}{query}&dryRun=true", None
                yield "PATCH", f"{path}{query}&dryRun=true", {"spec": {}}
        yield "PUT", f"{path}?tenant={RIVAL}", here
        yield "PUT", f"{path}?tenant={RIVAL}&dryRun=true", here
        yield "DELETE", f"{path}?tenant={RIVAL}", None
        for operation in ("put", "delete"):
            operations = [{"operation": operation, "object": here, "ifMatch": 1}]
            yield "POST", "/api/v1/transactions", {"operations": operations}
    # Names of the rival's, in documents of one's own.
    rule = {"name": "r", "from": [{"network": SECRET}], "to": "any", "action": "deny"}
    policy = document("SecurityPolicy", "mine", {"rules": [rule]}, tenant="acme")
    yield "PUT", "/api/v1/securitypolicies/mine?tenant=acme&dryRun=true", policy
    rule = {**rule, "from": "any", "services": [{"service": SECRET}]}
    policy = document("SecurityPolicy", "mine", {"rules": [rule]}, tenant="acme")
    yield "PUT", "/api/v1/securitypolicies/mine?tenant=acme&dryRun=true", policy
    if home == "sdsp":
        for kind in ("SecurityPolicy", "Network", "Service"):
            target = {"kind": kind, "tenant": RIVAL, "name": SECRET}
            inner = {"rules": []} if kind == "SecurityPolicy" else {}
            spec = {"target": target, "reason": "x", "spec": inner}
            override = document("Override", "mine", spec, tenant="acme")
            yield "PUT", "/api/v1/overrides/mine?tenant=acme&dryRun=true", override
        drop = {"kind": "Network", "name": SECRET, "tenant": RIVAL}
        yield "POST", "/api/v1/held/drop", {"keys": [drop], "reason": "x"}


def _swapped(text: str) -> str:
    return text.replace(SECRET, ABSENT).replace(RIVAL, "zqnobody")


def comparable(asked: Asked) -> tuple[int, str, list[tuple[str, str]]]:
    """Return an answer without what differs each time, and with the rival's words for nobody's."""
    text = _swapped(asked.answer.decode())
    text = re.sub(r'"(requestId|uid|createdAt|updatedAt)":"[^"]*"', "", text)
    changing = {"date", "x-request-id", "traceparent", "etag"}
    headers = sorted(
        (name.lower(), value)
        for name, value in asked.headers.items()
        if name.lower() not in changing
    )
    return asked.status, text, headers


async def test_no_line_of_a_watch_is_another_tenants(everything: World) -> None:
    for home, who in product(HOMES, CALLERS):
        await no_line_is_anothers(everything, home, who)


async def no_line_is_anothers(everything: World, home: Home, who: str) -> None:
    server = everything.server(home)
    roles, tenants = CALLERS[who]
    token = server.token(*roles, tenants=tenants)
    end = "GET", "/api/v1/watch"
    for query in (
        "?after=0",
        "?after=0&tenant=zqtenant",
        "?after=0&labelSelector=tier%3Dany",
        "?after=0&kinds=Network,SecurityPolicy",
    ):
        revision = json.loads(
            (await server.ask(server.token("admin"), "GET", "/api/v1/networks")).answer
        )["metadata"]["revision"]
        async for line in server.lines(token, end[1] + query):
            assert [mark for mark in MARKS if mark in line] == [], line
            if json.loads(line)["revision"] >= revision:
                break
    async for line in server.lines(token, "/api/v1/watch?status=true&after=0"):
        assert [mark for mark in MARKS if mark in line] == [], line
        if json.loads(line)["type"] == "bookmark":
            break


async def test_another_caller_cannot_replay_a_request(everything: World) -> None:
    """Whoever knows another's request id, and all that he wrote, is answered as anybody."""
    server = everything.fsm
    spec = {"subnets": ["203.0.113.200/32"]}
    body = document("Network", "zqsecret2", spec, tenant=RIVAL)
    url = f"/api/v1/networks/zqsecret2?tenant={RIVAL}"
    theirs = {"X-Request-Id": "the-rivals-own"}
    rival = server.token("admin", tenants=[RIVAL])
    acme = server.token("admin", tenants=["acme"])
    assert (await server.ask(rival, "PUT", url, body, **theirs)).status == 201
    replayed = await server.ask(acme, "PUT", url, body, **theirs)
    assert (replayed.status, json.loads(replayed.answer)["code"]) == (404, "not_found")
    assert replayed.leaks == []


async def test_what_an_admin_was_refused_tells_a_tenants_auditor_nothing(
    everything: World,
) -> None:
    for server in (everything.fsm, everything.sdsp):
        admin, auditor = server.token("admin"), server.token("auditor", tenants=["acme"])
        body = document("Network", "wide", {"subnets": ["203.0.112.0/20"]}, tenant="acme")
        refused = await server.ask(admin, "PUT", "/api/v1/networks/wide?tenant=acme", body)
        # The admin is told whose it is; the record of it is acme's.
        assert (refused.status, MARKS[0] in refused.answer) == (422, True)
        trail = await server.ask(auditor, "GET", "/api/v1/audit?limit=1000")
        assert b"address_taken" in trail.answer
        assert trail.leaks == []


async def test_a_watcher_that_is_one_of_many_gets_only_his_own(everything: World) -> None:
    """Watchers of equal views share lines; those of other tenants never do."""
    server = everything.fsm
    seen: dict[str, list[bytes]] = {}

    async def follow(name: str, token: str) -> None:
        seen[name] = []
        async for line in server.lines(token, "/api/v1/watch?kinds=Network"):
            seen[name].append(line)
            if b'"end"' in line:
                return

    tokens = {
        "acme": server.token("admin", tenants=["acme"]),
        "acme too": server.token("admin", tenants=["acme"]),
        "rival": server.token("admin", tenants=[RIVAL]),
    }
    async with asyncio.TaskGroup() as group:
        for name, token in tokens.items():
            group.create_task(follow(name, token))
        while server_streams(seen) < len(tokens):
            await server.ask(tokens["acme"], "GET", "/api/v1/whoami")
        admin = server.token("admin")
        await server.put(admin, "Network", "zqsecret3", {}, tenant=RIVAL)
        for tenant in ("acme", RIVAL):
            await server.put(admin, "Network", "end", {}, tenant=tenant)
    for name in ("acme", "acme too"):
        assert not [line for line in seen[name] if b"zq" in line]
    assert [line for line in seen["rival"] if b"zqsecret3" in line]


async def test_a_watcher_whose_tenant_is_taken_from_him_hears_no_more(everything: World) -> None:
    """From the moment that the change is acknowledged: the stream ends, and a new one is his own."""
    for server in (everything.fsm, everything.sdsp):
        admin, watcher = server.token("admin"), server.token()
        subjects = [{"kind": "User", "name": "somebody"}]
        binding = {"role": "viewer", "subjects": subjects, "tenants": ["acme", RIVAL]}
        await server.put(admin, "RoleBinding", "watchers", binding)
        while (await server.ask(watcher, "GET", "/api/v1/networks")).status == 403:
            pass
        lines = server.lines(watcher, "/api/v1/watch?kinds=Network&after=0")
        async for line in lines:
            if SECRET.encode() in line:
                break
        await server.put(admin, "RoleBinding", "watchers", binding | {"tenants": ["acme"]})
        late = f"zqsecret-late-{server.home}"
        await server.put(admin, "Network", late, {}, tenant=RIVAL)
        rest = [line async for line in lines]
        assert [line for line in rest if late.encode() in line] == []
        assert json.loads(rest[-1])["code"] == "view_changed"
        async for line in server.lines(watcher, "/api/v1/watch?kinds=Network&after=0"):
            assert b"zq" not in line
            if json.loads(line)["type"] == "bookmark":
                break


def server_streams(seen: dict[str, list[bytes]]) -> int:
    return sum(1 for lines in seen.values() if lines)
