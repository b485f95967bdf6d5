"""Who is it: a real freeradius's answers, signed, and forged ones."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.auth.providers.contract import Person, ProviderBusy, ProviderUnreachable
from shared.auth.providers.failover import PAUSE
from shared.auth.providers.radius import AT_ONCE, RADIUSProvider
from shared.clock import SystemClock
from shared.model.settings_policies import RADIUSSettings
from tests.integration.providers.conftest import RADIUS
from tests.radius import PASSWORDS, SECRET, radius_server
from tests.servers import free_udp_port

pytestmark = pytest.mark.freeradius


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("alice", {"admins", "engineers"}),
        ("bob", {"operators"}),
        ("carol", set()),
        ("löwe", set()),
        ("long", set()),
    ],
)
async def test_a_person_logs_in(freeradius, radius_login: RADIUS, name: str, groups) -> None:
    for servers in ([freeradius.address], [freeradius.address6]):
        login = radius_login(freeradius, servers=servers)
        person = await login.authenticate(name, PASSWORDS[name])
        assert person == Person(name, name, frozenset(groups), "radius")


@pytest.mark.parametrize(
    ("name", "password"),
    [
        pytest.param("alice", "wrong", id="wrong password"),
        pytest.param("alice", PASSWORDS["bob"], id="another's password"),
        pytest.param("alice", PASSWORDS["alice"].upper(), id="wrong case"),
        pytest.param("nobody", "wrong", id="unknown"),
        pytest.param("*", PASSWORDS["alice"], id="star"),
        pytest.param("al\nice", PASSWORDS["alice"], id="line"),
        pytest.param("DEFAULT", PASSWORDS["alice"], id="a word of the server's"),
    ],
)
async def test_what_does_not_fit_is_refused(
    freeradius, radius_login: RADIUS, name: str, password: str
) -> None:
    assert await radius_login(freeradius).authenticate(name, password) is None


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", ""),
        ("alice", " "),
        ("alice", "\0"),
        ("alice", f"{PASSWORDS['alice']}\0"),
        ("alice", "\ud800"),
        ("long", "x" * 129),
        ("alice", "ö" * 65),
        ("", "secret"),
        ("\t", "secret"),
        ("alice\0", PASSWORDS["alice"]),
        ("\udcff", "secret"),
        ("x" * 254, "secret"),
        ("ö" * 127, "secret"),
    ],
)
async def test_what_cannot_be_sent_as_it_is_is_refused_before_anything_is_sent(
    freeradius, radius_login: RADIUS, name: str, password: str
) -> None:
    """A password is padded with NUL (RFC 2865 §5.2), so one that ends in it would fit as well."""
    nowhere = radius_login(freeradius, servers=[f"127.0.0.1:{free_udp_port()}"])
    assert await nowhere.authenticate(name, password) is None
    assert await radius_login(freeradius).authenticate(name, password) is None


@pytest.mark.parametrize("typed", ["alice", "ALICE", " Alice ", "aLiCe"])
async def test_one_person_has_one_name(freeradius, radius_login: RADIUS, typed: str) -> None:
    person = await radius_login(freeradius).authenticate(typed, PASSWORDS["alice"])
    assert person is not None
    assert person.username == "alice"


async def test_where_case_counts_a_name_is_sent_as_typed(freeradius, radius_login: RADIUS) -> None:
    login = radius_login(freeradius, caseSensitive=True)
    assert await login.authenticate("ALICE", PASSWORDS["alice"]) is None
    assert await login.authenticate("alice", PASSWORDS["alice"]) is not None


async def test_the_servers_own_spelling_counts(freeradius, radius_login: RADIUS) -> None:
    for case_sensitive, spelled in ((False, "full.name"), (True, "Full.Name")):
        login = radius_login(freeradius, caseSensitive=case_sensitive)
        person = await login.authenticate("nickname", PASSWORDS["nickname"])
        assert person is not None
        assert person.username == spelled


@pytest.mark.parametrize(
    ("changes", "groups"),
    [
        ({}, {"admins", "engineers"}),
        ({"groupAttribute": "Filter-Id"}, {"filtered"}),
        ({"groupAttribute": "9.1"}, {"shell:roles=network-admin"}),
        ({"groupAttribute": "9.1", "groupPrefix": "shell:roles="}, {"network-admin"}),
        ({"groupAttribute": "9.1", "groupPrefix": "shell:roles=network-admin"}, set()),
        ({"groupAttribute": "14988.3"}, set()),
        ({"groupPrefix": "eng"}, {"ineers"}),
    ],
)
async def test_the_attribute_that_names_groups_is_the_policys(
    freeradius, radius_login: RADIUS, changes, groups
) -> None:
    """Class holds octets besides, which are no group's name."""
    person = await radius_login(freeradius, **changes).authenticate("alice", PASSWORDS["alice"])
    assert person is not None
    assert person.groups == groups


