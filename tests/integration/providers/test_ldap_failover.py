"""Directories that are down, slow, busy or dying: the next one is asked, and nobody is refused."""

import asyncio
import threading
from collections import Counter
from pathlib import Path

import pytest

from shared.auth.providers.contract import Person, ProviderBusy, ProviderUnreachable
from shared.auth.providers.failover import PAUSE
from shared.auth.providers.ldap import WAITING
from shared.auth.providers.ldap_connections import KEPT_FOR
from tests.authority import Authority
from tests.directory import PASSWORDS, SERVICE_DN, Directory, directory_server
from tests.integration.providers.conftest import LDAP
from tests.integration.providers.scripted import BIND, SEARCH, scripted
from tests.integration.providers.test_ldap import DIRECT, WAYS
from tests.servers import free_port

pytestmark = pytest.mark.slapd


@pytest.fixture
def mortal():
    """A directory that the test stops."""
    with directory_server() as server:
        yield server


async def alice(login) -> Person | None:
    return await login.authenticate("alice", PASSWORDS["alice"])


async def test_the_next_server_is_asked_if_one_is_down(slapd, ldap: LDAP) -> None:
    dead = f"ldaps://127.0.0.1:{free_port()}"
    assert await alice(ldap(slapd, servers=[dead, slapd.tls_url])) is not None


async def test_a_refusal_is_a_refusal_whichever_server_gives_it(slapd, ldap: LDAP) -> None:
    """Nobody asks on until somebody says yes."""
    with directory_server(authority=slapd.authority) as other:
        other.change(
            "dn: uid=alice,ou=people,dc=example,dc=com\nchangetype: modify\n"
            "replace: userPassword\nuserPassword: the-other-directorys\n"
        )
        login = ldap(slapd, servers=[slapd.tls_url, other.tls_url])
        assert await login.authenticate("alice", "the-other-directorys") is None


async def test_each_server_is_named_with_its_reason(slapd, ldap: LDAP) -> None:
    dead = f"ldaps://127.0.0.1:{free_port()}"
    unknown = "ldaps://directory.invalid"
    with directory_server(authority=Authority("Other Root")) as foreign:
        login = ldap(slapd, servers=[dead, unknown, foreign.tls_url])
        with pytest.raises(ProviderUnreachable) as caught:
            await alice(login)
        message = caught.value.message
        assert f"{dead}: socket connection error" in message
        assert "Connection refused" in message
        assert f"{unknown}: its name can't be resolved" in message
        assert f"{foreign.tls_url}: its certificate doesn't verify" in message


async def test_a_server_that_failed_is_let_alone_for_a_while(
    slapd, ldap: LDAP, clock, mortal: Directory
) -> None:
    async with scripted({BIND: (52, "going down")}) as sick:
        login = ldap(slapd, servers=[sick.url, slapd.tls_url])
        for _ in range(3):
            assert await alice(login) is not None
        assert sick.connections == 1

        clock.advance(PAUSE)
        assert await alice(login) is not None
        assert sick.connections == 2


async def test_who_is_alone_and_fails_is_asked_again_after_the_pause(
    ldap: LDAP, clock, mortal: Directory
) -> None:
    login = ldap(mortal)
    assert await alice(login) is not None
    mortal.stop(kill=True)
    with pytest.raises(ProviderUnreachable, match="Connection refused"):
        await alice(login)
    mortal.start()
    with pytest.raises(ProviderUnreachable, match=r"Connection refused.*\(just now\)"):
        await alice(login)
    clock.advance(PAUSE)
    assert await alice(login) is not None


@pytest.mark.parametrize("way", WAYS)
async def test_a_directory_that_was_restarted_is_asked_at_once(
    ldap: LDAP, way, mortal: Directory
) -> None:
    """The connections that were kept are dead; nobody is told so."""
    login = ldap(mortal, **way)
    assert await alice(login) is not None
    mortal.stop(kill=True)
    mortal.start()
    assert await alice(login) is not None


async def test_a_directory_killed_midway_refuses_nobody(ldap: LDAP, mortal: Directory) -> None:
    """Logins that run while it dies are answered by it, by the next, or by nobody."""
    with directory_server(authority=mortal.authority) as other:
        login = ldap(mortal, servers=[mortal.tls_url, other.tls_url])
        logins = [asyncio.ensure_future(alice(login)) for _ in range(60)]
        await asyncio.wait(logins, return_when=asyncio.FIRST_COMPLETED)
        mortal.stop(kill=True)
        assert {person.username for person in await asyncio.gather(*logins) if person} == {"alice"}
        assert None not in await asyncio.gather(*logins)

        other.stop(kill=True)
        with pytest.raises(ProviderUnreachable):
            await alice(login)


