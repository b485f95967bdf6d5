"""What a client may send, and how slowly: bodies, headers and connections."""

import asyncio
import gzip
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from shared.http.body import read_json
from shared.http.connections import ConnectionLimits
from shared.http.response import json_response
from shared.http.routes import AUTHENTICATED, Routes
from tests.integration.api.harness import Api, network, running_api

PATH = "/api/v1/networks/web"
MIB = 1024 * 1024


@asynccontextmanager
async def raw(api: Api) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {api.token('admin')}"}
    async with aiohttp.ClientSession(api.server.url, headers=headers) as session:
        yield session


async def answer(response: aiohttp.ClientResponse) -> tuple[int, str]:
    document = await response.json(content_type="application/problem+json")
    assert document["requestId"] == response.headers["X-Request-Id"]
    return response.status, document["code"]


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "malformed")),
        (b"{", (400, "malformed")),
        (b"\xff\xfe", (400, "malformed")),
        (b'{"a": 1, "a": 2}', (400, "malformed")),
        (b'{"a": {"b": 1, "b": 1}}', (400, "malformed")),
        (b'{"a": NaN}', (400, "malformed")),
        (b'{"a": 1e999}', (400, "malformed")),
        (b'{"a": "\\ud800"}', (400, "malformed")),
        (b'{"a": "\\u0000"}', (400, "malformed")),
        (b'{"\\u0000": "a"}', (400, "malformed")),
        (b'{"a": 99999999999999999999999}', (400, "malformed")),
        (b"9" * 5000, (400, "malformed")),
        (b"{} {}", (400, "malformed")),
        (deep(33), (400, "too_deep")),
        (deep(100_000), (400, "too_deep")),
        (b'{"a":' * 50_000, (400, "too_deep")),
        (b" " * (MIB + 1), (413, "too_large")),
        (b"a: &a [*a]", (400, "malformed")),
    ],
)
async def test_a_bad_body_is_refused_quickly(api: Api, body: bytes, expected) -> None:
    async with raw(api) as session:
        await session.get("/livez")
        started = time.perf_counter()
        headers = {"Content-Type": "application/json"}
        async with session.put(PATH, data=io.BytesIO(body), headers=headers) as response:
            assert await answer(response) == expected
        # 100 ms is the promise; the machine's other work is allowed for.
        assert time.perf_counter() - started < 1.0


async def test_a_transaction_may_have_8_mib_and_no_more(api: Api) -> None:
    def of(size: int) -> bytes:
        document = network("web") | {"metadata": {"name": "web", "annotations": {"a": "x" * size}}}
        return json.dumps({"operations": [{"operation": "put", "object": document}]}).encode()

    headers = {"Content-Type": "application/json"}
    async with raw(api) as session:
        data = of(8 * MIB)
        async with session.post(
            "/api/v1/transactions", data=io.BytesIO(data), headers=headers
        ) as response:
            assert await answer(response) == (413, "too_large")
        data = of(7 * MIB)
        async with session.post(
            "/api/v1/transactions", data=io.BytesIO(data), headers=headers
        ) as response:
            assert response.status == 200
        async with session.put(PATH, data=io.BytesIO(of(2 * MIB)), headers=headers) as response:
            assert await answer(response) == (413, "too_large")


async def test_a_body_that_does_not_say_its_length_is_bounded_too(api: Api) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += MIB
            yield b" " * MIB

    headers = {"Content-Type": "application/json"}
    async with raw(api) as session:
        try:
            async with session.put(PATH, data=endless(), headers=headers) as response:
                assert await answer(response) == (413, "too_large")
        except aiohttp.ClientError:
            pass  # the connection was closed while we still sent
    assert sent < 64 * MIB


async def test_compressed_bodies_are_refused_unopened(api: Api) -> None:
    bomb = gzip.compress(b" " * (16 * MIB))
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with raw(api) as session, session.put(PATH, data=bomb, headers=headers) as response:
        assert await answer(response) == (400, "compressed_body")


async def test_other_media_types_are_refused(api: Api) -> None:
    headers = {"Content-Type": "application/yaml"}
    async with raw(api) as session, session.put(PATH, data=b"{}", headers=headers) as response:
        assert await answer(response) == (400, "unsupported_media_type")


