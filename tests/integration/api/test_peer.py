"""Components calling each other over mutual TLS, on the same port as people."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from shared.auth.identity import CallerKind
from shared.errors import Forbidden, TooLarge, Unauthenticated, Unreachable
from shared.http.peer import PeerClient, PeerLimits
from shared.http.request import caller_of, peer_of
from shared.http.response import json_response
from shared.http.routes import AUTHENTICATED, PEER, PUBLIC, Routes
from shared.objects.api import Trust
from shared.pki.credentials import Credentials
from shared.pki.identity import Expectation, Role
from shared.pki.tls import ServerCheck, client_context, server_context, visitor_context
from tests.fakes.federation import TRUST_DOMAIN, Federation
from tests.integration.api.harness import Api, running_api

FSM_CHECK = ServerCheck(TRUST_DOMAIN, [Expectation(Role.FSM)], lambda _: False)


def component_routes() -> Routes:
    routes = Routes("/component")

    @routes.get("/sites", permission=PEER, peer=Role.SDSP)
    async def sites(request):
        """Answer a site."""
        return json_response({"site": peer_of(request).id.site})

    @routes.get("/who", permission=AUTHENTICATED)
    async def who(request):
        """Answer anyone."""
        caller = caller_of(request)
        return json_response(
            {
                "kind": caller.kind.value,
                "identity": caller.identity,
                "peer": str(caller.peer.id) if caller.peer else None,
            }
        )

    @routes.get("/elsewhere", permission=PUBLIC)
    async def elsewhere(request):
        """Send away."""
        raise web.HTTPFound("https://127.0.0.1:1/")

    @routes.get("/large", permission=PUBLIC)
    async def large(request):
        """Answer with a lot."""
        return json_response("x" * 100_000)

    @routes.get("/slow", permission=PUBLIC)
    async def slow(request):
        """Never answer."""
        await asyncio.Event().wait()

    @routes.get("/headers", permission=PUBLIC)
    async def headers(request):
        """Return what came."""
        return json_response({name.lower(): value for name, value in request.headers.items()})

    return routes


@pytest.fixture(scope="module")
def federation() -> Federation:
    return Federation()


@asynccontextmanager
async def running(folder: Path, federation: Federation, revoked: set[str]) -> AsyncIterator[Api]:
    async with running_api(
        folder,
        routes=[component_routes()],
        tls=server_context(federation.fsm()),
        trust=Trust(domain=TRUST_DOMAIN, revoked=revoked.__contains__),
    ) as api:
        yield api


@pytest.fixture
def revoked() -> set[str]:
    return set()


@pytest.fixture
async def api(tmp_path: Path, federation: Federation, revoked: set[str]) -> AsyncIterator[Api]:
    async with running(tmp_path, federation, revoked) as running_one:
        yield running_one


def client(api: Api, credentials: Credentials, **limits: float) -> PeerClient:
    made = PeerClient(
        [api.server.url],
        tls=client_context(credentials, check=FSM_CHECK),
        limits=PeerLimits(**limits),
    )
    api.clients.append(made)
    return made


async def test_a_site_is_known_by_its_certificate(api: Api, federation: Federation) -> None:
    site = client(api, federation.sdsp(federation.site("sfo")))
    assert (await site.get("/component/sites")).json() == {"site": "sfo"}
    who = (await site.get("/component/who")).json()
    assert who["kind"] == CallerKind.COMPONENT.value
    assert who["identity"] == "spiffe://sfo.hanse.example/sdsp"


async def test_the_role_of_a_route_is_asked_for(api: Api, federation: Federation) -> None:
    node = client(api, federation.node(federation.site("sfo")))
    with pytest.raises(Forbidden) as caught:
        await node.get("/component/sites")
    assert caught.value.code == "wrong_identity"
    person = api.client("admin", tls=visitor_context(federation.roots))
    with pytest.raises(Forbidden):
        await person.get("/component/sites")
    nobody = api.client(tls=visitor_context(federation.roots))
    with pytest.raises(Unauthenticated):
        await nobody.get("/component/sites")


async def test_a_component_may_not_do_what_people_may(api: Api, federation: Federation) -> None:
    site = client(api, federation.sdsp(federation.site("sfo")))
    for path in ("/api/v1/networks", "/api/v1/audit", "/metrics"):
        with pytest.raises(Forbidden):
            await site.get(path)
    with pytest.raises(Forbidden):
        await site.post(
            "/api/v1/transactions",
            {
                "operations": [
                    {
                        "operation": "put",
                        "object": {
                            "apiVersion": "hanse/v1",
                            "kind": "Network",
                            "metadata": {"name": "a"},
                            "spec": {},
                        },
                    }
                ]
            },
        )


async def test_people_and_components_share_the_port(api: Api, federation: Federation) -> None:
    person = api.client("admin", tls=visitor_context(federation.roots))
    assert (await person.get("/component/who")).json()["kind"] == "person"


async def test_a_token_over_a_components_connection_says_both(
    api: Api, federation: Federation
) -> None:
    token = api.token("viewer", subject="user:kim")
    both = PeerClient(
        [api.server.url],
        tls=client_context(federation.fsm(), check=FSM_CHECK),
        token=lambda: token,
    )
    api.clients.append(both)
    who = (await both.get("/component/who")).json()
    assert who == {
        "kind": "person",
        "identity": "user:kim",
        "peer": "spiffe://hanse.example/fsm",
    }


async def test_a_certificate_that_is_revoked_counts_no_longer_on_an_open_connection(
    api: Api, federation: Federation, revoked: set[str]
) -> None:
    credentials = federation.sdsp(federation.site("sfo"))
    site = client(api, credentials)
    await site.get("/component/sites")
    async with site.stream("GET", "/api/v1/watch", params={"kinds": ""}) as lines:
        assert (await anext(lines))["type"] == "bookmark"
        revoked.add(f"{credentials.certificate.serial_number:x}")
        last = [each async for each in lines][-1]
    assert (last["status"], last["code"]) == (401, "certificate_revoked")
    with pytest.raises(Unauthenticated) as caught:
        await site.get("/component/sites")
    assert caught.value.code == "certificate_revoked"


async def test_a_server_of_another_federation_is_not_spoken_to(
    api: Api, federation: Federation
) -> None:
    stranger = Federation()
    outsider = client(api, stranger.sdsp(stranger.site("sfo")))
    with pytest.raises(Unreachable) as caught:
        await outsider.get("/component/headers")
    assert caught.value.code == "wrong_root"


async def test_a_redirect_is_not_followed(api: Api, federation: Federation) -> None:
    with pytest.raises(Unreachable) as caught:
        await client(api, federation.fsm()).get("/component/elsewhere")
    assert caught.value.code == "redirected"


async def test_an_answer_that_is_too_large_or_too_late_is_given_up(
    api: Api, federation: Federation
) -> None:
    with pytest.raises(TooLarge):
        await client(api, federation.fsm(), answer=50_000).get("/component/large")
    with pytest.raises(Unreachable, match="too long"):
        await client(api, federation.fsm(), total=0.3).get("/component/slow")


async def test_the_trace_goes_on_to_the_next_component(api: Api, federation: Federation) -> None:
    from shared.http.trace import Trace, current_request_id, current_trace

    trace = Trace.new()
    current_trace.set(trace)
    current_request_id.set("r-7")
    sent = (await client(api, federation.fsm()).get("/component/headers")).json()
    assert sent["traceparent"].startswith(f"00-{trace.trace_id}-")
    assert trace.span_id not in sent["traceparent"]
    assert sent["x-request-id"] == "r-7"


async def test_the_next_endpoint_is_tried_after_one_that_does_not_answer(
    api: Api, federation: Federation
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"https://127.0.0.1:{probe.getsockname()[1]}"
    both = PeerClient([dead, api.server.url], tls=client_context(federation.fsm(), check=FSM_CHECK))
    api.clients.append(both)
    with pytest.raises(Unreachable, match="does not answer"):
        await both.get("/livez")
    assert (await both.get("/livez")).status == 200


async def test_a_server_that_is_stopped_is_unreachable(
    tmp_path: Path, federation: Federation
) -> None:
    async with running(tmp_path, federation, set()) as api:
        made = PeerClient([api.server.url], tls=client_context(federation.fsm(), check=FSM_CHECK))
        await made.get("/livez")
    with pytest.raises(Unreachable):
        await made.get("/livez")
    await made.close()
