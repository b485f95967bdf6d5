"""An answer whose header stands ready says what any other answer would."""

import asyncio
from contextlib import suppress

from tests.integration.api.harness import Api, network

PATH = "/api/v1/networks/web"


async def ask(api: Api, token: str, *more: str, version: str = "1.1") -> tuple[str, dict, bytes]:
    """Return a GET's status line, headers and body, as they came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
    lines = (f"GET {PATH} HTTP/{version}", "Host: x", f"Authorization: Bearer {token}", *more)
    writer.write("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:-2])
    body = await reader.readexactly(int(headers["Content-Length"]))
    writer.close()
    # The server may be the first to end it.
    with suppress(ConnectionError):
        await writer.wait_closed()
    return head[0], headers, body


async def test_a_ready_answer_differs_from_another_in_nothing(api: Api) -> None:
    await api.client("admin").put(PATH, network("web", "10.0.0.0/24"))
    token = api.token("viewer")
    given = ("X-Request-Id: mine-1", f"traceparent: 00-{'a' * 32}-{'b' * 16}-01")
    ready = await ask(api, token, *given)
    slow = await ask(api, token, *given, "Connection: close")
    old = await ask(api, token, *given, version="1.0")
    assert slow[1].pop("Connection") == "close"
    for line, headers, body in (slow, old):
        assert line.endswith(" 200 OK")
        assert body == ready[2]
        assert set(headers) == set(ready[1])
        for name in set(headers) - {"Date", "traceparent"}:
            assert headers[name] == ready[1][name]
    assert ready[0] == "HTTP/1.1 200 OK"
    assert ready[1]["X-Request-Id"] == "mine-1"
    assert ready[1]["traceparent"].startswith(f"00-{'a' * 32}-")
    assert ready[1]["traceparent"].endswith("-01")
    assert f"-{'b' * 16}-" not in ready[1]["traceparent"]


async def test_requests_one_after_another_on_a_connection_are_answered_each(api: Api) -> None:
    client = api.client("admin")
    for number in range(5):
        written = await client.put(PATH, network("web", f"10.0.{number}.0/24"))
        read = await client.get(PATH)
        assert read.json() == written.json()
        assert read.headers["ETag"] == written.headers["ETag"]
        listed = await client.get("/api/v1/networks?limit=10")
        assert listed.json()["items"] == [read.json()]
