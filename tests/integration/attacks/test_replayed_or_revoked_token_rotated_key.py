"""Attack: replayed or revoked token, rotated key: out within seconds, open streams included."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.auth.passwords import Passwords
from shared.clock import SystemClock
from shared.errors import HanseError
from shared.http.peer import PeerClient
from shared.objects.accounts import create_account
from tests.integration.api.harness import Api, network, running_api

PASSWORD = "correct horse battery staple"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        passwords = Passwords()
        await create_account(
            running.store, "kim", PASSWORD, passwords=passwords, clock=SystemClock()
        )
        passwords.close()
        yield running


async def logged_in(api: Api) -> tuple[PeerClient, dict[str, Any]]:
    body = {"username": "kim", "password": PASSWORD}
    given = (await api.client().post("/api/v1/login", body)).json()
    client = PeerClient([api.server.url], tls=None, token=lambda: given["accessToken"])
    api.clients.append(client)
    return client, given


async def last_word(lines, api: Api) -> dict[str, Any]:
    """Return with what a stream ends; the next change is what makes it look again."""
    await api.client("admin").put("/api/v1/networks/later", network("later"))
    async for each in lines:
        if each["type"] == "error":
            return dict(each)
        names = [c["object"]["metadata"]["name"] for c in each.get("changes", ())]
        assert "later" not in names, "it was told after the end"
    raise AssertionError("it ended without a word")


async def test_replayed_refresh_token(api: Api) -> None:
    """The thief uses it first: the owner's own use ends the login, and so the thief's too."""
    _, given = await logged_in(api)
    stolen = {"refreshToken": given["refreshToken"]}
    thief = (await api.client().post("/api/v1/login/renew", stolen)).json()
    body = {"refreshToken": thief["refreshToken"]}
    thief = (await api.client().post("/api/v1/login/renew", body)).json()
    with pytest.raises(HanseError) as caught:
        await api.client().post("/api/v1/login/renew", stolen)
    assert caught.value.code == "token_reused"
    body = {"refreshToken": thief["refreshToken"]}
    with pytest.raises(HanseError) as caught:
        await api.client().post("/api/v1/login/renew", body)
    assert caught.value.code == "token_revoked"


@pytest.mark.parametrize("how", ["session", "user", "token", "key"])
async def test_revoked_token_ends_open_streams(api: Api, how: str) -> None:
    client, given = await logged_in(api)
    boss = api.client("admin")
    who = (await client.get("/api/v1/whoami")).json()
    path = {
        "session": f"/api/v1/sessions/{given['session']}/revoke",
        "user": "/api/v1/users/kim/revoke",
        "token": f"/api/v1/tokens/{who['credential']}/revoke",
        "key": "/api/v1/tokenkeys/rotate",
    }[how]
    async with client.stream("GET", "/api/v1/watch") as lines:
        await boss.post(path, {"atOnce": True} if how == "key" else {})
        word = await last_word(lines, api)
    assert word["code"] in ("token_revoked", "view_changed")
    with pytest.raises(HanseError) as caught:
        await client.get("/api/v1/whoami")
    assert caught.value.code in ("token_revoked", "invalid_token")


async def test_changed_role_ends_open_streams(api: Api) -> None:
    """Whoever comes again and lists is told what he may see now."""
    client, _ = await logged_in(api)
    spec = {"role": "viewer", "subjects": [{"kind": "User", "name": "kim"}]}
    document = {
        "apiVersion": "hanse/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "more"},
        "spec": spec,
    }
    async with client.stream("GET", "/api/v1/watch") as lines:
        await api.client("admin").put("/api/v1/rolebindings/more", document)
        word = await last_word(lines, api)
    assert (word["status"], word["code"]) == (410, "view_changed")
    await client.get("/api/v1/whoami")
    async with client.stream("GET", "/api/v1/watch", params={"after": "0"}) as lines:
        async for each in lines:
            if each["type"] == "commit":
                break


async def test_rotated_key_refuses_nobody(api: Api) -> None:
    clients = [(await logged_in(api))[0]]
    boss = api.client("admin")
    for _ in range(3):
        await boss.post("/api/v1/tokenkeys/rotate", {})
        clients.append((await logged_in(api))[0])
        for each in clients:
            await each.get("/api/v1/whoami")
    assert len((await boss.get("/api/v1/tokenkeys")).json()["items"]) == 4
