"""Directories as no real one is on demand: silent, babbling, busy, or with Active Directory's words.

Just enough of BER (X.690) to answer each request with one result.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

# RFC 4511, section 4.2 onwards: the tags of requests and of the answers to them.
BIND, UNBIND, SEARCH, EXTENDED = 0x60, 0x42, 0x63, 0x77
_ANSWERS = {BIND: 0x61, SEARCH: 0x65, EXTENDED: 0x78}

Result = tuple[int, str]
"""A result's code and its diagnostic message."""


def _sized(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets + content


def answer(message_id: bytes, request: int, result: Result) -> bytes:
    """Return the LDAPMessage that ends an operation."""
    code, message = result
    content = _sized(0x0A, bytes((code,))) + _sized(0x04, b"") + _sized(0x04, message.encode())
    return _sized(0x30, _sized(0x02, message_id) + _sized(_ANSWERS[request], content))


async def _read_request(reader: asyncio.StreamReader) -> tuple[bytes, int, bytes]:
    """Return a request's message id, its tag and all of it."""
    head = await reader.readexactly(2)
    size = head[1]
    if size & 0x80:
        size = int.from_bytes(await reader.readexactly(size & 0x7F))
    body = await reader.readexactly(size)
    length = body[1]
    return body[2 : 2 + length], body[2 + length], body


class ScriptedDirectory:
    """Answers each kind of request with its result, or says nothing to it."""

    def __init__(self, results: Mapping[int, Result | bytes | None]) -> None:
        self.results = results
        self.port = 0
        self.connections = 0
        self.requests: list[int] = []
        self.received = b""

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not self.results and await reader.read(1024):
                pass  # it says nothing to anything, TLS included
            while True:
                message_id, tag, body = await _read_request(reader)
                self.requests.append(tag)
                self.received += body
                if tag == UNBIND:
                    break
                result = self.results.get(tag)
                if isinstance(result, bytes):
                    writer.write(result)
                elif result is not None:
                    writer.write(answer(message_id, tag, result))
        except (asyncio.IncompleteReadError, OSError):
            pass  # the other end has had enough
        finally:
            writer.close()


@asynccontextmanager
async def scripted(
    results: Mapping[int, Result | bytes | None],
) -> AsyncIterator[ScriptedDirectory]:
    """Run such a directory on loopback, without TLS."""
    directory = ScriptedDirectory(results)
    server = await asyncio.start_server(directory.serve, "127.0.0.1", 0)
    directory.port = server.sockets[0].getsockname()[1]
    async with server:
        yield directory
