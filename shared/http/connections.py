"""What one connection may cost: aiohttp's protocol behind one that counts and keeps time.

aiohttp bounds a header's size, not the time that it takes, and lets one address hold every
connection there is.  This protocol closes a connection whose header isn't complete in time, and
refuses an address that has too many.  The middleware tells it when a request begins and ends, so
that it needn't parse anything.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import web

from shared.auth.limiter import origin_of
from shared.metrics.names import HTTP_CONNECTIONS, HTTP_REFUSED_CONNECTIONS, Metrics
from shared.pki.peer import has_certificate


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds and counts.

    A body may take `body` seconds, and after that must average `body_rate` bytes a second: enough
    for a bad mobile link, too fast for a client that only wants to hold the connection.  What
    comes of a body that nobody wants to read is thrown away for `lingering` seconds.  `stalled`
    is how long the other end may leave an answer unread.
    `per_address` (of IPv6: for each /64, all of which one host may have) is generous, since a
    site's people may come from behind one address; a node and an SDSP need two each.
    """

    header: float = 10.0
    body: float = 10.0
    body_rate: float = 16 * 1024
    lingering: float = 5.0
    stalled: float = 30.0
    keepalive: float = 75.0
    per_address: int = 512
    total: int = 8192


WRITE_BUFFER: Final = 64 * 1024
"""Bytes that may wait in a connection before its writer has to."""

# Seconds: enough for a close that both ends agree on, little for whoever waits for the stop.
_FAREWELL: Final = 0.5


class Connections:
    """All open connections of one server."""

    def __init__(self, *, limits: ConnectionLimits, metrics: Metrics) -> None:
        self.limits = limits
        self._metrics = metrics
        self._by_address: Counter[str] = Counter()
        self._open: set[Connection] = set()
        self._closed = False
        self._gone = asyncio.Event()

    def close(self) -> None:
        """Let in nobody any more.

        A connection whose TLS handshake was under way when the listening ended would else come
        to a server that has stopped, and stay.
        """
        self._closed = True

    async def drain(self) -> None:
        """Wait a moment until everybody has gone, then cut off who hasn't.

        The other end of a TLS connection is to agree that it ends, and may never say so.
        """
        try:
            async with asyncio.timeout(_FAREWELL):
                while self._open:
                    self._gone.clear()
                    await self._gone.wait()
        except TimeoutError:
            for connection in tuple(self._open):
                connection.abort()
            # A transport that is cut off closes its socket in the loop's next round.
            await asyncio.sleep(0)

    def enter(self, connection: "Connection", address: str) -> str | None:
        """Count a new connection; return the limit that it breaks, if any."""
        self._open.add(connection)
        self._by_address[address] += 1
        self._metrics.gauge(HTTP_CONNECTIONS).inc()
        if self._closed:
            return "stopping"
        if self._by_address[address] > self.limits.per_address:
            return "per_address"
        return "total" if self._by_address.total() > self.limits.total else None

    def leave(self, connection: "Connection", address: str) -> None:
        self._open.discard(connection)
        self._gone.set()
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        self._metrics.gauge(HTTP_CONNECTIONS).dec()

    def refused(self, limit: str) -> None:
        self._metrics.counter(HTTP_REFUSED_CONNECTIONS).labels(limit).inc()


class Connection(asyncio.Protocol):
    """Stands between the transport and aiohttp's protocol."""

    def __init__(self, inner: asyncio.Protocol, *, connections: Connections) -> None:
        self._inner = inner
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.origin: str | None = None
        """Where it comes from, as limits count it; None if it shows a certificate."""
        self._address: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._busy = False

    @property
    def limits(self) -> ConnectionLimits:
        return self._connections.limits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not of the class itself under uvloop, whose transports only behave like it.
        self._transport = cast("asyncio.Transport", transport)
        # TLS would else take half a megabyte for a peer that doesn't read.
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        peername = transport.get_extra_info("peername")
        address = str(peername[0]) if isinstance(peername, tuple) and peername else "local"
        self._address = origin_of(address)
        secure = transport.get_extra_info("ssl_object")
        self.origin = None if secure is not None and has_certificate(secure) else self._address
        self._inner.connection_made(transport)
        broken = self._connections.enter(self, self._address)
        if broken:
            self._refuse(broken)
            return
        self._arm(self._connections.limits.header)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._cancel_stalled()
        if self._address is not None:
            self._connections.leave(self, self._address)
            self._address = None
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._busy and self._timer is None:
            self._arm(self._connections.limits.header)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        limit = self._connections.limits.stalled
        self._stalled = self._loop.call_later(limit, self._refuse, "stalled")
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._cancel_stalled()
        self._inner.resume_writing()

    def begin(self) -> None:
        """A request's header is complete."""
        self._busy = True
        self._disarm()

    def end(self) -> None:
        """It has been answered; the connection may wait for another."""
        self._busy = False

    def _arm(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._refuse, "header")

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def abort(self) -> None:
        """Cut it off, without a word to the other end."""
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self, limit: str) -> None:
        self._connections.refused(limit)
        self.abort()


class _NoConnection:
    """Of a request that came through another server, such as aiohttp's own in a test."""

    origin: str | None = "local"
    limits = ConnectionLimits()

    def begin(self) -> None: ...

    def end(self) -> None: ...


_NONE: Final = _NoConnection()


def connection_of(request: web.Request) -> Connection | _NoConnection:
    transport = request.transport
    protocol = transport.get_protocol() if transport is not None else None
    return protocol if isinstance(protocol, Connection) else _NONE
