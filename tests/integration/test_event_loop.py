"""Regression: a connection that is reset while it begins leaves no socket to close another's."""

import asyncio
import select
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Final

import pytest

from shared.tasks.event_loop import new_event_loop

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER, see socket(7): close() sends a reset."""
CONTEXT: Final = ssl.create_default_context()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def reset_connection(listening: socket.socket) -> socket.socket:
    """Return a connected socket whose other end has reset the connection, as the kernel knows."""
    sock = socket.create_connection(listening.getsockname())
    other, _ = listening.accept()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    other.close()
    poll = select.poll()
    poll.register(sock, 0)
    assert poll.poll(10_000)[0][1] & select.POLLHUP
    sock.setblocking(False)
    return sock


@pytest.mark.parametrize("tls", [True, False])
def test_a_reset_connection_leaves_no_socket_that_names_a_descriptor(
    listening: socket.socket, *, tls: bool
) -> None:
    async def connect(sock: socket.socket) -> None:
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol,
            sock=sock,
            ssl=CONTEXT if tls else None,
            server_hostname="localhost" if tls else None,
        )
        transport.close()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        for _ in range(20):
            sock = reset_connection(listening)
            try:
                runner.run(connect(sock))
            except OSError:
                assert tls
            runner.run(asyncio.sleep(0))  # a turn in which it ends
            assert sock.fileno() == -1


def test_nobody_loses_his_connection_to_those_that_were_reset(listening: socket.socket) -> None:
    async def connect() -> int:
        loop = asyncio.get_running_loop()
        refused = 0
        for _ in range(50):
            bystander = socket.socketpair()
            sock = reset_connection(listening)
            try:
                await loop.create_connection(
                    asyncio.Protocol,
                    sock=sock,
                    ssl=CONTEXT,
                    server_hostname="localhost",
                )
            except OSError:
                refused += 1
            others = socket.socketpair()  # of which one gets the number that has become free
            del sock
            for pair in (bystander, others):
                pair[0].send(b"x")
                assert pair[1].recv(1) == b"x"
                pair[0].close()
                pair[1].close()
        return refused

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(connect()) == 50
