"""LDAP or RADIUS down: 503, not 401; sessions live on; an audited break-glass account; never an
unverified fallback.

Elsewhere: how each kind of failing server is told from a refusal in tests/integration/providers,
when the emergency account opens and what it leaves behind in tests/unit/shared/login.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.errors import HanseError, Unauthenticated, Unavailable
from tests import radius
from tests.directory import PASSWORDS, SERVICE_PASSWORD, Directory, directory_server
from tests.fixtures_directory import freeradius
from tests.integration.fsm.harness import FSM, PASSWORD
from tests.radius import radius_server

__all__ = ["freeradius"]


async def write(fsm: FSM, plural: str, kind: str, name: str, spec: dict[str, Any]) -> None:
    document = {
        "apiVersion": "hanse/v1",
        "kind": kind,
        "metadata": {"name": name, "scope": "federation"},
        "spec": spec,
    }
    params = {"scope": "federation", "force": "true"}
    await fsm.admin().client.put(f"/api/v1/{plural}/{name}", document, params=params)


async def obey(fsm: FSM, **policy: Any) -> None:
    """Have people log in by this policy."""
    await write(fsm, "credentials", "Credential", "directory", {"secret": SERVICE_PASSWORD})
    await write(fsm, "credentials", "Credential", "radius", {"secret": radius.SECRET})
    await write(fsm, "authenticationpolicies", "AuthenticationPolicy", "company", policy)


async def log_in(fsm: FSM, name: str, password: str) -> Any:
    body = {"username": name, "password": password}
    return (await fsm.visitor().post("/api/v1/login", body)).json()


async def refused(fsm: FSM, name: str, password: str) -> HanseError:
    with pytest.raises(HanseError) as caught:
        await log_in(fsm, name, password)
    return caught.value


async def who_am_i(fsm: FSM, login: Any) -> Any:
    client = fsm.visitor(lambda: str(login["accessToken"]))
    return (await client.get("/api/v1/whoami")).json()


@pytest.fixture
async def directory() -> AsyncIterator[Directory]:
    with directory_server() as server:
        yield server


@pytest.mark.slapd
async def test_ldap_down_is_503_and_sessions_live_on(fsm: FSM, directory: Directory) -> None:
    await obey(fsm, providers=["ldap"], ldap=dict(directory.settings()))
    assert isinstance(await refused(fsm, "alice", "wrong"), Unauthenticated)
    alice = await log_in(fsm, "alice", PASSWORDS["alice"])

    directory.stop(kill=True)
    for name, password in (
        ("alice", PASSWORDS["alice"]),
        ("alice", "wrong"),
        ("nobody", "wrong"),
    ):
        error = await refused(fsm, name, password)
        assert (type(error), error.code) == (Unavailable, "provider_unreachable")
        # What the policy says of its servers is not for whoever knocks.
        assert directory.tls_url not in error.message

    assert (await who_am_i(fsm, alice))["identity"] == "user:alice"
    renewed = await fsm.visitor().post(
        "/api/v1/login/renew", {"refreshToken": alice["refreshToken"]}
    )
    assert (await who_am_i(fsm, renewed.json()))["identity"] == "user:alice"


@pytest.mark.slapd
async def test_ldap_down_has_no_fallback_that_nobody_asked_for(
    fsm: FSM, directory: Directory
) -> None:
    """Neither local users nor RADIUS, which would know her, are asked unless the policy says so."""
    with radius_server() as server:
        settings = {
            "ldap": dict(directory.settings()),
            "radius": dict(server.settings()),
            "breakGlass": "forbidden",
        }
        await obey(fsm, providers=["ldap"], **settings)
        directory.stop(kill=True)
        assert (await refused(fsm, "alice", PASSWORDS["alice"])).code == "provider_unreachable"
        assert (await refused(fsm, "admin", PASSWORD)).code == "provider_unreachable"

        await obey(fsm, providers=["ldap", "radius"], **settings)
        alice = await log_in(fsm, "alice", radius.PASSWORDS["alice"])
        assert (await who_am_i(fsm, alice))["identity"] == "user:alice"
        assert (await refused(fsm, "alice", "wrong")).code == "provider_unreachable"


@pytest.mark.freeradius
async def test_radius_down_is_503_and_sessions_live_on(fsm: FSM) -> None:
    with radius_server() as server:
        await obey(fsm, providers=["radius"], radius=dict(server.settings()))
        assert isinstance(await refused(fsm, "alice", "wrong"), Unauthenticated)
        alice = await log_in(fsm, "alice", radius.PASSWORDS["alice"])

        server.stop()
        for password in (radius.PASSWORDS["alice"], "wrong"):
            error = await refused(fsm, "alice", password)
            assert (type(error), error.code) == (Unavailable, "provider_unreachable")
        assert (await who_am_i(fsm, alice))["identity"] == "user:alice"


@pytest.mark.slapd
async def test_the_emergency_account_opens_only_while_the_directory_is_unreachable(
    fsm: FSM, directory: Directory
) -> None:
    settings = dict(directory.settings())
    await obey(fsm, providers=["ldap", "local"], localUsers="forbidden", ldap=settings)
    assert isinstance(await refused(fsm, "admin", PASSWORD), Unauthenticated)

    directory.stop(kill=True)
    assert (await refused(fsm, "admin", "wrong")).code == "provider_unreachable"
    admin = await who_am_i(fsm, await log_in(fsm, "admin", PASSWORD))
    assert (admin["identity"], admin["emergency"]) == ("user:admin", True)

    trail = (await fsm.admin().client.get("/api/v1/audit", params={"limit": "200"})).json()
    assert any(each["requestId"].startswith("break-glass-") for each in trail["items"])
