"""Both ends of one TLS connection: who is let in, who isn't, and what is said about it."""

import asyncio
import ssl
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import uvloop
from aiohttp import web

from shared.errors import Unauthenticated
from shared.pki.authority import Authority
from shared.pki.certificates import serial_of, thumbprint_of
from shared.pki.credentials import Credentials
from shared.pki.identity import Expectation, Role, SpiffeId
from shared.pki.peer import peer_identity
from shared.pki.tls import (
    BUFFER_SIZE,
    ServerCheck,
    client_context,
    limit_tls_buffers,
    refusal,
    server_context,
    visitor_context,
)
from tests.fakes.clock import VirtualClock
from tests.fakes.federation import TRUST_DOMAIN, Federation
from tests.integration.pki.forgery import Wish, careless_client, careless_server, forge
from tests.integration.pki.loopback import (
    Component,
    caller,
    connected,
    none_revoked,
    outcome,
    running,
)

FSM = Expectation(Role.FSM)


@pytest.fixture(scope="module")
def federation() -> Federation:
    return Federation()


@pytest.fixture(scope="module")
def sdsp(federation: Federation) -> Credentials:
    return federation.sdsp(federation.site("sfo"))


async def test_one_port_takes_components_and_people(
    federation: Federation, sdsp: Credentials
) -> None:
    async with running(Component(server_context(federation.fsm()))) as server:
        component = await outcome(server.port, caller(sdsp, FSM))
        person = await outcome(server.port, visitor_context(federation.roots))
    assert component == "accepted spiffe://sfo.hanse.example/sdsp"
    assert person == "refused no_certificate"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_people_reach_a_server_on_loopback_by_any_of_its_names(
    federation: Federation, host: str
) -> None:
    async with running(Component(server_context(federation.fsm())), host=host) as server:
        answer = await outcome(server.port, visitor_context(federation.roots), host=host)
    assert answer == "refused no_certificate"


async def test_people_are_not_deceived_by_a_server_of_another_name(federation: Federation) -> None:
    async with running(Component(server_context(federation.fsm()))) as server:
        context = visitor_context(federation.roots)
        answer = await outcome(server.port, context, name="other.example")
    assert answer.startswith("client refuses")


async def test_a_certificate_from_another_ca_is_refused_at_both_ends(
    federation: Federation, sdsp: Credentials
) -> None:
    other = Federation()  # of the same trust domain, with the same names
    foreign = other.sdsp(other.site("sfo"))
    async with running(Component(server_context(federation.fsm()))) as server:
        answer = await outcome(server.port, careless_client(foreign))
        assert answer == "server ends the handshake"
        assert not server.received
    async with running(Component(careless_server(other.fsm()))) as server:
        assert await outcome(server.port, caller(sdsp, FSM)) == "client refuses wrong_root"
        assert not server.received


@pytest.mark.parametrize("hours", [pytest.param(-30, id="expired"), pytest.param(6, id="future")])
async def test_a_certificate_out_of_its_time_is_refused_at_both_ends(
    federation: Federation, sdsp: Credentials, hours: int
) -> None:
    then = VirtualClock(datetime.now(UTC) + timedelta(hours=hours))
    authority = Authority(federation.issuing, clock=then)
    fsm = federation.leaf(authority, SpiffeId.fsm(TRUST_DOMAIN))
    async with running(Component(careless_server(fsm))) as server:
        answer = await outcome(server.port, caller(sdsp, FSM))
        assert answer == "client refuses certificate_expired"
    async with running(Component(server_context(federation.fsm()))) as server:
        assert await outcome(server.port, careless_client(fsm)) == "server ends the handshake"


@pytest.mark.parametrize("depth", [0, 1, 2], ids=["leaf", "site's CA", "issuing CA"])
async def test_a_revoked_certificate_is_refused_at_both_ends_wherever_it_stands(
    federation: Federation, depth: int
) -> None:
    site = federation.site("sfo")
    sdsp, node = federation.sdsp(site), federation.node(site)
    revoked = {serial_of(sdsp.chain[depth])}.__contains__
    server = Component(server_context(federation.fsm()), revoked=revoked)
    async with running(server):
        answer = await outcome(server.port, caller(sdsp, FSM))
        assert answer == "refused certificate_revoked"
    async with running(Component(server_context(sdsp))) as server:
        context = caller(node, Expectation(Role.SDSP, "sfo"), revoked=revoked)
        assert await outcome(server.port, context) == "client refuses certificate_revoked"
        assert not server.received


