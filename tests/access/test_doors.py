"""Every route × everyone who may knock, asked of a real server over real TLS.

Who is let in stands in who.fsm.txt and who.sdsp.txt; a route that isn't there fails, and so does
one that lets in somebody else.  Handlers are exchanged for one that says "in": what is tried here
is the door.  Re-record with --update-golden, and read the difference as you would a change of
locks.
"""

import importlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from shared.http import docs, health, openapi
from shared.http.application import Collaborators, create_application
from shared.http.authentication import Authenticator
from shared.http.keys import ROUTE_TABLE
from shared.http.routes import Access, Route, Routes
from shared.http.server import serving
from shared.metrics.names import Metrics
from shared.model.builtin_roles import BUILT_IN_ROLES
from shared.objects.kind_handlers import kind_routes
from shared.pki.identity import Expectation, Role
from shared.pki.tls import ServerCheck, client_context, server_context, visitor_context
from tests.fakes.federation import TRUST_DOMAIN, Federation
from tests.integration.api.harness import running_api

PEOPLE = tuple(BUILT_IN_ROLES)
COMPONENTS = ("fsm", "sdsp", "node")
OPEN = {
    "GET /livez",
    "GET /readyz",
    "GET /openapi.json",
    "GET /docs",
    "GET /docs/{page}",
    "GET /docs/decisions/{page}",
    "POST /api/v1/login",
    "POST /api/v1/login/renew",
    # Who joins has no certificate yet: a token, checked inside, lets him in.
    "GET /pki/root",
    "GET /pki/links",
    "POST /enroll/v1/join",
    "POST /node/v1/join",
}
"""Routes that need no identity."""
ASKS_LATER = {"POST /api/v1/transactions"}
"""Routes that let in whoever is known, and ask for each object in it."""
OWN = {
    "POST /api/v1/logout",
    "POST /api/v1/sessions/{id}/revoke",
    "POST /api/v1/tokens/{id}/revoke",
}
"""Routes that let in whoever is known, for his own logins; of others', they ask for more."""
QUESTIONS = {"POST /api/v1/trace", "POST /api/v1/impact"}
"""Routes that only read, and take the question as a body."""


def routes_in(package: str) -> Iterable[Routes]:
    """Yield every Routes that a package's modules make for themselves."""
    root = Path(__file__).parents[2]
    for file in sorted((root / package).rglob("*.py")):
        if "= Routes(" in file.read_text():
            name = ".".join(file.relative_to(root).with_suffix("").parts)
            module = importlib.import_module(name)
            yield from (each for each in vars(module).values() if isinstance(each, Routes))


def all_routes(home: str) -> dict[str, Route]:
    """Return every route of a component, by method and path."""
    shared = {id(each): each for each in routes_in("shared")}
    own = {id(each): each for each in routes_in(home)}
    collected = [*shared.values(), *own.values(), kind_routes(home)]
    return {f"{route.method} {route.path}": route for each in collected for route in each}


async def let_in(request: web.Request) -> web.Response:
    return web.Response(status=204)


@pytest.fixture(params=["fsm", "sdsp"])
async def door(request, tmp_path: Path) -> AsyncIterator[tuple[str, dict[str, list[str]]]]:
    """Return who is let in where, as the server has it."""
    home = request.param
    federation = Federation()
    site = federation.site("sfo")
    credentials = {
        "fsm": federation.fsm(),
        "sdsp": federation.sdsp(site),
        "node": federation.node(site),
    }
    check = ServerCheck(TRUST_DOMAIN, [Expectation(Role(home))], lambda _: False)
    async with running_api(tmp_path) as api:
        bearer = api.services.authenticator._bearer
        tokens = {role: api.token(role) for role in PEOPLE}
        authenticator = Authenticator(clock=api.clock, bearer=bearer, trust_domain=TRUST_DOMAIN)
        known = all_routes(home)
        built_in = {id(each) for each in (health.routes, openapi.routes, docs.routes)}
        stubs = Routes()
        stubs._routes = [
            replace(route, handler=let_in)
            for each in {id(r): r for r in [*routes_in("shared"), *routes_in(home)]}.values()
            if id(each) not in built_in
            for route in each
        ]
        stubs._routes += [replace(route, handler=let_in) for route in kind_routes(home)]
        app = create_application(
            [stubs],
            Collaborators(clock=api.clock, metrics=Metrics(), authenticator=authenticator),
        )
        async with serving(
            app,
            host="127.0.0.1",
            port=0,
            tls=server_context(credentials[home]),
            grace=1,
        ) as server:
            found: dict[str, list[str]] = {name: [] for name in sorted(known)}
            for subject in ("nobody", *PEOPLE, *COMPONENTS):
                context = (
                    client_context(credentials[subject], check=check)
                    if subject in credentials
                    else visitor_context(federation.roots, check=check)
                )
                headers = (
                    {"Authorization": f"Bearer {tokens[subject]}"} if subject in tokens else {}
                )
                connector = aiohttp.TCPConnector(ssl=context)
                async with aiohttp.ClientSession(
                    server.url, connector=connector, headers=headers
                ) as session:
                    for name, who in found.items():
                        method, path = name.split(" ")
                        url = path.replace("{", "").replace("}", "")
                        async with session.request(method, url) as response:
                            assert response.status not in (405, 500), name
                            if response.status not in (401, 403):
                                who.append(subject)
                            elif subject == "nobody":
                                assert response.status == 401, name
        yield home, found


async def test_every_door_lets_in_whom_it_should(door, update_golden: bool) -> None:
    home, found = door
    golden = Path(__file__).with_name(f"who.{home}.txt")
    text = "".join(f"{name}: {' '.join(who) or '-'}\n" for name, who in found.items())
    if update_golden:
        golden.write_text(text)
    recorded = dict(
        line.rsplit(": ", 1) for line in golden.read_text().splitlines() if not line.startswith("#")
    )
    now = dict(line.rsplit(": ", 1) for line in text.splitlines())

    assert sorted(set(now) - set(recorded)) == [], "routes without a case"
    assert sorted(set(recorded) - set(now)) == [], "cases without a route"
    assert now == recorded

    # What holds whatever was recorded.
    for name, who in found.items():
        if "nobody" in who:
            assert name in OPEN, f"{name} is open to everyone"
            continue
        people = set(who) & set(PEOPLE)
        if not name.startswith("GET ") and name not in ASKS_LATER | OWN | QUESTIONS:
            assert not people & {"viewer", "auditor"}, f"{name}: readers may not write"
        if people:
            assert "global-admin" in people, name


@pytest.mark.parametrize("home", ["fsm", "sdsp"])
def test_every_route_says_who_may_use_it(home: str) -> None:
    for name, route in all_routes(home).items():
        assert route.summary, f"{name} needs a docstring"
        if route.permission is Access.PEER:
            assert route.peers, name


async def test_a_route_that_declares_nothing_is_closed_to_all(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        registered = [
            route
            for route in api.app.router.routes()
            if route not in api.app[ROUTE_TABLE] and route.resource is not None
        ]
        assert registered == []
        hidden = create_application(
            [],
            Collaborators(
                clock=api.clock,
                metrics=Metrics(),
                authenticator=api.services.authenticator,
            ),
        )
        hidden.router.add_get("/hidden", let_in)
        async with (
            serving(hidden, host="127.0.0.1", port=0, tls=None) as server,
            aiohttp.ClientSession(
                server.url, headers={"Authorization": f"Bearer {api.token('global-admin')}"}
            ) as session,
            session.get("/hidden") as response,
        ):
            assert response.status == 403
