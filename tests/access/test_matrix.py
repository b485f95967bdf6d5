"""Every route × every role × whose object: what each is answered, by real servers with real objects.

Of a kind's routes, the answers are for a role held in tenant `acme`, to objects of acme's own, of
another tenant and of `common` (of the last alone if the kind knows no tenants), and at last for a
role held everywhere, to objects of `common`.  Other routes are asked once, by a role held
everywhere.  The answers stand in matrix.fsm.txt and matrix.sdsp.txt:

- `yes`: done, or shown;      `empty`: a list, of nothing;
- `none`: 404;                `no`: 403;      `who`: 401;
- `bad`: allowed, but the request itself is refused for another reason (400, 409, 422).

A route without a case fails.  Re-record with --update-golden, and read the difference as you would
a change of locks.  Components are in test_doors.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.http.routes import Access, Route
from shared.ids import Key
from shared.model.builtin_roles import BUILT_IN_ROLES
from shared.model.kinds import KINDS, Home
from shared.store.contract import Draft, Store, Transaction
from tests.access.tenants import RIVAL, Asked, Server, World, world
from tests.access.test_doors import all_routes
from tests.access.test_tenants import CASES, HOMES, is_closed, kind_of
from tests.integration.fsm.conftest import stopped, template
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import document

__all__ = ["stopped", "template"]

WHO = ("nobody", *BUILT_IN_ROLES)
TENANTS = ("acme", RIVAL, "common")
NAME = "matrix"

_RULE = {"name": "r", "from": "any", "to": "any", "action": "deny"}
SPECS: Mapping[str, dict[str, Any]] = {
    "Service": {"entries": [{"protocol": "tcp", "ports": ["1"]}], "sealed": False},
    "SecurityPolicy": {"rules": [_RULE], "stage": "staged"},
    "LoadBalancer": {
        "network": NAME,
        "ports": [{"protocol": "tcp", "port": "80"}],
        "backends": {"workloads": {}},
    },
    "BackupPolicy": {"schedule": "0 0 * * *"},
    "ServicePolicy": {"services": {"firewall": "optional"}},
    "AlertPolicy": {"conditions": [{"signal": "events", "query": "x"}]},
    "Silence": {"selector": {}, "endsAt": "2099-01-01T00:00:00Z", "reason": "x"},
    "SoftwarePolicy": {"nodes": {}, "image": "i"},
    "Image": {"version": "1", "digest": "sha256:" + "0" * 64, "size": 1},
    "RoleBinding": {"role": "viewer", "subjects": [{"kind": "User", "name": "matrix"}]},
    "AdmissionRule": {"nodes": {}},
    "Workload": {"addresses": ["198.51.100.1"]},
    "Override": {
        "target": {"kind": "SecurityPolicy", "name": "matrix"},
        "reason": "x",
        "spec": {"rules": []},
    },
    "PolicyTest": {
        "site": "sfo",
        "flows": [
            {
                "from": {"address": "198.51.100.1"},
                "to": {"address": "198.51.100.2"},
                "service": "tcp/1",
                "expect": "deny",
            }
        ],
    },
    "SavedQuery": {"signal": "events", "query": "x"},
    "Report": {"queries": ["x"], "schedule": "0 4 * * *"},
}
"""What the objects are; of other kinds nothing need be said, or nobody writes them."""

PLAIN: Mapping[str, tuple[str, Any]] = {
    "POST /api/v1/certificates/rotate": ("", {"zq": 1}),
    "POST /api/v1/certificates/revoke": ("", {"zq": 1}),
    "POST /api/v1/logout": ("", None),
    "GET /api/v1/watch": ("?after=999999999", None),
    "GET /api/v1/audit/export": ("", None),
    "GET /api/v1/audit/seals": ("", None),
    "POST /api/v1/authentication/test": ("", {"zq": 1}),
    "POST /api/v1/transactions": ("?dryRun=true", {"operations": []}),
}
"""What is asked of routes that aren't of one kind, where test_tenants asks what would change."""


@pytest.fixture
async def everything(stopped: FSM, tmp_path: Path) -> AsyncIterator[tuple[World, Store]]:
    """Return both servers, and the FSM's store."""
    async with stopped.serving(), world(stopped, tmp_path) as found:
        yield found, stopped.running.store


def spec_of(kind: str, tenant: str) -> dict[str, Any]:
    spec = dict(SPECS.get(kind, {}))
    if kind == "Workload":
        spec["addresses"] = [f"198.51.100.{TENANTS.index(tenant) + 1}"]
    return spec


def tenants_of(kind: str) -> tuple[str, ...]:
    return TENANTS if KINDS[kind].tenanted else ("common",)