async def test_an_open_connection_is_found_when_its_certificate_is_revoked_or_expires(
    federation: Federation, sdsp: Credentials
) -> None:
    revoked: set[str] = set()
    async with (
        running(Component(server_context(federation.fsm()))) as server,
        connected(server.port, caller(sdsp, FSM)) as connection,
    ):
        await connection.ask()
        identity = peer_identity(
            connection.ssl_object, trust_domain=TRUST_DOMAIN, revoked=none_revoked
        )
    now = datetime.now(UTC)
    identity.recheck(revoked=revoked.__contains__, now=now)
    with pytest.raises(Unauthenticated) as refused:
        identity.recheck(revoked=revoked.__contains__, now=now + timedelta(days=1))
    assert refused.value.code == "certificate_expired"
    revoked.add(identity.serials[0])
    with pytest.raises(Unauthenticated) as refused:
        identity.recheck(revoked=revoked.__contains__, now=now)
    assert refused.value.code == "certificate_revoked"


@pytest.mark.parametrize("expected", [Expectation(Role.SDSP), Expectation(Role.NODE, "sfo")])
async def test_a_good_certificate_of_another_role_is_refused_at_both_ends(
    federation: Federation, sdsp: Credentials, expected: Expectation
) -> None:
    server = Component(server_context(sdsp), expected=[expected])
    async with running(server):
        answer = await outcome(server.port, careless_client(federation.fsm()))
        assert answer == "refused wrong_identity"
    async with running(Component(server_context(federation.fsm()))) as server:
        assert await outcome(server.port, caller(sdsp, expected)) == "client refuses wrong_identity"


@pytest.mark.parametrize(
    ("issuer", "uri"),
    [
        pytest.param("issuing", "spiffe://sfo.hanse.example/sdsp", id="a site's from the FSM's CA"),
        pytest.param("root", "spiffe://hanse.example/fsm", id="the FSM's from the root"),
        pytest.param("root", "spiffe://sfo.hanse.example/node/a", id="a node's from the root"),
    ],
)
async def test_the_right_name_from_the_wrong_issuer_is_refused(
    federation: Federation, sdsp: Credentials, issuer: str, uri: str
) -> None:
    # OpenSSL is content with all of these.
    stolen: Credentials = getattr(federation, issuer)
    forged = forge(Wish([uri]), stolen)
    if issuer == "root":
        forged = Credentials(forged.key, forged.chain[:1], forged.roots)
    async with running(Component(server_context(federation.fsm()))) as server:
        answer = await outcome(server.port, careless_client(forged))
        assert answer == "refused wrong_issuer"
    async with running(Component(careless_server(forged))) as server:
        assert await outcome(server.port, caller(sdsp, FSM)) == "client refuses wrong_issuer"


async def test_tls_1_3_is_preferred_and_1_2_the_oldest(federation: Federation) -> None:
    async with running(Component(server_context(federation.fsm()))) as server:
        seen = []
        for newest in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
            context = visitor_context(federation.roots)
            context.maximum_version = newest
            async with connected(server.port, context) as connection:
                seen.append(connection.ssl_object.version())
        assert seen == ["TLSv1.3", "TLSv1.2"]

        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname = False
        old.verify_mode = ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(server.port, old) as connection:
                await connection.ask()


async def test_an_identity_says_what_tokens_are_bound_to(
    federation: Federation, sdsp: Credentials
) -> None:
    async with (
        running(Component(server_context(federation.fsm()))) as server,
        connected(server.port, caller(sdsp, FSM)) as connection,
    ):
        identity = peer_identity(
            connection.ssl_object, trust_domain=TRUST_DOMAIN, revoked=none_revoked
        )
        shown = ssl.DER_cert_to_PEM_cert(connection.ssl_object.getpeercert(binary_form=True) or b"")
    assert identity.id.role is Role.FSM
    assert len(identity.serials) == 2
    assert len(identity.thumbprint) == 43
    assert shown.startswith("-----BEGIN")
    assert identity.thumbprint != thumbprint_of(sdsp.certificate)


