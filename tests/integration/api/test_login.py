"""Logging in, and everything that isn't a good token."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from shared.auth.guessing import FREE
from shared.auth.passwords import Passwords
from shared.clock import SystemClock
from shared.errors import (
    Conflict,
    HanseError,
    Invalid,
    TooManyRequests,
    Unauthenticated,
)
from shared.http.peer import PeerClient
from shared.objects.accounts import create_account
from tests.integration.api.harness import Api, running_api

PASSWORD = "correct horse battery staple"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        passwords = Passwords()
        await create_account(
            running.store, "admin", PASSWORD, passwords=passwords, clock=SystemClock()
        )
        passwords.close()
        yield running


async def log_in(client: PeerClient, username: str = "admin", password: str = PASSWORD):
    return await client.post("/api/v1/login", {"username": username, "password": password})


async def test_a_password_is_traded_for_a_token_that_says_who_one_is(api: Api) -> None:
    answer = (await log_in(api.client())).json()

    assert answer["tokenType"] == "Bearer"
    client = PeerClient([api.server.url], tls=None, token=lambda: answer["accessToken"])
    api.clients.append(client)
    identity = (await client.get("/api/v1/whoami")).json()
    assert identity["identity"] == "user:admin"
    assert identity["kind"] == "person"
    assert identity["roles"] == ["global-admin"]
    assert identity["tenants"] is None
    assert identity["expiresAt"] >= answer["expiresAt"]
    assert "override" in identity["permissions"]


async def test_a_wrong_name_and_a_wrong_password_are_refused_alike(api: Api) -> None:
    answers = []
    for username, password in (("admin", "wrong"), ("nobody", PASSWORD), ("admin", "x" * 1024)):
        with pytest.raises(Unauthenticated) as caught:
            await log_in(api.client(), username, password)
        answers.append((caught.value.code, caught.value.message))
    assert len(set(answers)) == 1
    await api.services.trail.flush()
    actions = [(r.action, r.identity, r.outcome) for _, r in await api.store.audit_records()]
    assert ("login", "user:nobody", "wrong_credentials") in actions


@pytest.mark.parametrize(
    "body",
    [
        {"username": "admin"},
        {"username": "", "password": "x"},
        {"username": "admin", "password": ""},
        {"username": "admin", "password": "x", "extra": 1},
        {"username": ["admin"], "password": "x"},
    ],
)
async def test_an_incomplete_login_is_invalid(api: Api, body) -> None:
    with pytest.raises(Invalid) as caught:
        await api.client().post("/api/v1/login", body)
    assert caught.value.fields


async def test_guessing_is_slowed_per_account_and_told_when_to_try_again(api: Api) -> None:
    client = api.client()

    async def guess_on() -> None:
        # A slow machine may take the first waits by itself.
        for _ in range(FREE + 10):
            with suppress(Unauthenticated):
                await log_in(client, password="guess")

    with pytest.raises(TooManyRequests) as caught:
        await guess_on()
    assert 1 <= caught.value.retry_after <= 60
    with pytest.raises(Unauthenticated):
        await log_in(client, username="other", password="guess")


async def test_guessing_at_once_gets_no_more_than_the_limit(api: Api) -> None:
    client = api.client()

    async def guess() -> str:
        try:
            await log_in(client, password="guess")
        except (Unauthenticated, TooManyRequests) as exc:
            return exc.code
        return "in"

    outcomes = await asyncio.gather(*(guess() for _ in range(14)))
    assert set(outcomes) == {"too_many_requests", "wrong_credentials"}
    # A slow machine may take the first waits by itself.
    assert FREE <= outcomes.count("wrong_credentials") <= FREE + 2


async def test_an_account_is_made_once(api: Api) -> None:
    passwords = Passwords()
    clock = SystemClock()
    with pytest.raises(Conflict):
        await create_account(api.store, "admin", PASSWORD, passwords=passwords, clock=clock)
    with pytest.raises(Invalid):
        await create_account(api.store, "new", "short", passwords=passwords, clock=clock)
    async with api.store.snapshot() as snapshot:
        record = await snapshot.record("accounts", "admin")
    passwords.close()
    assert record is not None
    assert record["passwordHash"].startswith("$argon2id$")
    assert PASSWORD not in str(record)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Token x", "x" * 4000])
async def test_other_authorization_headers_are_refused(api: Api, header: str) -> None:
    with pytest.raises(Unauthenticated):
        await api.client().get("/api/v1/whoami", headers={"Authorization": header})


async def test_nobody_gets_past_the_door_without_a_token(api: Api) -> None:
    for path in ("/api/v1/networks", "/api/v1/whoami", "/metrics"):
        with pytest.raises(Unauthenticated):
            await api.client().get(path)


def bearing(api: Api, token: str) -> PeerClient:
    client = PeerClient([api.server.url], tls=None, token=lambda: token)
    api.clients.append(client)
    return client


async def refusal(work) -> str:
    with pytest.raises(HanseError) as caught:
        await work
    return caught.value.code


async def test_a_login_is_renewed_with_a_token_that_counts_once(api: Api) -> None:
    first = (await log_in(api.client())).json()
    body = {"refreshToken": first["refreshToken"]}
    second = (await api.client().post("/api/v1/login/renew", body)).json()
    assert second["session"] == first["session"]
    assert second["sessionExpiresAt"] == first["sessionExpiresAt"]
    assert second["refreshToken"] != first["refreshToken"]
    for each in (first, second):
        identity = (await bearing(api, each["accessToken"]).get("/api/v1/whoami")).json()
        assert (identity["session"], identity["emergency"]) == (first["session"], False)

    # The answer was lost, and is asked for again; what was given first is then in wrong hands.
    third = (await api.client().post("/api/v1/login/renew", body)).json()
    stolen = {"refreshToken": second["refreshToken"]}
    assert await refusal(api.client().post("/api/v1/login/renew", stolen)) == "token_reused"
    body = {"refreshToken": third["refreshToken"]}
    assert await refusal(api.client().post("/api/v1/login/renew", body)) == "token_revoked"
    for each in (first, second, third):
        client = bearing(api, each["accessToken"])
        assert await refusal(client.get("/api/v1/whoami")) == "token_revoked"
    actions = [(r.action, r.outcome) for _, r in await api.store.audit_records()]
    assert ("end session", "token_reused") in actions


@pytest.mark.parametrize(
    "text", ["x", "hanse_rt_", f"hanse_rt_{'0' * 32}_{'0' * 32}_{'0' * 64}", "\u0660" * 139]
)
async def test_what_is_no_refresh_token_renews_nothing(api: Api, text: str) -> None:
    code = await refusal(api.client().post("/api/v1/login/renew", {"refreshToken": text}))
    assert code in ("invalid_token", "token_revoked")


async def test_a_forged_refresh_token_ends_nobodys_login(api: Api) -> None:
    """A session's id is no secret: whoever knows it must not be able to log others out."""
    given = (await log_in(api.client())).json()
    body = {"refreshToken": f"hanse_rt_{given['session']}_{'0' * 32}_{'0' * 64}"}
    assert await refusal(api.client().post("/api/v1/login/renew", body)) == "invalid_token"
    body = {"refreshToken": given["refreshToken"]}
    await api.client().post("/api/v1/login/renew", body)