@pytest.mark.parametrize("way", WAYS)
async def test_a_directory_that_stalls_is_given_up(ldap: LDAP, way, mortal: Directory) -> None:
    login = ldap(mortal, timeout=2.0, **way)
    assert await alice(login) is not None
    mortal.pause()
    with pytest.raises(ProviderUnreachable, match=r"no answer within 2 s"):
        await alice(login)
    mortal.resume()


@pytest.mark.parametrize("changes", [{}, {"startTls": True}, DIRECT], ids=["bind", "TLS", "direct"])
async def test_a_socket_that_accepts_and_never_answers_is_given_up(
    slapd, ldap: LDAP, changes
) -> None:
    async with scripted({}) as silent:
        login = ldap(slapd, servers=[silent.url], timeout=0.2, **changes)
        with pytest.raises(ProviderUnreachable, match=r"no answer within 0\.2 s"):
            await alice(login)
        secure = ldap(slapd, servers=[silent.url.replace("ldap:", "ldaps:")], timeout=0.2)
        with pytest.raises(ProviderUnreachable, match=r"no answer within 0\.2 s"):
            await alice(secure)


async def test_a_dead_directory_holds_up_as_many_logins_as_there_are_threads_and_no_more(
    slapd, ldap: LDAP
) -> None:
    async with scripted({}) as silent:
        login = ldap(slapd, servers=[silent.url, slapd.tls_url], timeout=2.0)
        people = await asyncio.gather(*(alice(login) for _ in range(50)))
        assert None not in people
        assert silent.connections <= 4


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(1, id="operationsError"),
        pytest.param(2, id="protocolError"),
        pytest.param(8, id="strongerAuthRequired"),
        pytest.param(10, id="referral"),
        pytest.param(13, id="confidentialityRequired"),
        pytest.param(51, id="busy"),
        pytest.param(52, id="unavailable"),
        pytest.param(53, id="unwillingToPerform"),
        pytest.param(80, id="other"),
    ],
)
async def test_an_answer_that_is_not_about_the_person_is_no_refusal(
    slapd, ldap: LDAP, code: int
) -> None:
    async with scripted({BIND: (code, "said the directory")}) as server:
        with pytest.raises(ProviderUnreachable, match="said the directory"):
            await alice(ldap(slapd, servers=[server.url], **DIRECT))
        with pytest.raises(ProviderUnreachable, match="said the directory"):
            await alice(ldap(slapd, servers=[server.url]))


@pytest.mark.parametrize("code", [3, 4, 10, 11, 12, 18, 50, 51, 52, 53, 80])
async def test_a_search_without_a_result_is_no_refusal(slapd, ldap: LDAP, code: int) -> None:
    """Half of what there is would be an answer as wrong as none."""
    async with scripted({BIND: (0, ""), SEARCH: (code, "said the directory")}) as server:
        login = ldap(slapd, servers=[server.url])
        if code == 4:  # more than one entry was asked for, none came
            assert await alice(login) is None
            return
        with pytest.raises(ProviderUnreachable, match="said the directory"):
            await alice(login)


def _of_active_directory(code: str) -> str:
    return f"80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data {code}, v4563"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        *((49, _of_active_directory(each)) for each in ("525", "52e", "530", "531", "532", "533")),
        *((49, _of_active_directory(each)) for each in ("701", "773", "775")),
        (49, ""),
        (49, "NDS error: failed authentication (-669)"),
        (48, ""),
        (32, ""),
        (19, "Exceed password retry limit. Please try later."),
        (53, "Account inactivated. Contact system administrator."),
        (53, "NDS error: login lockout (-197)"),
        (53, "NDS error: log account expired (-220)"),
    ],
)
async def test_an_answer_about_the_person_is_a_refusal(
    slapd, ldap: LDAP, code: int, words: str
) -> None:
    async with scripted({BIND: (code, words)}) as server:
        assert await alice(ldap(slapd, servers=[server.url], **DIRECT)) is None


@pytest.mark.parametrize("code", ["51f", "6ba", "6fb"])
async def test_a_domain_controller_without_its_domain_refuses_nobody(
    slapd, ldap: LDAP, code: str
) -> None:
    """Active Directory calls its own troubles invalidCredentials."""
    async with scripted({BIND: (49, _of_active_directory(code))}) as server:
        login = ldap(slapd, servers=[server.url, slapd.tls_url], **DIRECT)
        assert await alice(login) is not None


