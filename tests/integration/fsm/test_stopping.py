"""What becomes of those who are on their way in when an FSM stops."""

import asyncio
import socket

import pytest

from shared.pki.tls import visitor_context
from tests.integration.fsm.harness import FSM


async def ask(connected: socket.socket, fsm: FSM) -> bytes:
    """Make the handshake on a connection, send a request, return the answer's first line."""
    reader, writer = await asyncio.open_connection(
        sock=connected, ssl=visitor_context(fsm.roots), server_hostname="localhost"
    )
    try:
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return await reader.readuntil(b"\r\n")
    finally:
        writer.transport.abort()


async def test_a_handshake_under_way_leads_to_no_server_that_has_stopped(stopped: FSM) -> None:
    early = socket.socket()
    early.setblocking(False)
    async with stopped.serving():
        port = stopped.settings.listen.port
        await asyncio.get_running_loop().sock_connect(early, ("127.0.0.1", port))
        # Whoever comes later has been answered: the first is accepted by then.
        await stopped.visitor().get("/livez")
    with pytest.raises((OSError, EOFError)):
        await ask(early, stopped)