async def test_after_logging_out_no_token_of_the_login_counts(api: Api) -> None:
    given, other = [(await log_in(api.client())).json() for _ in range(2)]
    client = bearing(api, given["accessToken"])
    found = (await client.get("/api/v1/sessions")).json()["items"]
    assert {each["id"] for each in found} == {given["session"], other["session"]}
    assert [each["id"] for each in found if each["current"]] == [given["session"]]
    assert (await client.post("/api/v1/logout", {})).json() == {"sessions": 1, "tokens": 0}
    assert await refusal(client.get("/api/v1/whoami")) == "token_revoked"
    body = {"refreshToken": given["refreshToken"]}
    assert await refusal(api.client().post("/api/v1/login/renew", body)) == "token_revoked"
    await bearing(api, other["accessToken"]).get("/api/v1/whoami")


async def test_one_token_is_revoked_and_its_login_goes_on(api: Api) -> None:
    given = (await log_in(api.client())).json()
    client = bearing(api, given["accessToken"])
    credential = (await client.get("/api/v1/whoami")).json()["credential"]
    nobody = api.client("viewer")
    assert await refusal(nobody.post(f"/api/v1/tokens/{credential}/revoke", {})) == "not_found"
    await client.post(f"/api/v1/tokens/{credential}/revoke", {})
    assert await refusal(client.get("/api/v1/whoami")) == "token_revoked"
    body = {"refreshToken": given["refreshToken"]}
    again = (await api.client().post("/api/v1/login/renew", body)).json()
    await bearing(api, again["accessToken"]).get("/api/v1/whoami")


async def test_all_that_a_user_has_is_revoked_by_who_may(api: Api) -> None:
    given = [(await log_in(api.client())).json() for _ in range(3)]
    viewer, boss = api.client("viewer", subject="user:lee"), api.client("admin")
    assert await refusal(viewer.post("/api/v1/users/admin/revoke", {})) == "forbidden"
    assert await refusal(viewer.get("/api/v1/sessions", params={"user": "admin"})) == "forbidden"
    assert (await viewer.get("/api/v1/sessions")).json()["items"] == []
    session = given[0]["session"]
    assert await refusal(viewer.post(f"/api/v1/sessions/{session}/revoke", {})) == "not_found"
    ended = await boss.post("/api/v1/users/admin/revoke", {"reason": "left the company"})
    assert ended.json() == {"sessions": 3, "tokens": 0}
    for each in given:
        client = bearing(api, each["accessToken"])
        assert await refusal(client.get("/api/v1/whoami")) == "token_revoked"
    reasons = [r.reason for _, r in await api.store.audit_records() if r.action == "revoke logins"]
    assert reasons == ["user:admin: left the company"]