async def put_everything(store: Store, home: Home) -> set[str]:
    """Have an object of every kind in every tenant, past all that would refuse it."""
    made = set()

    async def work(transaction: Transaction) -> None:
        for name, kind in KINDS.items():
            if home not in kind.lives_on or kind.written_by == "system" or kind.secret:
                continue
            for tenant in tenants_of(name):
                scope = "federation" if home == "fsm" else "site"
                spec = spec_of(name, tenant)
                origin = "local" if home == "sdsp" else None
                draft = Draft(Key(name, tenant, scope, NAME), spec, {}, {}, origin)
                await transaction.put(draft)
                made.add(name)

    await store.transact(work)
    return made


def questions(name: str, route: Route) -> Iterator[tuple[list[str] | None, str, Any]]:
    """Yield what is asked of a route: in which tenants the role is held, the address, the body."""
    kind = kind_of(route)
    if kind is None:
        query, body = PLAIN.get(name) or next(iter(CASES.get(name, ())), ("", None))
        path = route.path.replace("{name}", "absent").replace("{id}", "0" * 32)
        yield None, path.replace("{page}", "index") + query, body
        return
    everywhere: tuple[tuple[str, list[str] | None], ...] = (("common", None),)
    for tenant, held in (*((each, ["acme"]) for each in tenants_of(kind)), *everywhere):
        query = f"?tenant={tenant}"
        body: Any = None
        if route.method != "GET":
            query += "&dryRun=true"
        if route.method == "PUT":
            body = document(kind, NAME, spec_of(kind, tenant), tenant=tenant)
        elif route.method == "PATCH":
            body = {"metadata": {"annotations": {"by": "matrix"}}}
        yield held, route.path.replace("{name}", NAME) + query, body


def answer_of(asked: Asked, route: Route) -> str:
    words = {401: "who", 403: "no", 404: "none", 400: "bad", 409: "bad", 422: "bad"}
    if asked.status in words:
        return words[asked.status]
    assert asked.status < 400, asked
    is_list = route.method == "GET" and kind_of(route) and "{name}" not in route.path
    # The server publishes its keys when it gets to it, and whom the FSM's own matrix logs out
    # comes to the site while its matrix is made.
    unsure = route.path.endswith(("/verificationkeys", "/loginrevocations"))
    return "empty" if is_list and (unsure or not json.loads(asked.answer)["items"]) else "yes"


async def row_of(server: Server, name: str, route: Route) -> str:
    cells = []
    for who in WHO:
        answers = []
        for held, url, body in questions(name, route):
            # One for each question: a logout ends it.
            token = None if who == "nobody" else server.token(who, tenants=held)
            asked = await server.ask(token, route.method, url, body)
            answers.append(answer_of(asked, route))
        cells.append(f"{who}={','.join(answers)}")
    return " ".join(cells)


def is_asked(route: Route) -> bool:
    return not is_closed(route) and route.permission is not Access.PUBLIC


@pytest.mark.parametrize("home", HOMES)
def test_every_route_has_a_case(home: Home) -> None:
    missing = [
        name
        for name, route in all_routes(home).items()
        if is_asked(route) and kind_of(route) is None and name not in {**CASES, **PLAIN}
    ]
    assert missing == [], "routes without a case"


async def test_every_answer_is_as_recorded(
    everything: tuple[World, Store], update_golden: bool
) -> None:
    servers, above = everything
    for home in HOMES:
        assert servers.site.running is not None
        store = above if home == "fsm" else servers.site.running.store
        made = await put_everything(store, home)
        server = servers.server(home)
        found = {
            name: await row_of(server, name, route)
            for name, route in sorted(all_routes(home).items())
            if is_asked(route)
        }
        golden = Path(__file__).with_name(f"matrix.{home}.txt")
        text = "".join(f"{name}: {row}\n" for name, row in found.items())
        if update_golden:
            golden.write_text(text)
        assert text == golden.read_text()
        check(found, home, made)


def check(found: Mapping[str, str], home: Home, made: set[str]) -> None:
    """What holds whatever was recorded."""
    routes = all_routes(home)
    for name, row in found.items():
        cells = dict(each.split("=") for each in row.split(" "))
        assert set(cells.pop("nobody").split(",")) == {"who"}, name
        kind = kind_of(routes[name])
        if kind is None:
            continue
        for role, cell in cells.items():
            answers = dict(zip((*tenants_of(kind), "all"), cell.split(","), strict=True))
            for tenant in {RIVAL, "common"} & set(answers):
                assert answers[tenant] in ("no", "none", "empty"), (name, role, tenant)
            if kind in made and role == "global-admin":
                assert answers.get("acme", "yes") in ("yes", "bad"), (name, cell)
                assert answers["all"] in ("yes", "bad"), (name, cell)
            if routes[name].method != "GET" and role in ("viewer", "auditor"):
                assert "yes" not in answers.values(), (name, role)