async def test_aiohttp_sends_nothing_to_a_server_that_is_refused(
    federation: Federation, sdsp: Credentials
) -> None:
    requests: list[str] = []

    async def hello(request: web.Request) -> web.Response:
        requests.append(request.headers.get("Authorization", ""))
        assert request.transport is not None
        peer = peer_identity(
            request.transport.get_extra_info("ssl_object"),
            trust_domain=TRUST_DOMAIN,
            revoked=none_revoked,
        )
        return web.Response(text=str(peer.id))

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(federation.fsm()))
    await site.start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with aiohttp.ClientSession() as session:
            for expected in (Expectation(Role.SDSP, "sfo"), Expectation(Role.NODE)):
                with pytest.raises(aiohttp.ClientConnectorCertificateError) as failed:
                    await session.get(
                        url, ssl=caller(sdsp, expected), headers={"Authorization": "secret"}
                    )
                why = refusal(failed.value)
                assert why is not None
                assert why.code == "wrong_identity"
            assert requests == []

            async with session.get(url, ssl=caller(sdsp, FSM)) as response:
                assert await response.text() == "spiffe://sfo.hanse.example/sdsp"
            assert requests == [""]
    finally:
        await runner.cleanup()


def test_uvloop_checks_as_asyncio_does(federation: Federation, sdsp: Credentials) -> None:
    async def scenario() -> list[str]:
        async with running(Component(server_context(federation.fsm()))) as server:
            return [
                await outcome(server.port, caller(sdsp, expected))
                for expected in (FSM, Expectation(Role.SDSP))
            ]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(scenario())
    assert answers == [
        "accepted spiffe://sfo.hanse.example/sdsp",
        "client refuses wrong_identity",
    ]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_proves_nothing(
    federation: Federation, sdsp: Credentials, version: ssl.TLSVersion
) -> None:
    # In memory, because asyncio offers no way to resume.
    server, client = server_context(federation.fsm()), careless_client(sdsp)
    client.maximum_version = version
    first, _ = handshake(server, client, None)
    again, served = handshake(server, client, first.session)
    if not again.session_reused:
        assert str(_peer(served)) == "spiffe://sfo.hanse.example/sdsp"
        return
    with pytest.raises(Unauthenticated, match="resumes") as refused:
        _peer(served)
    assert refused.value.code == "wrong_issuer"


def _peer(served: ssl.SSLObject) -> object:
    return peer_identity(served, trust_domain=TRUST_DOMAIN, revoked=none_revoked).id


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    calling = client.wrap_bio(to_client, to_server, session=session)
    for _ in range(4):
        for end in (calling, serving):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    serving.write(b"x")
    calling.read(1)
    return calling, serving


@pytest.fixture
def buffer_size() -> Iterator[None]:
    before = asyncio.sslproto.SSLProtocol.max_size
    # asyncio's own (constants of sslproto): a server of another test may have lowered it.
    asyncio.sslproto.SSLProtocol.max_size = 256 * 1024
    yield
    asyncio.sslproto.SSLProtocol.max_size = before


@pytest.mark.usefixtures("buffer_size")
async def test_limited_buffers_save_a_quarter_megabyte_per_connection(
    federation: Federation, sdsp: Credentials
) -> None:
    context = caller(sdsp, FSM)

    async def held() -> int:
        async with running(Component(server_context(federation.fsm()))) as server:
            tracemalloc.start()
            async with connected(server.port, context) as connection:
                await connection.ask()
                size, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return size

    before = await held()
    limit_tls_buffers()
    after = await held()
    # Both ends are in this process.
    assert before > 2 * 256 * 1024
    assert after < 2 * 64 * 1024
    assert BUFFER_SIZE == 16 * 1024


def test_a_failure_that_is_not_tls_has_no_refusal() -> None:
    assert refusal(ConnectionRefusedError(111, "refused")) is None
    assert refusal(ssl.SSLError(1, "wrong version number")) is not None


def test_a_hot_context_that_is_not_wrapped_as_asyncio_does_lets_nobody_in(
    federation: Federation, sdsp: Credentials
) -> None:
    check = ServerCheck(TRUST_DOMAIN, (FSM,), none_revoked)
    for context in (server_context(federation.fsm()), client_context(sdsp, check=check)):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.get_ca_certs() == []
