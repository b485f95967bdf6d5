"""Certificates, and CAs, exchanged while connections are open and others are being made."""

import ssl

import pytest

from shared.errors import Invalid
from shared.pki.authority import Authority, create_issuing, create_root
from shared.pki.certificates import serial_of
from shared.pki.credentials import Credentials
from shared.pki.csr import create_csr
from shared.pki.identity import Expectation, Role, SpiffeId
from shared.pki.keys import generate_key
from shared.pki.peer import verified_chain
from shared.pki.tls import ServerCheck, client_context, server_context
from tests.fakes.federation import TRUST_DOMAIN, Federation
from tests.integration.pki.loopback import Component, connected, none_revoked, outcome, running

FSM = Expectation(Role.FSM)
CHECK = ServerCheck(TRUST_DOMAIN, (FSM,), none_revoked)
ACCEPTED = "accepted spiffe://sfo.hanse.example/sdsp"


@pytest.fixture(scope="module")
def federation() -> Federation:
    return Federation()


@pytest.fixture(scope="module")
def sdsp(federation: Federation) -> Credentials:
    return federation.sdsp(federation.site("sfo"))


def _shown(ssl_object: ssl.SSLObject) -> str:
    return serial_of(verified_chain(ssl_object)[0])


async def test_a_server_renews_without_dropping_a_connection(
    federation: Federation, sdsp: Credentials
) -> None:
    old, new = federation.fsm(), federation.fsm()
    context = server_context(old)
    client = client_context(sdsp, check=CHECK)
    async with (
        running(Component(context)) as server,
        connected(server.port, client) as before,
    ):
        assert await before.ask() == ACCEPTED
        context.reload(new)
        assert await before.ask() == ACCEPTED
        assert _shown(before.ssl_object) == serial_of(old.certificate)
        async with connected(server.port, client) as after:
            assert await after.ask() == ACCEPTED
            assert _shown(after.ssl_object) == serial_of(new.certificate)
        assert await before.ask() == ACCEPTED


async def test_a_client_renews_without_dropping_a_connection(federation: Federation) -> None:
    site = federation.site("sfo")
    old, new = federation.sdsp(site), federation.sdsp(site)
    # The server tells the two apart by revoking the old one's serial only later.
    revoked: set[str] = set()
    server = Component(server_context(federation.fsm()), revoked=lambda serial: serial in revoked)
    context = client_context(old, check=CHECK)
    async with running(server), connected(server.port, context) as before:
        assert await before.ask() == ACCEPTED
        context.reload(new)
        assert await before.ask() == ACCEPTED
        revoked.add(serial_of(old.certificate))
        assert await outcome(server.port, context) == ACCEPTED
        assert await before.ask() == "refused certificate_revoked"


async def test_a_root_that_is_no_longer_trusted_is_forgotten_by_the_next_handshake(
    federation: Federation, sdsp: Credentials
) -> None:
    other = Federation()
    stranger = other.sdsp(other.site("sfo")).trusting([*other.roots, *federation.roots])
    fsm = federation.fsm()
    context = server_context(fsm)
    client = client_context(stranger, check=CHECK)
    async with running(Component(context)) as server:
        assert await outcome(server.port, client) == "server ends the handshake"
        context.reload(fsm.trusting([*fsm.roots, *other.roots]))
        assert await outcome(server.port, client) == ACCEPTED
        context.reload(fsm)
        assert await outcome(server.port, client) == "server ends the handshake"
        assert await outcome(server.port, client_context(sdsp, check=CHECK)) == ACCEPTED


async def test_a_ca_is_exchanged_step_by_step_and_no_handshake_fails(
    federation: Federation,
) -> None:
    clock = federation.clock
    old_root = federation.root.certificate
    root = create_root(TRUST_DOMAIN, clock=clock)
    issuing = create_issuing(root, clock=clock)
    both = (old_root, root.certificate)
    authority = Authority(issuing, clock=clock)

    fsm_old = federation.fsm()
    site_old = federation.site("sfo")
    sdsp_old = federation.sdsp(site_old)
    key = generate_key()
    chain = authority.issue_leaf(create_csr(key), SpiffeId.fsm(TRUST_DOMAIN))
    fsm_new = Credentials(key, chain, both)
    key = generate_key()
    site_key = generate_key()
    site_chain = authority.issue_site_intermediate(create_csr(site_key), "sfo")
    site_new = Authority(Credentials(site_key, site_chain, both), clock=clock)
    chain = site_new.issue_leaf(create_csr(key), SpiffeId.sdsp(TRUST_DOMAIN, "sfo"))
    sdsp_new = Credentials(key, chain, both)

    server, client = server_context(fsm_old), client_context(sdsp_old, check=CHECK)
    steps = [
        ("the client trusts both", client, sdsp_old.trusting(both)),
        ("the server trusts both", server, fsm_old.trusting(both)),
        ("the server shows the new chain", server, fsm_new),
        ("the client shows the new chain", client, sdsp_new),
        ("the client forgets the old root", client, sdsp_new.trusting([root.certificate])),
        ("the server forgets the old root", server, fsm_new.trusting([root.certificate])),
    ]
    async with running(Component(server)) as component:
        async with connected(component.port, client) as first:
            for what, context, credentials in steps:
                context.reload(credentials)
                assert await outcome(component.port, client) == ACCEPTED, what
                assert await first.ask() == ACCEPTED, what
        late = client_context(sdsp_old.trusting(both), check=CHECK)
        assert await outcome(component.port, late) == "server ends the handshake"


async def test_a_reload_that_fails_changes_nothing(
    federation: Federation, sdsp: Credentials
) -> None:
    context = server_context(federation.fsm())
    current = context.current
    with pytest.raises(Invalid):
        context.reload(Credentials(generate_key(), sdsp.chain, sdsp.roots))
    assert context.current is current
    async with running(Component(context)) as server:
        assert await outcome(server.port, client_context(sdsp, check=CHECK)) == ACCEPTED


def test_a_context_is_another_after_each_reload(federation: Federation, sdsp: Credentials) -> None:
    # Clients that keep connections open tell by this that they should connect anew.
    context = client_context(sdsp, check=CHECK)
    before = context.current
    context.reload(federation.sdsp(federation.site("sfo")))
    assert context.current is not before
