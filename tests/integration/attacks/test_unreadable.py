"""Attack: requests that can't be read at all: a problem document like any other, echoing nothing."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.api.harness import Api, running_api

MARK = b"sesame-open"
"""What an answer must not repeat."""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(MARK + b"\r\n\r\n", id="no request line"),
        pytest.param(b"GET /" + MARK + b" HTTP/9.9x\r\n\r\n", id="no such version"),
        pytest.param(b"G@T /" + MARK + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="no method"),
        pytest.param(b"\x16\x03\x01\x02\x00" + MARK + b"\r\n\r\n", id="TLS to plain text"),
        pytest.param(b"GET /" + MARK * 2000 + b" HTTP/1.1\r\n\r\n", id="long request line"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + MARK * 2000 + b"\r\n\r\n", id="long header"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n" + MARK + b"\r\n\r\n", id="header unnamed"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: " + MARK + b"\r\n\r\n", id="no length"
        ),
        pytest.param(
            b"PUT /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + MARK
            + b"\r\n",
            id="bad chunk",
        ),
    ],
)
async def test_what_cannot_be_read_is_answered_as_everything_else(
    api: Api, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
        writer.write(sent)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    document = json.loads(body)
    assert status.split(" ")[1] == "400"
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Server"] == "hanse"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert (document["status"], document["code"]) == (400, "malformed")
    assert document["requestId"] == headers["X-Request-Id"] != ""
    assert MARK not in head + body
    assert "Traceback" not in caplog.text
