"""Who is out is out at once where it was asked for, also while a stream of his is open."""

import pytest

from shared.errors import HanseError
from shared.http.peer import PeerClient
from tests.integration.api.harness import Api, network

_ACCOUNT = "/api/v1/serviceaccounts/ci"


async def test_regression_a_disabled_account_with_an_open_stream_was_let_in_for_seconds(
    api: Api,
) -> None:
    """The stream's own look took in that nothing is granted, and the next call asked no more."""
    boss = api.client("admin")
    head = {"apiVersion": "hanse/v1", "metadata": {"name": "ci"}}
    await boss.put(_ACCOUNT, {**head, "kind": "ServiceAccount", "spec": {}})
    spec = {"role": "viewer", "subjects": [{"kind": "ServiceAccount", "name": "ci"}]}
    await boss.put("/api/v1/rolebindings/ci", {**head, "kind": "RoleBinding", "spec": spec})
    token = (await boss.post(f"{_ACCOUNT}/tokens", {})).json()["token"]
    client = PeerClient([api.server.url], tls=None, token=lambda: token)
    api.clients.append(client)
    async with client.stream("GET", "/api/v1/watch") as lines:
        await anext(aiter(lines))
        await boss.put(_ACCOUNT, {**head, "kind": "ServiceAccount", "spec": {"disabled": True}})
        # The next change is what makes the stream look.
        await boss.put("/api/v1/networks/later", network("later"))
        last = [each async for each in lines][-1]
    assert last["code"] in ("view_changed", "token_revoked")
    with pytest.raises(HanseError) as caught:
        await client.get("/api/v1/whoami")
    assert caught.value.code == "token_revoked"
