"""An AuthenticationPolicy of the federation: obeyed by its sites at once, also when cut off before.

FSM, SDSP, the wire between them and their TLS are real.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.cli.answers import moment_of
from shared.cli.client import Client
from shared.errors import HanseError, Invalid, TooManyRequests
from tests.integration.fsm.harness import FSM, PASSWORD
from tests.integration.road.world import HurriedClock, RoadSite, declare, document, joined

FORBIDDEN = {"enforcement": "mandatory", "localUsers": "forbidden"}
# Nobody listens there: what can't be asked is no refusal.
LDAP = {
    "servers": ["ldaps://127.0.0.1:9"],
    "base": "dc=example,dc=com",
}


async def forbid(fsm: FSM, **spec: Any) -> None:
    """Forbid local users everywhere; the FSM's own login needs no answer here."""
    policy = document("AuthenticationPolicy", "login", {**FORBIDDEN, **spec})
    path = "/api/v1/authenticationpolicies/login"
    await fsm.admin().client.put(path, policy, params={"force": "true"})


async def code_of(client: Client, password: str = PASSWORD) -> str:
    """Return what becomes of a login: its code, or ok."""
    try:
        await client.login("admin", password)
    except HanseError as exc:
        return exc.code
    return "ok"


async def until_ended(client: Client) -> str:
    """Return why a session isn't let in any more."""
    while True:
        try:
            await client.whoami()
        except TooManyRequests:
            continue
        except HanseError as exc:
            return exc.code


async def test_local_users_forbidden_by_the_federation_are_out_at_a_site(
    fsm: FSM, site: RoadSite
) -> None:
    assert (await site.api.whoami()).identity == "user:admin"
    await forbid(fsm, breakGlass="forbidden")
    assert await until_ended(site.api) == "token_revoked"
    async with Client(site.url, ca=site.ca) as visitor:
        assert await code_of(visitor) == "wrong_credentials"


async def test_a_site_that_was_cut_off_obeys_once_it_is_back(fsm: FSM, site: RoadSite) -> None:
    site.wire.cut()
    await forbid(fsm, breakGlass="forbidden")
    async with Client(site.url, ca=site.ca) as visitor:
        # Cut off, it goes on with what it knows: its people are not locked out by a policy that
        # has not reached it.
        assert await code_of(visitor) == "ok"
        site.wire.mend()
        assert await until_ended(site.api) == "token_revoked"
        assert await until_ended(visitor) == "token_revoked"
        visitor.token = None
        assert await code_of(visitor) == "wrong_credentials"


async def test_an_exception_with_a_reason_holds_until_it_expires(
    stopped: FSM, tmp_path: Path
) -> None:
    clock = HurriedClock()
    async with stopped.serving():
        await declare(stopped.admin())
        async with joined(tmp_path, stopped, clock=clock) as site, site.serving():
            await site.heard(stopped)
            # Made ahead, it is based on nothing: later no edit of the policy's is merged into it.
            ends = datetime.now(UTC) + timedelta(hours=1)
            override = {
                "target": {"kind": "AuthenticationPolicy", "name": "login"},
                "reason": "the directory moves tonight",
                "expiresAt": ends.isoformat(),
                "spec": {"localUsers": "allowed"},
            }
            await site.put("Override", "local-logins", override)
            await forbid(stopped, breakGlass="forbidden")
            await site.heard(stopped)
            assert (await site.api.whoami()).identity == "user:admin"
            async with Client(site.url, ca=site.ca) as visitor:
                assert await code_of(visitor) == "ok"
                # An hour that the machine counts too: a clock that leaps ends no exception.
                clock.monotonic_ahead += 3600
                clock.ahead += timedelta(hours=1)
                assert await until_ended(visitor) in ("token_revoked", "token_expired")
                visitor.token = None
                assert await code_of(visitor) == "wrong_credentials"


async def test_a_site_without_its_directory_is_entered_by_the_emergency_account_with_an_alert(
    fsm: FSM, site: RoadSite
) -> None:
    await forbid(fsm, providers=["ldap"], ldap=LDAP)
    assert await until_ended(site.api) == "token_revoked"
    async with Client(site.url, ca=site.ca) as visitor:
        assert await code_of(visitor, "not the secret") == "provider_unreachable"
        assert await code_of(visitor) == "ok"
        status = await visitor.status()
        assert status["breakGlass"]["state"] == "open"
        assert "break-glass.opened" in {each["type"] for each in status["events"]}

        admin = fsm.admin()
        while not (found := (await admin.status())["sites"][0])["breakGlass"]:
            pass
        told = [moment_of(each["breakGlass"]["openUntil"]) for each in (found, status)]
        assert told[0] == told[1]
        events = (await admin.status())["events"]
        (alarm,) = [each for each in events if each["type"] == "break-glass.opened"]
        assert (alarm["severity"], alarm["fields"]["site"]) == ("critical", "sfo")
        metrics = (await admin.client.get("/metrics")).body.decode()
        assert 'hanse_site_break_glass_open{site="sfo"} 1.0' in metrics


async def test_an_author_who_would_be_locked_out_is_asked(site: RoadSite) -> None:
    await site.api.login("admin", PASSWORD)
    forbidding = document("AuthenticationPolicy", "mine", {"localUsers": "forbidden"})
    with pytest.raises(Invalid) as caught:
        await site.api.put(forbidding)
    assert caught.value.code == "would_lock_out"
    await site.api.put(forbidding, force=True)
    assert await until_ended(site.api) == "token_revoked"
