"""Slowloris, smuggling, thousands of idle connections: header and body deadlines, per-address cap.

Real sockets against a real server, whose deadlines are short so that nobody waits for them.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shared.http.connections import ConnectionLimits
from tests.integration.api.harness import Api, running_api

SHORT = ConnectionLimits(header=0.5, body=0.5, body_rate=1024, lingering=0.3, keepalive=0.5)
PUT = "PUT /api/v1/networks/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
OTHER = "127.0.0.2"
"""Another address of this host's: somebody who does no harm."""


@asynccontextmanager
async def connected(api: Api, address: str = "127.0.0.1") -> AsyncIterator[tuple]:
    reader, writer = await asyncio.open_connection(
        api.server.host, api.server.port, local_addr=(address, 0)
    )
    try:
        yield reader, writer
    finally:
        writer.close()


async def to_the_end(reader: asyncio.StreamReader) -> bytes:
    """Return all that comes; pytest-timeout ends a test whose connection stays open."""
    found = b""
    try:
        while data := await reader.read(65536):
            found += data
    except ConnectionError:
        pass
    return found


async def trickle(writer: asyncio.StreamWriter, pieces: Iterable[bytes]) -> None:
    """Send a piece each 50 ms until the other end has had enough."""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
    except ConnectionError:
        pass


async def is_served(api: Api) -> bool:
    async with connected(api, OTHER) as (reader, writer):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b" 200 " in (await to_the_end(reader)).partition(b"\r\n")[0]


def answers(data: bytes) -> list[int]:
    """Return the status of each answer in what came over a connection."""
    return [int(each) for each in re.findall(rb"HTTP/1\.[01] (\d{3}) ", data)]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path, limits=SHORT) as found:
        yield found


@pytest.mark.parametrize(
    "first",
    [b"GET /", b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"GET /livez HTTP/1.1\r\nHost: x\r\nA: "],
)
async def test_slowloris_by_header(api: Api, first: bytes) -> None:
    """A byte now and then doesn't prolong a header's time."""
    async with connected(api) as (reader, writer), asyncio.TaskGroup() as group:
        group.create_task(trickle(writer, [first, *[b"A"] * 10_000]))
        assert await to_the_end(reader) == b""
        assert await is_served(api)
        writer.transport.abort()


@pytest.mark.parametrize(
    "framing", ["Content-Length: 100000\r\n", "Transfer-Encoding: chunked\r\n"]
)
@pytest.mark.parametrize("known", [True, False])
async def test_slowloris_by_body_a_byte_at_a_time(api: Api, framing: str, known: bool) -> None:
    """Whoever is known is told so; of somebody unknown nothing is read at all."""
    token = f"Authorization: Bearer {api.token('admin')}\r\n" if known else ""
    piece = b"1\r\n \r\n" if "chunked" in framing else b" "
    async with connected(api) as (reader, writer), asyncio.TaskGroup() as group:
        head = f"{PUT}{token}{framing}\r\n".encode()
        group.create_task(trickle(writer, [head, *[piece] * 10_000]))
        data = await to_the_end(reader)
        writer.transport.abort()
    assert answers(data) == [400 if known else 401]
    assert (b"slow_body" in data) == known


