"""Following changes over HTTP: order, views, compaction, slow readers, and the end."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.errors import (
    Forbidden,
    Invalid,
    Malformed,
    NotFound,
    RevisionCompacted,
    TooLarge,
    Unreachable,
)
from shared.http.ndjson import line, stream_lines
from shared.http.peer import PeerLimits
from shared.http.routes import AUTHENTICATED, Routes
from shared.ids import Key, Revision
from shared.metrics.names import HTTP_SLOW_STREAMS, HTTP_STREAMS
from tests.integration.api.harness import Api, network, running_api


async def commits(lines, count: int) -> list[dict[str, Any]]:
    """Return the next commits, bookmarks left out."""
    found: list[dict[str, Any]] = []
    async for each in lines:
        if each["type"] == "commit":
            found.append(each)
            if len(found) == count:
                return found
    raise AssertionError("the stream ended")


async def test_a_watch_tells_each_commit_whole_and_in_order(api: Api) -> None:
    client = api.client("admin")
    await client.put("/api/v1/networks/a", network("a"))
    operations = [{"operation": "put", "object": network(name)} for name in "bcd"]
    async with client.stream("GET", "/api/v1/watch", params={"after": "0"}) as lines:
        await client.post("/api/v1/transactions", {"operations": operations})
        await client.request("DELETE", "/api/v1/networks/a")
        heard = await commits(lines, 3)

    assert [each["revision"] for each in heard] == [1, 2, 3]
    names = [
        [(c["operation"], c["object"]["metadata"]["name"]) for c in each["changes"]]
        for each in heard
    ]
    assert names[0] == [("put", "a")]
    assert sorted(names[1]) == [("put", "b"), ("put", "c"), ("put", "d")]
    assert names[2] == [("delete", "a")]


async def test_a_watch_without_a_position_begins_now(api: Api) -> None:
    client = api.client("admin")
    await client.put("/api/v1/networks/a", network("a"))
    async with client.stream("GET", "/api/v1/watch") as lines:
        assert (await anext(lines))["type"] == "bookmark"
        await client.put("/api/v1/networks/b", network("b"))
        heard = await commits(lines, 1)
    assert heard[0]["revision"] == 2


async def test_a_watch_resumes_without_loss_or_repetition(api: Api) -> None:
    client = api.client("admin")
    after, heard = 0, []
    for turn in range(3):
        await client.put(f"/api/v1/networks/n{turn}", network(f"n{turn}"))
        params = {"after": str(after)}
        async with client.stream("GET", "/api/v1/watch", params=params) as lines:
            (commit,) = await commits(lines, 1)
        after = commit["revision"]
        heard.append(commit["changes"][0]["object"]["metadata"]["name"])
    assert heard == ["n0", "n1", "n2"]


async def test_an_object_that_leaves_the_selected_labels_is_deselected(api: Api) -> None:
    client = api.client("admin")
    for labels in ({"env": "prod"}, {"env": "test"}, {"env": "prod"}):
        await client.put("/api/v1/networks/a", network("a", labels=labels))
    params = {"after": "0", "labelSelector": "env=prod", "kinds": "networks"}
    async with client.stream("GET", "/api/v1/watch", params=params) as lines:
        heard = await commits(lines, 3)
    changes = [each["changes"][0] for each in heard]
    assert [(c["operation"], c.get("reason")) for c in changes] == [
        ("put", None),
        ("delete", "deselected"),
        ("put", None),
    ]


async def test_only_the_kinds_asked_for_are_told(api: Api) -> None:
    client = api.client("admin")
    region = {"apiVersion": "hanse/v1", "kind": "Region", "metadata": {"name": "r"}, "spec": {}}
    await client.put("/api/v1/regions/r", region)
    await client.put("/api/v1/networks/a", network("a"))
    params = {"after": "0", "kinds": "Network,sites"}
    async with client.stream("GET", "/api/v1/watch", params=params) as lines:
        heard = await commits(lines, 1)
    assert heard[0]["revision"] == 2


async def test_a_compacted_or_future_position_is_answered_and_not_streamed(api: Api) -> None:
    client = api.client("admin")
    for turn in range(3):
        await client.put(f"/api/v1/networks/n{turn}", network(f"n{turn}"))
    await api.store.compact(Revision(3))

    with pytest.raises(RevisionCompacted) as caught:
        async with client.stream("GET", "/api/v1/watch", params={"after": "1"}):
            pass
    assert caught.value.oldest == 3
    with pytest.raises(Invalid):
        async with client.stream("GET", "/api/v1/watch", params={"after": "99"}):
            pass


async def test_kinds_that_one_may_not_read_cannot_be_watched(api: Api) -> None:
    viewer = api.client("viewer")
    for kinds, error in (("credentials", Forbidden), ("nonsense", NotFound)):
        with pytest.raises(error):
            async with viewer.stream("GET", "/api/v1/watch", params={"kinds": kinds}):
                pass


async def test_status_is_watched_apart(api: Api) -> None:
    client = api.client("admin")
    await client.put("/api/v1/networks/a", network("a"))
    key = Key("Network", "common", "federation", "a")
    async with client.stream("GET", "/api/v1/watch", params={"status": "true"}) as lines:
        await api.store.put_status({key: {"ready": True}})
        heard = await anext(lines)
        while heard["type"] == "bookmark":
            heard = await anext(lines)

    assert heard["type"] == "status"
    assert heard["object"]["metadata"]["name"] == "a"
    assert heard["object"]["status"] == {"ready": True}
    assert (await client.get("/api/v1/networks/a")).json()["status"] == {"ready": True}


async def test_an_expired_token_ends_a_stream(tmp_path: Path) -> None:
    # The leeway of 60 s counts, so the token's own life must already be over.
    async with running_api(tmp_path) as api:
        client = api.client("admin", lifetime=timedelta(seconds=-58))
        async with client.stream("GET", "/api/v1/watch", params={"after": "0"}) as lines:
            heard = [each async for each in lines]
    assert heard[-1]["type"] == "error"
    assert (heard[-1]["status"], heard[-1]["code"]) == (401, "token_expired")


async def test_streams_end_when_the_server_stops(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        client = api.client("admin")
        entered = client.stream("GET", "/api/v1/watch", params={"after": "0"})
        lines = await entered.__aenter__()
        await anext(lines)
        started = asyncio.get_running_loop().time()
    took = asyncio.get_running_loop().time() - started
    # The client is closed with the server; the point is that nobody waited for the stream.
    assert took < 2.0
    await entered.__aexit__(None, None, None)


async def test_a_slow_reader_is_cut_off_and_costs_little(tmp_path: Path) -> None:
    written = 0

    async def flood():
        nonlocal written
        while True:
            written += 1
            yield line({"type": "filler", "text": "x" * 60_000})

    routes = Routes("/flood")
    ended = asyncio.Event()

    @routes.get("", permission=AUTHENTICATED)
    async def handler(request):
        try:
            return await stream_lines(request, flood(), patience=0.3)
        finally:
            ended.set()

    async with running_api(tmp_path, routes=[routes]) as api:
        host, port = api.server.host, api.server.port
        reader, writer = await asyncio.open_connection(host, port, limit=1024)
        request = (
            f"GET /flood HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token('admin')}\r\n\r\n"
        )
        writer.write(request.encode())
        await reader.readline()
        async with asyncio.timeout(10):
            await ended.wait()
        exposition = api.metrics.exposition().decode()
        writer.close()

    assert f"{HTTP_SLOW_STREAMS.name} 1.0" in exposition
    assert f"{HTTP_STREAMS.name} 0.0" in exposition
    # Kernel buffers of both ends and aiohttp's: some MiB at most, however long it would go on.
    assert written * 60_000 < 32 * 1024 * 1024


@pytest.mark.parametrize(
    ("chunks", "error", "code"),
    [
        ([b'{"a": 1}\n', b"x" * 3000], TooLarge, "too_large"),
        ([b'{"a": 1}\n', b'{"half'], Unreachable, "unreachable"),
        ([b'{"a": 1}\n', b"no json\n"], Malformed, "malformed"),
    ],
)
async def test_a_client_refuses_lines_that_are_too_long_cut_or_broken(
    tmp_path: Path, chunks, error, code
) -> None:
    routes = Routes("/raw")

    async def pieces():
        for chunk in chunks:
            yield chunk

    @routes.get("", permission=AUTHENTICATED)
    async def handler(request):
        return await stream_lines(request, pieces())

    async with running_api(tmp_path, routes=[routes]) as api:
        client = api.client("admin", limits=PeerLimits(line=2000))
        async with client.stream("GET", "/raw") as lines:
            assert await anext(lines) == {"a": 1}
            with pytest.raises(error) as caught:
                await anext(lines)
    assert caught.value.code == code


async def test_a_silent_stream_is_given_up(tmp_path: Path) -> None:
    routes = Routes("/silent")

    async def nothing():
        await asyncio.Event().wait()
        yield b""

    @routes.get("", permission=AUTHENTICATED)
    async def handler(request):
        return await stream_lines(request, nothing())

    async with running_api(tmp_path, routes=[routes]) as api:
        client = api.client("admin", limits=PeerLimits(silence=0.2))
        async with client.stream("GET", "/silent") as lines:
            with pytest.raises(Unreachable, match="took too long"):
                await anext(lines)
