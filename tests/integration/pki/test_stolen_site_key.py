"""A thief has the key of site sfo's CA.  What he may be, and what nobody takes from him.

Every receiver is shown every forgery, over real TLS; and, so that a receiver that refuses
everybody doesn't pass, every receiver is also shown a certificate that it must take.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from shared.pki.authority import Authority
from shared.pki.credentials import Credentials
from shared.pki.identity import Expectation, Role
from shared.pki.tls import server_context, visitor_context
from tests.fakes.federation import Federation
from tests.integration.pki.forgery import (
    Wish,
    careless_client,
    careless_server,
    forge,
    forge_below,
)
from tests.integration.pki.loopback import Component, caller, outcome, running

FSM_URI = "spiffe://hanse.example/fsm"
SFO_SDSP = "spiffe://sfo.hanse.example/sdsp"
SFO_NODE = "spiffe://sfo.hanse.example/node/node-1"
FRA_SDSP = "spiffe://fra.hanse.example/sdsp"
FRA_NODE = "spiffe://fra.hanse.example/node/node-1"
FSM_HOST = "fsm.hanse.example"
FSM_ADDRESS = "192.0.2.1"


class World:
    def __init__(self) -> None:
        self.federation = Federation()
        self.sfo = self.federation.site("sfo")
        self.fra = self.federation.site("fra")
        self.stolen = self.sfo.credentials

    def site(self, name: str) -> Authority:
        return self.sfo if name == "sfo" else self.fra


@pytest.fixture(scope="module")
def world() -> World:
    return World()


# A forgery is given the identity that the stolen CA could truly issue and that the receiver would
# take, if there is one: then nothing but the forged part can be the reason to refuse it.
Forgery = Callable[[Credentials, str], Credentials]

FORGERIES: dict[str, Forgery] = {
    "FSM": lambda ca, own: forge(Wish([FSM_URI]), ca),
    "another site's SDSP": lambda ca, own: forge(Wish([FRA_SDSP]), ca),
    "another site's node": lambda ca, own: forge(Wish([FRA_NODE]), ca),
    "FSM's DNS name": lambda ca, own: forge(Wish([own], dns=[FSM_HOST]), ca),
    "FSM's address": lambda ca, own: forge(Wish([own], addresses=[FSM_ADDRESS]), ca),
    "two own URIs": lambda ca, own: forge(Wish([SFO_SDSP, SFO_NODE]), ca),
    "two own URIs, the other way round": lambda ca, own: forge(Wish([SFO_NODE, SFO_SDSP]), ca),
    "own and the FSM's URI": lambda ca, own: forge(Wish([own, FSM_URI]), ca),
    "the same URI twice": lambda ca, own: forge(Wish([own, own]), ca),
    "CA:TRUE": lambda ca, own: forge(Wish([own], is_ca=True), ca),
    "a CA's own URI": lambda ca, own: forge(Wish(["spiffe://sfo.hanse.example"]), ca),
    "own, from a CA of the thief's": lambda ca, own: forge_below(Wish([own]), ca),
    "FSM, from a CA of the thief's": lambda ca, own: forge_below(Wish([FSM_URI]), ca),
    "no URI": lambda ca, own: forge(Wish(dns=["localhost"]), ca),
    "no name at all": lambda ca, own: forge(Wish(common_name=FSM_HOST), ca),
    # OpenSSL takes what stands before the colon for the host, so only our own parser sees this.
    "a user that looks like the host": lambda ca, own: forge(
        Wish(["spiffe://sfo.hanse.example:x@hanse.example/fsm"]), ca
    ),
    "a port": lambda ca, own: forge(Wish([own.replace(".example/", ".example:443/")]), ca),
    "capitals": lambda ca, own: forge(Wish([own.replace("sfo.", "SFO.")]), ca),
    "an FSM of the site": lambda ca, own: forge(Wish(["spiffe://sfo.hanse.example/fsm"]), ca),
    "a site below the site": lambda ca, own: forge(
        Wish(["spiffe://fra.sfo.hanse.example/sdsp"]), ca
    ),
}


@dataclass(frozen=True)
class Receiver:
    """Who is shown the certificate, whom it expects, and a true one that it must take."""

    me: Callable[[World], Credentials]
    expected: Expectation
    accepted: Callable[[World], Credentials]
    own: str = SFO_SDSP


SERVERS: dict[str, Receiver] = {
    "FSM, for SDSPs": Receiver(
        lambda w: w.federation.fsm(), Expectation(Role.SDSP), lambda w: w.federation.sdsp(w.sfo)
    ),
    "FSM, for the SDSP of fra": Receiver(
        lambda w: w.federation.fsm(),
        Expectation(Role.SDSP, "fra"),
        lambda w: w.federation.sdsp(w.fra),
    ),
    "SDSP of sfo, for its nodes": Receiver(
        lambda w: w.federation.sdsp(w.sfo),
        Expectation(Role.NODE, "sfo"),
        lambda w: w.federation.node(w.sfo),
        own=SFO_NODE,
    ),
    "SDSP of fra, for its nodes": Receiver(
        lambda w: w.federation.sdsp(w.fra),
        Expectation(Role.NODE, "fra"),
        lambda w: w.federation.node(w.fra),
        own=SFO_NODE,
    ),
    "SDSP of sfo, for the FSM": Receiver(
        lambda w: w.federation.sdsp(w.sfo), Expectation(Role.FSM), lambda w: w.federation.fsm()
    ),
    "SDSP of fra, for the FSM": Receiver(
        lambda w: w.federation.sdsp(w.fra), Expectation(Role.FSM), lambda w: w.federation.fsm()
    ),
}

CLIENTS: dict[str, Receiver] = {
    "FSM, calling the SDSP of sfo": Receiver(
        lambda w: w.federation.fsm(),
        Expectation(Role.SDSP, "sfo"),
        lambda w: w.federation.sdsp(w.sfo),
    ),
    "FSM, calling the SDSP of fra": Receiver(
        lambda w: w.federation.fsm(),
        Expectation(Role.SDSP, "fra"),
        lambda w: w.federation.sdsp(w.fra),
    ),
    "SDSP of sfo, calling the FSM": Receiver(
        lambda w: w.federation.sdsp(w.sfo), Expectation(Role.FSM), lambda w: w.federation.fsm()
    ),
    "SDSP of fra, calling the FSM": Receiver(
        lambda w: w.federation.sdsp(w.fra), Expectation(Role.FSM), lambda w: w.federation.fsm()
    ),
    "node of sfo, calling its SDSP": Receiver(
        lambda w: w.federation.node(w.sfo),
        Expectation(Role.SDSP, "sfo"),
        lambda w: w.federation.sdsp(w.sfo),
    ),
    "node of fra, calling its SDSP": Receiver(
        lambda w: w.federation.node(w.fra),
        Expectation(Role.SDSP, "fra"),
        lambda w: w.federation.sdsp(w.fra),
    ),
}


async def _shown_to_server(receiver: Receiver, world: World, shown: Credentials) -> str:
    component = Component(server_context(receiver.me(world)), expected=[receiver.expected])
    async with running(component):
        return await outcome(component.port, careless_client(shown))


async def _shown_to_client(receiver: Receiver, world: World, shown: Credentials) -> tuple[str, int]:
    """Return what the client did, and how many bytes it had said by then."""
    thief = Component(careless_server(shown))
    async with running(thief):
        answer = await outcome(thief.port, caller(receiver.me(world), receiver.expected))
    return answer, sum(map(len, thief.received))


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("receiver", SERVERS)
async def test_a_server_refuses_a_forged_client(world: World, receiver: str, forgery: str) -> None:
    server = SERVERS[receiver]
    forged = FORGERIES[forgery](world.stolen, server.own)
    answer = await _shown_to_server(server, world, forged)
    assert answer.startswith("refused ") or answer == "server ends the handshake"


@pytest.mark.parametrize("receiver", SERVERS)
async def test_a_server_takes_the_true_client(world: World, receiver: str) -> None:
    server = SERVERS[receiver]
    answer = await _shown_to_server(server, world, server.accepted(world))
    assert answer.startswith("accepted ")


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("receiver", CLIENTS)
async def test_a_client_refuses_a_forged_server_and_tells_it_nothing(
    world: World, receiver: str, forgery: str
) -> None:
    client = CLIENTS[receiver]
    forged = FORGERIES[forgery](world.stolen, client.own)
    answer, said = await _shown_to_client(client, world, forged)
    assert answer.startswith("client refuses ")
    assert said == 0


@pytest.mark.parametrize("receiver", CLIENTS)
async def test_a_client_takes_the_true_server(world: World, receiver: str) -> None:
    client = CLIENTS[receiver]
    answer, said = await _shown_to_client(client, world, client.accepted(world))
    assert answer == "refused no_certificate", "the careless server asks for none"
    assert said > 0


@pytest.mark.parametrize("uri", [SFO_SDSP, SFO_NODE])
async def test_the_forger_can_make_what_the_stolen_key_may_make(world: World, uri: str) -> None:
    # The control for the forger: its certificates are refused for what they claim, not for how
    # they are made.  Against this only revoking the site's CA helps.
    role = Role.SDSP if uri == SFO_SDSP else Role.NODE
    component = Component(
        server_context(world.federation.fsm()), expected=[Expectation(role, "sfo")]
    )
    forged = forge(Wish([uri], dns=["localhost"], addresses=["127.0.0.1"]), world.stolen)
    async with running(component):
        assert await outcome(component.port, careless_client(forged)) == f"accepted {uri}"


async def test_revoking_the_sites_ca_ends_even_what_the_stolen_key_may_make(world: World) -> None:
    serial = f"{world.stolen.certificate.serial_number:x}"
    component = Component(server_context(world.federation.fsm()), revoked={serial}.__contains__)
    forged = forge(Wish([SFO_SDSP]), world.stolen)
    async with running(component):
        answer = await outcome(component.port, careless_client(forged))
        assert answer == "refused certificate_revoked"
        true = careless_client(world.federation.sdsp(world.fra))
        assert await outcome(component.port, true) == f"accepted {FRA_SDSP}"


@pytest.mark.parametrize(
    ("forgery", "code"),
    [
        ("two own URIs", "wrong_identity"),
        ("the same URI twice", "wrong_identity"),
        ("CA:TRUE", "wrong_identity"),
        ("a port", "wrong_identity"),
        ("capitals", "wrong_identity"),
        ("no URI", "wrong_identity"),
        ("a user that looks like the host", "wrong_identity"),
        ("FSM", "wrong_issuer"),
        ("another site's SDSP", "wrong_issuer"),
        ("FSM's DNS name", "wrong_issuer"),
        ("FSM's address", "wrong_issuer"),
        ("own, from a CA of the thief's", "wrong_issuer"),
    ],
)
async def test_a_refusal_says_what_is_wrong(world: World, forgery: str, code: str) -> None:
    client = CLIENTS["node of sfo, calling its SDSP"]
    forged = FORGERIES[forgery](world.stolen, client.own)
    answer, _ = await _shown_to_client(client, world, forged)
    assert answer == f"client refuses {code}"


@pytest.mark.parametrize(
    "wish",
    [
        pytest.param(Wish([SFO_SDSP], dns=[FSM_HOST]), id="as a name"),
        pytest.param(Wish([SFO_SDSP], common_name=FSM_HOST), id="as the common name"),
        pytest.param(Wish(common_name=FSM_HOST), id="as the common name and nothing else"),
    ],
)
async def test_a_person_who_calls_the_fsm_by_name_is_not_deceived(world: World, wish: Wish) -> None:
    # The person's client goes by the host name, and the network is the thief's.
    context = visitor_context(world.federation.roots)
    for shown, answer in (
        (forge(wish, world.stolen), "client refuses"),
        (world.federation.fsm(), "refused no_certificate"),
    ):
        component = Component(careless_server(shown))
        async with running(component):
            said = await outcome(component.port, context, name=FSM_HOST)
            assert said.startswith(answer)
