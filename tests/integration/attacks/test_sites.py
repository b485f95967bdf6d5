"""A site that has gone bad, or a person who would make one: what it may not do to the others."""

from typing import Any

import pytest

from shared.errors import Gone, Invalid, Unauthenticated
from shared.http.peer import PeerClient
from shared.pki.csr import create_csr
from shared.pki.keys import generate_key
from tests.integration.fsm.harness import FSM, Person, connect, join_site, sdsp_credentials

FEED = "/feed/v1"


OF_SFO: tuple[dict[str, Any], ...] = (
    {"serverNames": ["sdsp.sfo.example"]},
    {"serverNames": ["example"]},
    {"serverNames": ["node-1.sdsp.sfo.example"]},
    {"serverNames": ["10.1.2.3"]},
    {"serverNames": ["2001:db8:0:0::1"]},
    {"endpoint": "https://sdsp.sfo.example:9000"},
    {"endpoint": "https://[2001:db8::1]:9000"},
)


async def test_a_site_cannot_register_what_is_anothers_name(admin: Person) -> None:
    names = ["sdsp.sfo.example", "10.1.2.3", "2001:db8::1", "127.0.0.1", "localhost"]
    await admin.put("sites", "sfo", {"serverNames": names})
    for spec in OF_SFO:
        with pytest.raises(Invalid) as caught:
            await admin.put("sites", "fra", spec)
        assert {each.code for each in caught.value.fields} == {"name_taken"}
    await admin.put("sites", "fra", {"serverNames": ["sdsp.fra.example", "127.0.0.1"]})


async def test_two_sites_of_one_transaction_cannot_share_a_name(admin: Person) -> None:
    operations = [
        {
            "operation": "put",
            "object": {
                "apiVersion": "hanse/v1",
                "kind": "Site",
                "metadata": {"name": name},
                "spec": {"serverNames": ["same.example"]},
            },
        }
        for name in ("one", "two")
    ]
    with pytest.raises(Invalid) as caught:
        await admin.client.post("/api/v1/transactions", {"operations": operations})
    assert {each.code for each in caught.value.fields} == {"name_taken"}


async def test_regression_an_endpoint_that_is_none_is_refused_and_no_mistake_of_the_server(
    admin: Person,
) -> None:
    """What urllib refuses to read came out as a server's mistake (500)."""
    for endpoint in ("https://[x]:1", "https://[::1", "https://\u2100.x:1", "https://a:99999"):
        with pytest.raises(Invalid) as caught:
            await admin.put("sites", "sfo", {"endpoint": endpoint})
        assert {each.code for each in caught.value.fields} == {"invalid_endpoint"}, endpoint


async def test_a_name_can_move_from_one_site_to_another(admin: Person) -> None:
    await admin.put("sites", "sfo", {"serverNames": ["moves.example"]})
    await admin.put("sites", "sfo", {})
    await admin.put("sites", "fra", {"serverNames": ["moves.example"]})


async def test_regression_a_site_deleted_and_made_anew_keeps_no_old_certificate(
    fsm: FSM, admin: Person
) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    unused = await admin.token("fra")
    for name in ("sfo", "fra"):
        await admin.delete("sites", name)
        await admin.put("sites", name, {})
    for client in (site.client, connect(fsm, sdsp_credentials(site.authority))):
        with pytest.raises(Unauthenticated) as caught:
            await client.get(f"{FEED}/snapshot")
        assert caught.value.code == "certificate_revoked", "at once, not some seconds later"
    with pytest.raises(Unauthenticated) as caught:
        await join_site(fsm, unused)
    assert caught.value.code == "join_token_refused", (
        "a token is for the Site that it was asked for"
    )
    again = await join_site(fsm, await admin.token("sfo"))
    await again.client.get(f"{FEED}/snapshot")


async def test_a_deleted_site_is_out_for_good(stopped: FSM) -> None:
    async with stopped.serving():
        admin = stopped.admin()
        await admin.put("sites", "fra", {})
        site = await join_site(stopped, await admin.token("fra"))
        await site.client.get(f"{FEED}/snapshot")
        await admin.delete("sites", "fra")
        with pytest.raises(Unauthenticated):
            await site.client.get(f"{FEED}/snapshot")
        with pytest.raises(Unauthenticated):
            await site.client.post("/enroll/v1/renew", {"csr": create_csr(generate_key())})
    stopped.clients.clear()
    async with stopped.serving():
        await stopped.admin().put("sites", "fra", {})
        with pytest.raises(Unauthenticated) as caught:
            await connect(stopped, site.credentials).get(f"{FEED}/snapshot")
        assert caught.value.code == "certificate_revoked"


async def position(client: PeerClient) -> dict[str, Any]:
    return dict((await client.get(f"{FEED}/snapshot")).json()["position"])


async def test_a_site_cannot_acknowledge_what_is_not_there_yet(fsm: FSM, admin: Person) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    at = await position(site.client)
    await site.client.post(f"{FEED}/acknowledgements", {"position": at, "outcome": "ack"})
    ahead = at | {"revision": at["revision"] + 1_000_000}
    with pytest.raises(Gone) as caught:
        await site.client.post(f"{FEED}/acknowledgements", {"position": ahead, "outcome": "ack"})
    assert caught.value.code == "history_diverged"
    status = await admin.status(site="sfo")
    assert status["sites"][0]["revision"] == at["revision"]
