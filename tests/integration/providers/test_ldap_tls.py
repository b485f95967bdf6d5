"""Whose directory is it: certificates that don't verify, and passwords that never go in the clear."""

import asyncio
import re

import ldap3
import pytest
from ldap3.core.exceptions import LDAPSocketOpenError
from pydantic import ValidationError

from shared.auth.providers.contract import ProviderUnreachable
from shared.auth.providers.ldap_connections import bind
from shared.model.settings_policies import LDAPSettings
from tests.authority import LOOPBACK, Authority
from tests.directory import PASSWORDS, SERVICE_PASSWORD, directory_server
from tests.integration.providers.conftest import LDAP
from tests.integration.providers.scripted import BIND, EXTENDED, scripted
from tests.integration.providers.test_ldap import DIRECT

pytestmark = pytest.mark.slapd


def by_start_tls(directory):
    return {"servers": [directory.url], "startTls": True}


def by_ldaps(directory):
    return {"servers": [directory.tls_url]}


def named(way, host: str = "localhost"):
    return way | {"servers": [url.replace("127.0.0.1", host) for url in way["servers"]]}


WAYS = [by_ldaps, by_start_tls]


async def alice(login):
    return await login.authenticate("alice", PASSWORDS["alice"])


@pytest.mark.parametrize("way", WAYS)
async def test_a_verified_directory_is_asked(slapd, ldap: LDAP, way) -> None:
    assert await alice(ldap(slapd, **way(slapd))) is not None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("host", ["localhost", "[::1]"])
async def test_a_host_name_is_verified_as_well_as_an_address(
    slapd, ldap: LDAP, way, host: str
) -> None:
    assert await alice(ldap(slapd, **named(way(slapd), host))) is not None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "authorities", [Authority("Other Root").pem, None], ids=["other", "system"]
)
async def test_a_directory_of_a_foreign_authority_is_not_asked(
    slapd, ldap: LDAP, way, authorities: str | None
) -> None:
    with pytest.raises(ProviderUnreachable, match="its certificate doesn't verify: "):
        await alice(ldap(slapd, caCertificates=authorities, **way(slapd)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        pytest.param({"names": ("ldap.example.com",)}, "Hostname mismatch", id="wrong name"),
        pytest.param({"is_expired": True}, "certificate has expired", id="expired"),
        pytest.param(
            {"names": ("localhost",), "has_san": False}, "Hostname mismatch", id="only a CN"
        ),
    ],
)
async def test_a_certificate_that_does_not_verify_is_refused(
    ldap: LDAP, tmp_path, way, wish, reason: str
) -> None:
    with directory_server() as server:
        server.stop()
        server.present(server.authority.issue(tmp_path, **wish))
        server.start()
        with pytest.raises(ProviderUnreachable, match=reason) as caught:
            await alice(ldap(server, **named(way(server))))
        assert "://localhost:" in caught.value.message

        server.stop()
        server.present(server.authority.issue(tmp_path, names=LOOPBACK))
        server.start()
        assert await alice(ldap(server, **named(way(server)))) is not None


@pytest.mark.parametrize("way", WAYS)
async def test_certificates_that_are_none_are_told(slapd, ldap: LDAP, way) -> None:
    for pem in ("nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ProviderUnreachable, match="caCertificates can't be read"):
            await alice(ldap(slapd, caCertificates=pem, **way(slapd)))


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param((2, "unsupported extended operation"), id="refused"),
        pytest.param((52, "not now"), id="unavailable"),
        pytest.param((10, ""), id="referral"),
        pytest.param(b"\x30\x03\x02\x01\x00", id="nonsense"),
    ],
)
@pytest.mark.parametrize("account", [{}, DIRECT], ids=["service account", "direct"])
async def test_without_start_tls_no_password_is_sent(slapd, ldap: LDAP, refusal, account) -> None:
    """Who sits between may take StartTLS out of what a directory offers."""
    async with scripted({EXTENDED: refusal, BIND: (0, "")}) as server:
        with pytest.raises(ProviderUnreachable):
            await alice(ldap(slapd, servers=[server.url], startTls=True, **account))
        assert BIND not in server.requests
        assert SERVICE_PASSWORD.encode() not in server.received
        assert PASSWORDS["alice"].encode() not in server.received


async def test_what_is_said_before_tls_counts_for_nothing(slapd, ldap: LDAP) -> None:
    """An answer to the bind that comes with the one to StartTLS is not taken for the directory's."""
    injected = b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
    start_tls = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"
    async with scripted({EXTENDED: start_tls + injected}) as server:
        with pytest.raises(ProviderUnreachable):
            await alice(ldap(slapd, servers=[server.url], startTls=True))
        assert BIND not in server.requests


async def test_a_connection_that_was_closed_is_not_bound_anew_without_tls() -> None:
    """What ldap3 would do by itself."""
    async with scripted({BIND: (0, "")}) as server:
        closed = ldap3.Connection(ldap3.Server(server.url, get_info=ldap3.NONE))
        with pytest.raises(LDAPSocketOpenError):
            await asyncio.to_thread(bind, closed, "cn=hanse", SERVICE_PASSWORD)
        assert not server.connections


@pytest.mark.parametrize(
    "host", ["ldap.example.com", "192.0.2.1", "[2001:db8::1]", "localhost.evil"]
)
def test_a_password_in_the_clear_leaves_no_machine(slapd, host: str) -> None:
    with pytest.raises(ValidationError, match="in the clear: use ldaps:// or startTls") as caught:
        LDAPSettings.model_validate(slapd.settings(servers=["ldaps://a", f"ldap://{host}"]))
    assert caught.value.errors()[0]["type"] == "password_in_the_clear"
    LDAPSettings.model_validate(slapd.settings(servers=[f"ldap://{host}"], startTls=True))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.3.2.1", "[::1]"])
async def test_without_tls_loopback_alone_is_asked(slapd, ldap: LDAP, host: str) -> None:
    login = ldap(slapd, servers=[f"ldap://{host}:{slapd.port}"])
    if host != "127.3.2.1":  # nobody listens there
        assert await alice(login) is not None
        return
    with pytest.raises(ProviderUnreachable, match=re.escape(host)):
        await alice(login)