async def test_an_account_refused_by_one_directory_is_tried_at_the_next(slapd, ldap: LDAP) -> None:
    async with scripted({BIND: (49, "invalid credentials")}) as server:
        assert await alice(ldap(slapd, servers=[server.url, slapd.tls_url])) is not None
        with pytest.raises(ProviderUnreachable, match=f"refuses the service account {SERVICE_DN}"):
            await alice(ldap(slapd, servers=[server.url]))


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x30\x84\xff\xff\xff\xff\x00",
        b"\x30\x00",
        b"\x30\x03\x02\x01\x01",
        b"\x30\x05\x02\x01\x01\x61\x00",
        b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\xff",
        b"\x30\x0c\x02\x01\x63\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
        b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x00\x04\x00\x04\x00",
        b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00",
        b"\x00" * 64,
        b"\xff" * 64,
        b"\x30\x0e\x02\x01\x01\x61\x09\x0a\x01\x00\x04\x02\xff\xfe\x04\x00",
    ],
    ids=lambda each: each[:12].hex(),
)
@pytest.mark.parametrize("kind", [BIND, SEARCH], ids=["bind", "search"])
async def test_nonsense_is_no_answer(slapd, ldap: LDAP, garbage: bytes, kind: int) -> None:
    async with scripted({BIND: (0, "")} | {kind: garbage}) as server:
        login = ldap(slapd, servers=[server.url], timeout=0.3)
        with pytest.raises(ProviderUnreachable):
            await alice(login)
        if kind == BIND:
            direct = ldap(slapd, servers=[server.url], timeout=0.3, **DIRECT)
            with pytest.raises(ProviderUnreachable):
                await alice(direct)


@pytest.mark.parametrize("way", WAYS)
async def test_two_hundred_logins_at_once_are_all_answered(slapd, ldap: LDAP, way) -> None:
    login = ldap(slapd, **way)
    names = list(PASSWORDS)
    asked = [names[number % len(names)] for number in range(200)]
    people = await asyncio.gather(
        *(
            login.authenticate(name, PASSWORDS[name] if number % 4 else "wrong")
            for number, name in enumerate(asked)
        )
    )
    told = [person.username if person else None for person in people]
    assert told == [name if number % 4 else None for number, name in enumerate(asked)]


async def test_the_queue_is_bounded_and_full_is_not_unreachable(slapd, ldap: LDAP) -> None:
    """Else whoever floods logins could have an emergency account open."""
    async with scripted({}) as silent:
        login = ldap(slapd, servers=[silent.url], timeout=0.3)
        answers = await asyncio.gather(
            *(alice(login) for _ in range(WAITING + 20)), return_exceptions=True
        )
    kinds = Counter(type(each) for each in answers)
    assert kinds == {ProviderUnreachable: WAITING, ProviderBusy: 20}
    with pytest.raises(ProviderUnreachable):
        await alice(login)


async def test_logins_that_wait_when_the_policy_changes_are_told_so(slapd, ldap: LDAP) -> None:
    login = ldap(slapd)
    logins = [asyncio.ensure_future(alice(login)) for _ in range(30)]
    await asyncio.wait(logins, return_when=asyncio.FIRST_COMPLETED)
    login.close()
    ends = await asyncio.gather(*logins, return_exceptions=True)
    assert {type(each) for each in ends} == {Person, ProviderBusy}
    with pytest.raises(ProviderBusy, match="have changed"):
        await alice(login)
    with pytest.raises(ProviderUnreachable, match="have changed"):
        await login.look_up("alice")


async def test_a_connection_is_kept_for_a_minute_and_no_longer(slapd, ldap: LDAP, clock) -> None:
    """So a service account whose password was changed in the directory is soon refused."""
    async with scripted({BIND: (0, ""), SEARCH: (0, "")}) as server:
        login = ldap(slapd, servers=[server.url])
        for _ in range(5):
            assert await alice(login) is None
        assert server.connections == 2  # one to search, one to try passwords

        clock.advance(KEPT_FOR + 1)
        server.results = {BIND: (49, "invalid credentials")}
        with pytest.raises(ProviderUnreachable, match="refuses the service account"):
            await alice(login)


async def test_failures_leave_no_descriptors_and_no_threads(slapd, ldap: LDAP) -> None:
    nowhere = f"ldaps://127.0.0.1:{free_port()}"
    names = Path("/proc/self/fd")
    async with (
        scripted({}) as silent,
        scripted({BIND: b"nonsense"}) as babbling,
        scripted({BIND: (49, "")}) as refusing,
    ):
        servers = [nowhere, silent.url, babbling.url, refusing.url]
        before = len(list(names.iterdir()))
        for number in range(20):
            foreign = ldap(slapd, caCertificates=Authority().pem)
            broken = ldap(slapd, servers=servers, timeout=0.05)
            for login in (foreign, broken):
                with pytest.raises(ProviderUnreachable):
                    await alice(login)
                login.close()
            if number == 0:
                before = len(list(names.iterdir()))
    # The scripted ends of the last connections may not have been told yet.
    assert len(list(names.iterdir())) <= before + 8
    assert sum(each.name.startswith("ldap_") for each in threading.enumerate()) <= 8