async def closed_within(reader: asyncio.StreamReader, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await reader.read()
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


async def until(holds: Callable[[], bool]) -> None:
    """Return when something holds that another task brings about; fail after ten seconds."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the server gives no event for it
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("first", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-"])
async def test_a_header_that_never_ends_is_cut_off(tmp_path: Path, first: bytes) -> None:
    async with running_api(tmp_path, limits=ConnectionLimits(header=0.2)) as api:
        reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
        writer.write(first)
        assert await closed_within(reader, 5)
        writer.close()
        assert 'limit="header"' in api.metrics.exposition().decode()


async def test_a_second_header_that_trickles_is_cut_off(tmp_path: Path) -> None:
    async with running_api(tmp_path, limits=ConnectionLimits(header=0.2)) as api:
        reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"}}")
        writer.write(b"GET /livez HTTP/1.1\r\nX-")
        assert await closed_within(reader, 5)
        writer.close()


async def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    limits = ConnectionLimits(keepalive=0.2)
    async with running_api(tmp_path, limits=limits) as api:
        reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"}}")
        assert await closed_within(reader, 5)
        writer.close()


async def test_one_address_cannot_hold_every_connection(tmp_path: Path) -> None:
    limits = ConnectionLimits(per_address=3)
    async with running_api(tmp_path, limits=limits) as api:
        held = [await asyncio.open_connection(api.server.host, api.server.port) for _ in range(3)]
        reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
        assert await closed_within(reader, 5)
        for _, each in (*held, (reader, writer)):
            each.close()
        await until(lambda: "hanse_http_connections 0.0" in api.metrics.exposition().decode())
        reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in await reader.read()
        writer.close()


async def test_whoever_does_not_read_his_answer_is_cut_off(tmp_path: Path) -> None:
    routes = Routes("/large")

    @routes.get("", permission=AUTHENTICATED)
    async def large(request):
        return json_response("x" * 32 * MIB)

    limits = ConnectionLimits(stalled=0.3)
    async with running_api(tmp_path, routes=[routes], limits=limits) as api:
        _, writer = await asyncio.open_connection(api.server.host, api.server.port, limit=1024)
        writer.write(
            f"GET /large HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token('admin')}\r\n\r\n".encode()
        )
        await until(lambda: 'limit="stalled"' in api.metrics.exposition().decode())
        writer.close()


async def test_a_body_that_trickles_is_given_up(tmp_path: Path) -> None:
    routes = Routes("/body")

    @routes.post("", permission=AUTHENTICATED)
    async def body(request):
        return json_response(await read_json(request))

    limits = ConnectionLimits(body=0.3)
    async with running_api(tmp_path, routes=[routes], limits=limits) as api:
        reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
        writer.write(
            f"POST /body HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token('admin')}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n[".encode()
        )
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            text = await reader.readuntil(b"}")
        writer.close()
    assert b" 400 " in head
    assert b"slow_body" in text


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_broken_http_is_refused_without_a_traceback(
    api: Api, request_text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
    writer.write(request_text)
    writer.write_eof()
    async with asyncio.timeout(5):
        data = await reader.read()
    writer.close()
    assert b" 200 " not in data.partition(b"\r\n")[0]
    assert b"Traceback" not in data
    assert not [record for record in caplog.records if record.exc_info]


async def test_the_request_id_and_trace_go_out_as_they_came(api: Api) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"X-Request-Id": "abc-1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    async with raw(api) as session:
        async with session.get("/livez", headers=headers) as response:
            assert response.headers["X-Request-Id"] == "abc-1"
            assert response.headers["traceparent"].startswith(f"00-{trace}-")
            assert "00f067aa0ba902b7" not in response.headers["traceparent"]
        bad = {"X-Request-Id": "a b\tc", "traceparent": "00-0-0-0"}
        async with session.get("/livez", headers=bad) as response:
            assert len(response.headers["X-Request-Id"]) == 32
            assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_mistake_of_ours_tells_nothing_of_itself(tmp_path: Path) -> None:
    routes = Routes("/broken")

    @routes.get("", permission=AUTHENTICATED)
    async def broken(request):
        raise ZeroDivisionError("secret detail")

    async with (
        running_api(tmp_path, routes=[routes]) as api,
        raw(api) as session,
        session.get("/broken") as response,
    ):
        text = await response.text()
    assert response.status == 500
    assert "secret" not in text
    assert "Traceback" not in text
    assert json.loads(text)["code"] == "internal"


def test_a_peer_route_without_a_role_cannot_be_declared() -> None:
    from shared.http.routes import PEER
    from shared.pki.identity import Role

    routes = Routes()
    for described in ({"permission": PEER}, {"permission": AUTHENTICATED, "peer": Role.NODE}):
        with pytest.raises(ValueError, match="together"):
            routes.get("/x", **described)(lambda request: None)
