"""The cheapest client that Python can be: requests made beforehand, one connection, one at a time.

What a client does between an answer and its next request counts for both sides of a comparison;
a whole HTTP client would cost more than the server.
"""

import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import orjson

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


def encode_request(
    method: str, target: str, headers: Mapping[str, str], document: object = None
) -> bytes:
    """Return a request's bytes; `document` is sent as JSON."""
    body = b"" if document is None else orjson.dumps(document)
    given = {"Host": "localhost", **headers}
    if body:
        given |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {text}" for name, text in given.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class RawClient:
    """One kept-alive connection; use it in a with-block."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), 30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname="localhost") if context else plain

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, request: bytes) -> Answer:
        """Send a request and return its whole answer, which must have a Content-Length."""
        self._socket.sendall(request)
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._receive()
        found = LENGTH.search(data, 0, end + 2)
        if found is None:
            raise ValueError(f"no Content-Length: {data[:end]!r}")
        whole = end + 4 + int(found[1])
        while len(data) < whole:
            data += self._receive()
        return Answer(int(data[9:12]), data[end + 4 :])

    def _receive(self) -> bytes:
        piece = self._socket.recv(65536)
        if not piece:
            raise ConnectionError("the server closed the connection")
        return piece