async def robot(api: Api, **metadata: str) -> PeerClient:
    boss = api.client("admin")
    document = {
        "apiVersion": "hanse/v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "ci", **metadata},
        "spec": {},
    }
    await boss.put("/api/v1/serviceaccounts/ci", document, params=metadata)
    given = await boss.post(
        "/api/v1/serviceaccounts/ci/tokens", {"lifetime": "30d"}, params=metadata
    )
    return bearing(api, given.json()["token"])


async def test_a_service_account_has_a_token_that_is_shown_once(api: Api) -> None:
    client = await robot(api)
    who = (await client.get("/api/v1/whoami")).json()
    assert (who["kind"], who["identity"]) == ("serviceAccount", "serviceaccount:common/ci")
    assert who["session"] is None
    boss = api.client("admin")
    (kept,) = (await boss.get("/api/v1/serviceaccounts/ci/tokens")).json()["items"]
    assert kept["id"] == who["credential"]
    assert "token" not in kept
    async with api.store.snapshot() as snapshot:
        records = await snapshot.records("programtokens")
    assert list(records) == [who["credential"]]
    assert client._token() not in str(records)
    assert client._token().rsplit("_", 1)[1] not in str(records)


@pytest.mark.parametrize("how", ["disabled", "deleted", "made anew", "revoked", "all revoked"])
async def test_a_service_accounts_token_ends_at_once(api: Api, how: str) -> None:
    client, boss = await robot(api), api.client("admin")
    who = (await client.get("/api/v1/whoami")).json()
    if how == "disabled":
        await boss.request(
            "PATCH",
            "/api/v1/serviceaccounts/ci",
            body={"spec": {"disabled": True}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
    elif how in ("deleted", "made anew"):
        await boss.request("DELETE", "/api/v1/serviceaccounts/ci")
        if how == "made anew":
            await robot(api)
    elif how == "revoked":
        await boss.post(f"/api/v1/tokens/{who['credential']}/revoke", {})
    else:
        await boss.post("/api/v1/serviceaccounts/ci/revoke", {})
    assert await refusal(client.get("/api/v1/whoami")) == "token_revoked"


async def test_nobody_gets_by_a_service_account_what_he_does_not_hold(api: Api) -> None:
    boss = api.client("admin")
    await robot(api, tenant="common")
    binding = {
        "apiVersion": "hanse/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "ci"},
        "spec": {
            "role": "global-admin",
            "subjects": [{"kind": "ServiceAccount", "name": "common/ci"}],
        },
    }
    await boss.put("/api/v1/rolebindings/ci", binding)
    smaller = api.client("tenant-admin")
    code = await refusal(smaller.post("/api/v1/serviceaccounts/ci/tokens", {}))
    assert code == "exceeds_own_rights"
    await boss.post("/api/v1/serviceaccounts/ci/tokens", {})


async def test_a_token_that_would_live_too_long_is_refused(api: Api) -> None:
    await robot(api)
    boss = api.client("admin")
    for lifetime in ("367d", "99999999999999999999999d"):
        body = {"lifetime": lifetime}
        code = await refusal(boss.post("/api/v1/serviceaccounts/ci/tokens", body))
        assert code in ("too_long", "invalid")


async def test_keys_are_changed_without_a_wrong_refusal_or_at_once(api: Api) -> None:
    given = (await log_in(api.client())).json()
    client, boss = bearing(api, given["accessToken"]), api.client("admin")
    assert await refusal(api.client("viewer").post("/api/v1/tokenkeys/rotate", {})) == "forbidden"
    (before,) = (await boss.get("/api/v1/tokenkeys")).json()["items"]
    keys = (await boss.post("/api/v1/tokenkeys/rotate", {})).json()["items"]
    assert len(keys) == 2
    assert before["id"] in {each["id"] for each in keys}
    await client.get("/api/v1/whoami")

    await boss.post("/api/v1/tokenkeys/rotate", {"atOnce": True, "reason": "stolen"})
    assert await refusal(client.get("/api/v1/whoami")) in ("invalid_token", "token_revoked")
    body = {"refreshToken": given["refreshToken"]}
    again = (await api.client().post("/api/v1/login/renew", body)).json()
    await bearing(api, again["accessToken"]).get("/api/v1/whoami")