async def test_a_body_at_the_least_rate_is_read_to_its_end(api: Api) -> None:
    document = (
        b'{"apiVersion": "hanse/v1", "kind": "Network", "metadata": {"name": "x"}, "spec": {}'
    )
    body = document + b" " * 8000 + b"}"
    head = (
        f"{PUT}Authorization: Bearer {api.token('admin')}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    async with connected(api) as (reader, writer):
        pieces = [body[place : place + 400] for place in range(0, len(body), 400)]
        await trickle(writer, [head.encode(), *pieces])
        assert answers(await to_the_end(reader)) == [201]


async def test_an_idle_connection_ends(api: Api) -> None:
    async with connected(api) as (reader, writer):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answers(await to_the_end(reader)) == [200]


async def test_thousands_of_idle_connections(tmp_path: Path) -> None:
    """One address gets so many; others are served meanwhile, and all that is idle ends."""
    limits = ConnectionLimits(header=2.0, per_address=100)
    async with running_api(tmp_path, limits=limits) as api:
        held = []
        for _ in range(20):
            opening = [asyncio.open_connection("127.0.0.1", api.server.port) for _ in range(100)]
            held += await asyncio.gather(*opening)
        assert await is_served(api)
        ends = await asyncio.gather(*(to_the_end(reader) for reader, _ in held))
        assert set(ends) == {b""}
        for _, writer in held:
            writer.close()
        assert await is_served(api)
        refused = dict(
            re.findall(
                r'hanse_http_refused_connections_total{limit="(\w+)"} (\d+)',
                api.metrics.exposition().decode(),
            )
        )
        # Each either came when its address had too many, or said nothing for too long.
        assert int(refused["per_address"]) + int(refused["header"]) == 2000
        assert int(refused["per_address"]) > 1000


async def test_thousands_of_pipelined_requests(api: Api) -> None:
    """They are answered one after another, as their sender reads; nobody else waits for them."""
    count = 3000
    async with connected(api) as (reader, writer):
        request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        async with asyncio.TaskGroup() as group:
            group.create_task(send(writer, request * count))
            assert await is_served(api)
            data = await to_the_end(reader)
    assert answers(data) == [200] * count


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


SMUGGLED = b"GET /livez HTTP/1.1\r\nHost: smuggled\r\n\r\n"
LENGTH = f"Content-Length: {len(SMUGGLED)}\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param(f"{LENGTH}Transfer-Encoding: chunked\r\n", id="CL.TE"),
        pytest.param(f"Transfer-Encoding: chunked\r\n{LENGTH}", id="TE.CL"),
        pytest.param("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", id="TE.TE"),
        pytest.param("Transfer-Encoding: xchunked\r\n", id="another coding"),
        pytest.param("Transfer-Encoding : chunked\r\n", id="blank before the colon"),
        pytest.param(f"{LENGTH}Content-Length: 0\r\n", id="two lengths"),
        pytest.param("Content-Length: 0, 40\r\n", id="a list of lengths"),
        pytest.param("Content-Length: +0\r\n", id="signed length"),
        pytest.param("Content-Length: 0x0\r\n", id="hexadecimal length"),
        pytest.param("Content-Length: 0_0\r\n", id="length with underscore"),
        pytest.param("Content-Length: -1\r\n", id="negative length"),
        pytest.param(" Content-Length: 0\r\n", id="folded header"),
        pytest.param("X: y\nContent-Length: 0\r\n", id="bare line feed"),
        pytest.param("X: y\rContent-Length: 0\r\n", id="bare carriage return"),
        pytest.param("Content-Length\x00: 0\r\n", id="zero in a name"),
    ],
)
async def test_smuggling(api: Api, framing: str) -> None:
    """What two readers could take for different lengths is refused, and nothing after it is read.

    Refused by its framing alone, before anybody is asked who he is; what follows is no request.
    """
    async with connected(api) as (reader, writer):
        head = f"{PUT}Authorization: Bearer {api.token('admin')}\r\n{framing}\r\n"
        writer.write(head.encode("latin-1") + b"0\r\n\r\n" + SMUGGLED)
        data = await to_the_end(reader)
    assert answers(data) == [400], data
    assert b"smuggled" not in data


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b"0x1\r\n{\r\n0\r\n\r\n", id="hexadecimal prefix"),
        pytest.param(b"+1\r\n{\r\n0\r\n\r\n", id="signed size"),
        pytest.param(b"1 \r\n{\r\n0\r\n\r\n", id="blank behind a size"),
        pytest.param(b"1\n{\n0\n\n", id="bare line feeds"),
        pytest.param(b"ffffffffffffffffffff\r\n{\r\n0\r\n\r\n", id="huge size"),
        pytest.param(b"1\r\n{}}}\r\n0\r\n\r\n", id="more than the size says"),
    ],
)
async def test_smuggling_in_chunks(api: Api, chunks: bytes) -> None:
    async with connected(api) as (reader, writer):
        token = f"Authorization: Bearer {api.token('admin')}\r\n"
        head = f"{PUT}{token}Transfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode() + chunks + SMUGGLED)
        data = await to_the_end(reader)
    assert answers(data) == [400], data
