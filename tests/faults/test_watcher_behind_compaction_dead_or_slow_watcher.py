"""Watcher behind compaction; dead or slow watcher.

410 with the oldest revision; bounded buffer per watcher, then cut off.  Here: watchers of the API
over real sockets that share one broadcast.  Also: tests/contract/test_store_watch.py,
tests/integration/fsm/test_feed.py (a site behind compaction), tests/unit/fsm/feed/test_hub.py (a
site that doesn't read), tests/unit/shared/objects/test_broadcast.py.
"""

import asyncio
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import uvloop

from shared.errors import RevisionCompacted
from shared.http.connections import ConnectionLimits
from shared.ids import Key, Revision
from shared.metrics.names import HTTP_STREAMS
from shared.pki.tls import server_context, visitor_context
from shared.store.contract import Draft, Transaction
from shared.tasks.streams import LONG
from tests.fakes.federation import Federation
from tests.faults.buffers import Buffers
from tests.integration.api.harness import Api, running_api


async def open_watch(api: Api, after: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin a watch whose answer nobody need read: little of it fits into the kernel."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (api.server.host, api.server.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    head = f"Host: x\r\nAuthorization: Bearer {api.token('admin')}\r\n\r\n"
    writer.write(f"GET /api/v1/watch?after={after} HTTP/1.1\r\n{head}".encode())
    return reader, writer


async def put(api: Api, name: str, note: str = "") -> int:
    async def work(transaction: Transaction) -> None:
        await transaction.put(Draft(Key("Network", "common", "federation", name), {"note": note}))

    return (await api.store.transact(work)).position.revision


async def until_seated(api: Api, count: int) -> None:
    """Return when so many watchers are written to by the broadcast."""
    async with asyncio.timeout(30):
        number = 0
        while api.services.reader.broadcast.seated != count:
            number += 1
            await put(api, "knock", str(number))


def open_streams(api: Api) -> float:
    found = re.search(
        rf"^{HTTP_STREAMS.name} (\S+)$", api.metrics.exposition().decode(), re.MULTILINE
    )
    assert found
    return float(found[1])


async def commits_of(api: Api, after: int, until: int) -> list[dict[str, Any]]:
    heard: list[dict[str, Any]] = []
    params = {"after": str(after)}
    async with api.client("admin").stream("GET", "/api/v1/watch", params=params) as lines:
        async for each in lines:
            if each["type"] == "commit":
                heard.append(each)
            if each["revision"] >= until:
                return heard
    raise AssertionError("the watch ended")


async def test_a_watcher_behind_compaction_is_told_the_oldest_revision(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        for number in range(4):
            last = await put(api, "a", str(number))
        await api.store.compact(Revision(last))
        with pytest.raises(RevisionCompacted) as caught:
            await commits_of(api, 1, last)
        assert caught.value.oldest == last
        following = await put(api, "a", "later")
        [commit] = await commits_of(api, last, following)
        assert commit["revision"] == following


async def test_a_slow_watcher_costs_a_bounded_buffer_and_is_cut_off(tmp_path: Path) -> None:
    async with running_api(tmp_path, limits=ConnectionLimits(stalled=0.5)) as api:
        at = await put(api, "a")
        slow = [await open_watch(api, at) for _ in range(5)]
        await until_seated(api, 5)
        buffers = Buffers()
        most, last = 0, at
        async with asyncio.timeout(60):
            while api.services.reader.broadcast.seated or open_streams(api) > 0:
                last = await put(api, "big", f"{last}" + "x" * 60_000)
                most = max([most, *buffers.sizes()])
        # The high-water marks of the stream and of TLS beneath it, and a line on top of each.
        assert LONG < most < 4 * LONG
        for _, writer in slow:
            writer.close()
        # Whoever was cut off resumes by position and has missed nothing.
        heard = await commits_of(api, at, last)
        assert [each["revision"] for each in heard] == list(range(at + 1, last + 1))


async def test_a_slow_watcher_keeps_no_other_waiting(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        at = await put(api, "a")
        _, slow = await open_watch(api, at)
        await until_seated(api, 1)
        quick = asyncio.ensure_future(commits_of(api, at, at + 200))
        revision = at
        while revision < at + 200:
            revision = await put(api, "big", f"{revision}" + "x" * 40_000)
        heard = await asyncio.wait_for(quick, 30)
        assert [each["revision"] for each in heard] == list(range(at + 1, at + 201))
        slow.transport.abort()


async def test_a_dead_watcher_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        at = await put(api, "a")
        dead = [await open_watch(api, at) for _ in range(5)]
        await until_seated(api, 5)
        for _, writer in dead:
            writer.transport.abort()
        await until_seated(api, 0)
        async with asyncio.timeout(10):
            while open_streams(api) > 0:
                await put(api, "knock", str(asyncio.get_running_loop().time()))


async def test_one_long_change_costs_one_copy_for_all_who_do_not_read(tmp_path: Path) -> None:
    async with running_api(tmp_path, limits=ConnectionLimits(stalled=5.0)) as api:
        at = await put(api, "a")
        watchers = [await open_watch(api, at) for _ in range(20)]
        await until_seated(api, 20)

        async def work(transaction: Transaction) -> None:
            for number in range(100):
                key = Key("Network", "common", "federation", f"n{number}")
                await transaction.put(Draft(key, {"note": "y" * 60_000}))

        await api.store.transact(work)
        for _ in range(20):
            await put(api, "after", str(asyncio.get_running_loop().time()))
        assert max(Buffers().sizes()) < 4 * LONG, "6 MB for each would be 120"
        for _, writer in watchers:
            writer.transport.abort()


def test_a_dead_watcher_over_tls_leaves_nothing_behind_under_uvloop(tmp_path: Path) -> None:
    """Its transport of TLS takes writes, and isn't closing, long after the connection was lost."""

    async def run() -> None:
        federation = Federation()
        tls = server_context(federation.fsm())
        async with running_api(tmp_path, tls=tls) as api:
            at = await put(api, "a")
            head = f"Host: x\r\nAuthorization: Bearer {api.token('admin')}\r\n\r\n"
            writers = []
            for _ in range(3):
                reader, writer = await asyncio.open_connection(
                    api.server.host,
                    api.server.port,
                    ssl=visitor_context(federation.roots),
                    server_hostname="localhost",
                )
                writer.write(f"GET /api/v1/watch?after={at} HTTP/1.1\r\n{head}".encode())
                await reader.readuntil(b"bookmark")
                writers.append(writer)
            await until_seated(api, 3)
            for writer in writers:
                writer.transport.abort()
            await until_seated(api, 0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
