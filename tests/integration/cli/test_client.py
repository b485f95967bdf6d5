"""The client that programs import, against an FSM."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from shared.cli.answers import Commit, Delete, Put
from shared.cli.client import Client
from shared.errors import (
    Forbidden,
    HanseError,
    Invalid,
    NotFound,
    RevisionConflict,
    Unauthenticated,
    Unreachable,
)
from shared.model.network import Network
from tests.integration.cli.background import PASSWORD, Place, fsm_running, prepare_fsm


def network(name: str, *subnets: str, **labels: str) -> dict[str, object]:
    return {
        "apiVersion": "hanse/v1",
        "kind": "Network",
        "metadata": {"name": name, "labels": labels},
        "spec": {"subnets": list(subnets)} if subnets else {},
    }


@pytest.fixture
async def client(fsm: Place) -> AsyncIterator[Client]:
    async with fsm.client() as opened:
        await opened.login("admin", PASSWORD)
        yield opened


async def test_whoever_has_not_logged_in_is_refused_with_the_requests_id(fsm: Place) -> None:
    async with fsm.client() as client:
        with pytest.raises(Unauthenticated) as refused:
            await client.whoami()
        (note,) = refused.value.__notes__
        assert note.startswith("request id: ")
        with pytest.raises(Unauthenticated):
            await client.login("admin", "not the password")
        login = await client.login("admin", PASSWORD)
        assert login.token.text not in repr(login)
        assert login.refresh not in repr(login)
        assert (await client.whoami()).identity == "user:admin"


async def test_an_object_is_written_read_changed_and_deleted(client: Client) -> None:
    written = await client.put(network("Client", "10.0.0.0/24", env="prod"), if_match=0)
    found = await client.get("networks", "Client")
    assert found == written
    assert (found.kind, found.tenant, found.scope) == ("Network", "common", "federation")
    assert (found.labels, found.generation) == ({"env": "prod"}, 1)
    spec = found.envelope().spec
    assert isinstance(spec, Network)
    assert [str(each) for each in spec.subnets] == ["10.0.0.0/24"]

    with pytest.raises(RevisionConflict):
        await client.put(network("Client"), if_match=0)
    patched = await client.patch(
        "Network", "Client", {"spec": {"subnets": ["10.0.1.0/24"]}}, if_match=found.revision
    )
    assert patched.spec == {"subnets": ["10.0.1.0/24"]}
    with pytest.raises(RevisionConflict):
        await client.patch("Network", "Client", {"spec": {}}, if_match=found.revision)
    with pytest.raises(RevisionConflict):
        await client.delete("Network", "Client", if_match=found.revision)

    gone = await client.delete("Network", "Client", dry_run=True)
    assert gone == patched == await client.get("Network", "Client")
    await client.delete("Network", "Client", if_match=patched.revision)
    with pytest.raises(NotFound):
        await client.get("Network", "Client")
    assert [
        (each.operation, each.object.spec) async for each in client.history("Network", "Client")
    ] == [
        ("delete", {"subnets": ["10.0.1.0/24"]}),
        ("put", {"subnets": ["10.0.1.0/24"]}),
        ("put", {"subnets": ["10.0.0.0/24"]}),
    ]


async def test_lists_and_histories_are_followed_page_by_page(client: Client) -> None:
    await client.transaction([Put(network(f"Page{n:02}", set="pages")) for n in range(25)])
    names = [each.name async for each in client.list("Network", labels="set=pages", page=4)]
    assert names == [f"Page{n:02}" for n in range(25)]
    for number in range(5):
        await client.put(network("Page00", f"10.0.{number}.0/24", set="pages"))
    changes = [each async for each in client.history("Network", "Page00", limit=3)]
    assert [each.object.spec["subnets"] for each in changes] == [
        [f"10.0.{number}.0/24"] for number in (4, 3, 2)
    ]
    entries = [each async for each in client.audit(kind="Network", name="Page00")]
    writes = [each for each in entries if each.revision is not None]
    assert len(writes) == 6
    assert {each.identity for each in entries} == {"user:admin"}


async def test_a_transaction_is_all_or_nothing(client: Client) -> None:
    await client.put(network("TxA"))
    operations = [Delete("Network", "TxA"), Put(network("TxB")), Put(network("x y"))]
    with pytest.raises(Invalid) as refused:
        await client.transaction(operations)
    assert [each.path for each in refused.value.fields] == ["operations[2].object.metadata.name"]
    assert (await client.get("Network", "TxA")).name == "TxA"
    applied = await client.transaction(operations[:2], reason="tidy up")
    assert [(each.operation, each.created) for each in applied.results] == [
        ("delete", False),
        ("put", True),
    ]
    (entry,) = [each async for each in client.audit(kind="Network", name="TxB")]
    assert (entry.revision, entry.reason) == (applied.revision, "tidy up")


@pytest.mark.parametrize("name", ["..", "a/b", "a?b", "", "a b", "%2e%2e"])
async def test_a_name_never_becomes_another_address(client: Client, name: str) -> None:
    with pytest.raises(Invalid, match="is no name"):
        await client.get("Network", name)
    with pytest.raises(Invalid, match="is no name"):
        await client.status(name)


async def test_a_server_that_is_not_there_is_unreachable(fsm: Place) -> None:
    async with Client("https://127.0.0.1:1", ca=fsm.ca, token="x") as client:
        with pytest.raises(Unreachable):
            await client.whoami()
        with pytest.raises(Unreachable):
            async with aclosing(client.watch()) as commits:
                await anext(commits)


async def test_an_sdsp_must_be_expected_or_called_by_its_own_host(site: Place) -> None:
    async with site.client() as client:
        with pytest.raises(Unreachable) as refused:
            await client.login("admin", PASSWORD)
        assert refused.value.code == "wrong_host"
    async with site.client(identity="spiffe://fra.hanse.example/sdsp") as client:
        with pytest.raises(Unreachable) as refused:
            await client.login("admin", PASSWORD)
        assert refused.value.code == "wrong_identity"
    async with site.client(identity="spiffe://sfo.hanse.example/sdsp") as client:
        await client.login("admin", PASSWORD)


async def test_a_watch_yields_commits_whole_and_in_order(client: Client) -> None:
    start = (await client.put(network("Watch0"))).revision
    await client.transaction([Put(network("Watch1")), Put(network("Watch2"))])
    await client.delete("Network", "Watch0")
    async with aclosing(client.watch(["network"], after=start)) as commits:
        both, deleted = await anext(commits), await anext(commits)
    assert [(each.operation, each.object.name) for each in both] == [
        ("put", "Watch1"),
        ("put", "Watch2"),
    ]
    assert [(each.operation, each.object.name) for each in deleted] == [("delete", "Watch0")]
    assert start < both.revision < deleted.revision


async def test_a_watch_that_cant_be_resumed_says_so(client: Client) -> None:
    async with aclosing(client.watch(after=10**9)) as commits:
        with pytest.raises(HanseError):
            await anext(commits)
    with pytest.raises(Invalid, match="no kind"):
        async with aclosing(client.watch(["nothing"])) as commits:
            await anext(commits)


async def test_a_watch_outlives_its_server_and_misses_nothing(tmp_path: Path) -> None:
    place = await asyncio.to_thread(prepare_fsm, tmp_path)
    first, second = fsm_running(place), fsm_running(place)
    lost: list[HanseError] = []
    await asyncio.to_thread(first.__enter__)
    async with place.client() as client, place.client() as watcher:
        await client.login("admin", PASSWORD)
        watcher.token = client.token
        revision = (await client.put(network("Before"))).revision
        seen: asyncio.Queue[Commit] = asyncio.Queue()

        async def follow() -> None:
            # A server that starts writes what is its own.
            commits = watcher.watch(["Network"], after=revision, on_lost=lost.append)
            async with aclosing(commits):
                async for commit in commits:
                    await seen.put(commit)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow())
            await client.put(network("One"))
            assert [each.object.name for each in await seen.get()] == ["One"]
            await asyncio.to_thread(first.__exit__, None, None, None)
            await asyncio.to_thread(second.__enter__)
            await client.put(network("Two"))
            await client.put(network("Three"))
            assert [each.object.name for each in await seen.get()] == ["Two"]
            assert [each.object.name for each in await seen.get()] == ["Three"]
            task.cancel()
    assert lost
    assert seen.empty()
    await asyncio.to_thread(second.__exit__, None, None, None)


async def test_the_same_write_sent_twice_counts_once(client: Client) -> None:
    """As the client does when the connection broke before the answer came."""
    connection = client._connection
    request = {
        "body": {"operations": [Put(network("Once")).to_json()]},
        "request_id": "once-and-only-once",
    }
    first = await connection.call("POST", "/api/v1/transactions", **request)
    again = await connection.call("POST", "/api/v1/transactions", **request)
    assert again.headers["X-Replayed"] == "true"
    assert first.json()["revision"] == again.json()["revision"]
    assert len([each async for each in client.history("Network", "Once")]) == 1


async def test_what_one_may_not_is_forbidden(fsm: Place, client: Client) -> None:
    with pytest.raises(Forbidden):
        await client.put(
            {
                "apiVersion": "hanse/v1",
                "kind": "Subscription",
                "metadata": {"name": "sfo"},
                "spec": {},
            }
        )
