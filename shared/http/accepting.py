"""Letting connections in at the pace at which their TLS handshakes can be done.

A handshake costs milliseconds of CPU.  When a thousand clients come at once and all handshakes
begin at once, each of them takes as long as all together; beyond the clients' patience every one
fails, and they come again.  So only a few are under way at a time: those that were let in finish,
and the others wait in the kernel's queue, in order.  One that dawdles makes room for the next
after a moment, though it may take its time: nobody can hold the door.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final, NoReturn

from shared.clock import Clock, SystemClock
from shared.tasks.group import Group
from shared.turns import Turn, Turns

log = logging.getLogger(__name__)

AT_ONCE: Final = 64
"""Handshakes that are waited for at a time."""
MOMENT: Final = 0.25
"""Seconds after which one isn't waited for any more: it is the other end that takes long."""
PAUSE: Final = 0.5
"""Seconds until the next try when the system has no descriptor or memory for a connection."""


class Acceptor:
    """Accepts connections at a listening socket and gives each a protocol of its own."""

    def __init__(
        self,
        sock: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        patience: float,
        clock: Clock | None = None,
    ) -> None:
        """`patience` is how many seconds a handshake may take in all."""
        self._sock = sock
        self._protocol = protocol
        self._tls = tls
        self._patience = patience
        self._clock = clock or SystemClock()
        self._turns = Turns(AT_ONCE, MOMENT)
        self._unwelcomed: set[socket.socket] = set()

    async def run(self) -> NoReturn:
        """Let connections in until cancelled; those that are in stay."""
        loop = asyncio.get_running_loop()
        try:
            async with Group() as group:
                while True:
                    connection = await self._next(loop)
                    self._unwelcomed.add(connection)
                    turn = await self._turns.begin()
                    group.start(self._welcome(loop, connection, turn), name="handshake")
        finally:
            # Whose task was cancelled before its first step.
            for connection in self._unwelcomed:
                connection.close()
            self._unwelcomed.clear()

    async def _next(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        while True:
            try:
                # Whoever waits already comes in within this turn of the loop: turns may be long.
                connection, _ = self._sock.accept()
                connection.setblocking(False)
            except BlockingIOError:
                await self._readable(loop)
            except ConnectionError:
                continue  # it was gone before its turn came
            except OSError as exc:
                await self._pause(exc)
            else:
                return connection

    async def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until somebody connects.

        loop.sock_accept(), cancelled in the round in which somebody comes, would lose him.
        """
        somebody = asyncio.Event()
        loop.add_reader(self._sock, somebody.set)
        try:
            await somebody.wait()
        finally:
            loop.remove_reader(self._sock)

    async def _pause(self, exc: OSError) -> None:
        log.warning("can't let a connection in, will retry", extra={"reason": str(exc)})
        await self._clock.sleep(PAUSE)

    async def _welcome(
        self, loop: asyncio.AbstractEventLoop, connection: socket.socket, turn: Turn
    ) -> None:
        self._unwelcomed.discard(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._patience if self._tls else None,
            )
        except OSError as exc:
            # Not TLS, a certificate that isn't good, or it went away: its own loss.
            log.debug("a connection came to nothing", extra={"reason": str(exc)})
            connection.close()
        finally:
            turn.end()