@pytest.mark.parametrize("attribute", ["State", "26", "9.", ".1", "9.256.1", "0.1", "class"])
def test_an_attribute_that_is_none_is_refused(freeradius, attribute: str) -> None:
    with pytest.raises(ValidationError):
        RADIUSSettings.model_validate(freeradius.settings(groupAttribute=attribute))


async def test_a_second_step_is_refused_and_logged(
    freeradius, radius_login: RADIUS, caplog: pytest.LogCaptureFixture
) -> None:
    assert await radius_login(freeradius).authenticate("token", PASSWORDS["token"]) is None
    assert "asks for a second step" in caplog.text


async def test_nobody_is_looked_up(freeradius, radius_login: RADIUS) -> None:
    with pytest.raises(NotImplementedError):
        await radius_login(freeradius).look_up("alice")


Forge = Callable[[bytes], bytes | None]
"""Makes an answer of a request, or keeps silent."""


class ForgingServer(asyncio.DatagramProtocol):
    """A RADIUS server of ours, or of somebody who sits between."""

    def __init__(self, *forges: Forge) -> None:
        self.requests: list[bytes] = []
        self.arrived = asyncio.Event()
        self._forges = forges

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    @property
    def address(self) -> str:
        return "127.0.0.1:{}".format(self._transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.requests.append(data)
        self.arrived.set()
        for forge in self._forges:
            answer = forge(data)
            if answer is not None:
                self._transport.sendto(answer, addr)


@asynccontextmanager
async def forging(*forges: Forge) -> AsyncIterator[ForgingServer]:
    loop = asyncio.get_running_loop()
    server = ForgingServer(*forges)
    transport, _ = await loop.create_datagram_endpoint(lambda: server, ("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()


async def let_time_pass(silent: ForgingServer, login: RADIUSProvider, clock) -> Person | None:
    """Log alice in; the silent server is given the time it would have to answer."""
    asked = asyncio.ensure_future(login.authenticate("alice", PASSWORDS["alice"]))
    for _ in range(2):
        await silent.arrived.wait()
        silent.arrived.clear()
        await clock.sleepers()
        clock.advance(2.5)
    return await asked


ACCEPT, REJECT, CHALLENGE = 2, 3, 11


def answered(
    request: bytes,
    code: int,
    *,
    secret: str = SECRET,
    is_signed: bool = True,
    attributes: bytes = b"",
    identifier: int | None = None,
) -> bytes:
    """Return an answer by RFC 2865 (section 3) and RFC 3579 (section 3.2), without pyrad."""
    key = secret.encode()
    named = bytes((code, request[1] if identifier is None else identifier))
    body = attributes + (b"\x50\x12" + bytes(16) if is_signed else b"")
    head = named + (20 + len(body)).to_bytes(2)
    if is_signed:
        body = attributes + b"\x50\x12" + hmac.digest(key, head + request[4:20] + body, "md5")
    return head + hashlib.md5(head + request[4:20] + body + key).digest() + body


async def test_a_signed_answer_counts(freeradius, radius_login: RADIUS) -> None:
    """What the forgeries below lack is all that they lack."""
    for code, is_accepted in ((ACCEPT, True), (REJECT, False), (CHALLENGE, False)):
        async with forging(lambda request, code=code: answered(request, code)) as server:
            login = radius_login(freeradius, servers=[server.address])
            assert (await login.authenticate("alice", "any") is not None) == is_accepted


def _changed(request: bytes) -> bytes:
    answer = bytearray(answered(request, REJECT))
    answer[0] = ACCEPT
    return bytes(answer)


FORGERIES: dict[str, Forge] = {
    "BlastRADIUS, without Message-Authenticator": lambda request: answered(
        request, ACCEPT, is_signed=False
    ),
    "BlastRADIUS, with Proxy-State": lambda request: answered(
        request, ACCEPT, attributes=b"\x21\x06aaaa"
    ),
    "another secret": lambda request: answered(request, ACCEPT, secret="guessed"),
    "no secret": lambda request: answered(request, ACCEPT, secret=""),
    "another's answer": lambda request: answered(request[:4] + bytes(16) + request[20:], ACCEPT),
    "another identifier": lambda request: answered(
        request, ACCEPT, identifier=(request[1] + 1) % 256
    ),
    "a refusal made an acceptance": _changed,
    "another code": lambda request: answered(request, 12),
    "the request itself": lambda request: request,
    "nothing": lambda _: b"",
    "nonsense": lambda _: b"\xff" * 64,
    "cut": lambda request: answered(request, ACCEPT)[:-1],
    "a length of nothing": lambda request: answered(request, ACCEPT)[:20] + b"\x19\x00",
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
async def test_a_forged_answer_is_no_answer(
    freeradius, radius_login: RADIUS, clock, forge: Forge
) -> None:
    """It neither logs anybody in nor hides the server's own answer."""
    async with forging(forge) as server:
        login = radius_login(freeradius, servers=[server.address])
        with pytest.raises(ProviderUnreachable, match=server.address):
            await let_time_pass(server, login, clock)
    async with forging(forge, lambda request: answered(request, REJECT)) as server:
        login = radius_login(freeradius, servers=[server.address])
        assert await login.authenticate("alice", "any") is None
    async with forging(forge, lambda request: answered(request, ACCEPT)) as server:
        login = radius_login(freeradius, servers=[server.address])
        assert await login.authenticate("alice", "any") is not None


async def test_blastradius_a_server_that_does_not_sign_is_told(
    freeradius, radius_login: RADIUS
) -> None:
    """A real one, as they were before; freeradius sends its answer within the time of one."""
    with radius_server(is_signing=False) as server:
        settings = RADIUSSettings.model_validate(server.settings())
        login = RADIUSProvider(settings, secret=SECRET, clock=SystemClock(), timeout=3.0)
        with pytest.raises(ProviderUnreachable, match="without a Message-Authenticator"):
            await login.authenticate("alice", PASSWORDS["alice"])


async def test_the_request_is_signed_and_the_password_hidden(
    freeradius, radius_login: RADIUS
) -> None:
    async with forging(lambda request: answered(request, REJECT)) as server:
        login = radius_login(freeradius, servers=[server.address])
        await login.authenticate("alice", PASSWORDS["alice"])
        await login.authenticate("alice", PASSWORDS["alice"])
    first, second = server.requests
    for request in (first, second):
        assert request[20:22] == b"\x50\x12", "Message-Authenticator comes first"
        unsigned = request[:22] + bytes(16) + request[38:]
        assert hmac.digest(SECRET.encode(), unsigned, "md5") == request[22:38]
        assert PASSWORDS["alice"].encode() not in request
    assert first[4:20] != second[4:20], "a Request Authenticator is used once"


async def test_a_lost_datagram_is_sent_again(freeradius, radius_login: RADIUS, clock) -> None:
    answers = iter([None, ACCEPT])

    def second(request: bytes) -> bytes | None:
        code = next(answers)
        return None if code is None else answered(request, code)

    async with forging(second) as server:
        login = radius_login(freeradius, servers=[server.address])
        asked = asyncio.ensure_future(login.authenticate("alice", "any"))
        await server.arrived.wait()
        await clock.sleepers()
        clock.advance(2.5)
        assert await asked is not None
    assert server.requests[0] == server.requests[1]


async def test_the_next_server_is_asked_if_one_is_down_or_silent(
    freeradius, radius_login: RADIUS, clock
) -> None:
    nobody = f"127.0.0.1:{free_udp_port()}"
    async with forging() as silent:
        servers = [nobody, silent.address, freeradius.address]
        login = radius_login(freeradius, servers=servers)
        assert await let_time_pass(silent, login, clock) is not None
        assert len(silent.requests) == 2

        # Both are let alone for a while.
        assert await login.authenticate("alice", PASSWORDS["alice"]) is not None
        assert len(silent.requests) == 2

        clock.advance(PAUSE)
        assert await let_time_pass(silent, login, clock) is not None
        assert len(silent.requests) == 4


async def test_a_refusal_is_a_refusal_whatever_the_next_would_say(
    freeradius, radius_login: RADIUS
) -> None:
    async with forging(lambda request: answered(request, ACCEPT)) as generous:
        login = radius_login(freeradius, servers=[freeradius.address, generous.address])
        assert await login.authenticate("alice", "wrong") is None
        assert not generous.requests


async def test_no_answer_is_no_refusal(freeradius, radius_login: RADIUS, clock) -> None:
    nobody = f"127.0.0.1:{free_udp_port()}"
    async with forging() as silent:
        login = radius_login(freeradius, servers=[nobody, "radius.invalid", silent.address])
        with pytest.raises(ProviderUnreachable) as caught:
            await let_time_pass(silent, login, clock)
    message = caught.value.message
    assert f"{nobody}: it can't be reached: [Errno 111] Connection refused" in message
    assert "radius.invalid: it can't be reached" in message
    assert f"{silent.address}: no answer within 5 s" in message


@pytest.mark.parametrize("secret", ["", None])
async def test_without_the_secret_nobody_is_asked(freeradius, radius_login, secret) -> None:
    with pytest.raises(ProviderUnreachable, match="no secret"):
        await radius_login(freeradius, secret=secret).authenticate("alice", PASSWORDS["alice"])


async def test_another_secret_is_no_refusal(freeradius, radius_login, clock) -> None:
    """The server drops what isn't signed with its own."""
    login = radius_login(freeradius, secret="another")
    asked = asyncio.ensure_future(login.authenticate("alice", PASSWORDS["alice"]))
    for _ in range(2):
        await clock.sleepers()
        clock.advance(2.5)
    with pytest.raises(ProviderUnreachable, match="no answer within 5 s"):
        await asked


async def test_two_hundred_logins_at_once_are_all_answered(freeradius, radius_login) -> None:
    login = radius_login(freeradius)
    people = await asyncio.gather(
        *(
            login.authenticate("alice", PASSWORDS["alice"] if number % 4 else "wrong")
            for number in range(200)
        )
    )
    assert [person is not None for person in people] == [bool(n % 4) for n in range(200)]


async def test_logins_that_wait_hold_up_no_others_up_to_a_bound(
    freeradius, radius_login, clock
) -> None:
    async with forging() as silent:
        login = radius_login(freeradius, servers=[silent.address, freeradius.address])
        asked = [
            asyncio.ensure_future(login.authenticate("alice", PASSWORDS["alice"]))
            for _ in range(AT_ONCE)
        ]
        await clock.sleepers(AT_ONCE)
        with pytest.raises(ProviderBusy, match="wait for the provider radius already"):
            await login.authenticate("alice", PASSWORDS["alice"])
        for each in asked:
            each.cancel()
        await asyncio.wait(asked)
        silent.arrived.clear()
        assert await let_time_pass(silent, login, clock) is not None


TYPED = st.one_of(st.text(), st.text(st.sampled_from("alice\0 *=\"'%{}\\\n\ud800ÀÉ")))


@given(name=TYPED, password=st.one_of(TYPED, st.sampled_from(sorted(PASSWORDS.values()))))
@example(name="alice", password=PASSWORDS["alice"])
@example(name="%{User-Name}", password="x")
def test_any_text_is_at_most_its_own_persons_name(freeradius, name: str, password: str) -> None:
    settings = RADIUSSettings.model_validate(freeradius.settings())
    login = RADIUSProvider(settings, secret=SECRET, clock=SystemClock())
    person = asyncio.run(login.authenticate(name, password))
    if person is not None:
        assert person.username == name.strip().lower()
        assert PASSWORDS[person.username] == password
