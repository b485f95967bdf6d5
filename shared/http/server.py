"""One TCP port for people, scripts and components: bearer token or client certificate.

aiohttp's defaults suit a server behind a proxy; this one faces the network.  The limits are in
shared.http.connections; here they are put together with the listening socket and its TLS.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from shared.errors import Invalid, Unavailable
from shared.http.accepting import Acceptor
from shared.http.connections import Connection, ConnectionLimits, Connections
from shared.http.keys import METRICS
from shared.http.unreadable import Protocol
from shared.pki.tls import limit_tls_buffers
from shared.tasks.group import Group

BACKLOG: Final = 1024
"""Connections that wait in the kernel's queue until they are let in."""

# How long requests in progress may take to end once the server stops.
GRACE: Final = 10.0

_LOOPBACK: Final = ("127.0.0.1", "::1")

log = logging.getLogger("hanse.http.wire")


class _Quiet(logging.Filter):
    """Makes one line without a traceback of each broken request: clients send what they like."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args = "request could not be read", ()
            record.exc_info = record.exc_text = None
        return True


log.addFilter(_Quiet())


class Server:
    """A running server; `port` is the real one if it was asked for any (0)."""

    def __init__(self, *, host: str, port: int, secure: bool) -> None:
        self.host = host
        self.port = port
        self.secure = secure

    @property
    def url(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{name}:{self.port}"


@asynccontextmanager
async def serving(
    app: web.Application,
    *,
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    limits: ConnectionLimits | None = None,
    grace: float = GRACE,
) -> AsyncIterator[Server]:
    """Serve `app` while the block runs, then stop: streams end at once, requests within `grace`.

    `tls` is None only for plain text on loopback; Invalid (`plain_text`) elsewhere.  Unavailable
    (`address_in_use`) if the address can't be listened at.
    """
    if tls is None and host not in _LOOPBACK:
        raise Invalid(f"plain text is served on loopback only, not at {host}", code="plain_text")
    limits = limits or ConnectionLimits()
    connections = Connections(limits=limits, metrics=app[METRICS])
    runner = web.AppRunner(app, shutdown_timeout=grace)
    limit_tls_buffers()
    async with AsyncExitStack() as stack:
        sock = stack.enter_context(closing(_listen(host, port)))
        stack.push_async_callback(connections.drain)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        inner = runner.server
        assert inner is not None, "setup() makes it"
        options: dict[str, Any] = {
            "loop": asyncio.get_running_loop(),
            "access_log": None,
            "keepalive_timeout": limits.keepalive,
            "lingering_time": limits.lingering,
            # Bodies are refused if compressed; never inflate one while refusing it.
            "auto_decompress": False,
            "logger": log,
        }
        acceptor = Acceptor(
            sock,
            lambda: Connection(Protocol(inner, **options), connections=connections),
            tls=tls,
            patience=limits.header,
        )
        sock.listen(BACKLOG)
        # Nobody new comes in while those who are here end.
        group = await stack.enter_async_context(Group())
        group.start(acceptor.run(), name="accept")
        stack.callback(connections.close)
        yield Server(host=host, port=sock.getsockname()[1], secure=tls is not None)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
    except OSError as exc:
        raise Unavailable(
            f"{host!r} is no address to listen at; give an IP address such as 0.0.0.0 or ::",
            code="invalid_address",
        ) from exc
    sock = socket.socket(family, kind, number)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
    except OSError as exc:
        sock.close()
        raise Unavailable(
            f"can't listen at {host} port {port}: {exc.strerror}", code="address_in_use"
        ) from exc
    sock.setblocking(False)
    return sock
