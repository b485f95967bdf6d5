"""Letting connections in, over real sockets of the loopback."""

import asyncio
import gc
import socket

import pytest

from shared.http.accepting import Acceptor


@pytest.mark.parametrize("rounds", range(8))
async def test_regression_who_comes_just_as_the_server_stops_is_closed(rounds: int) -> None:
    """A connection whose turn had come, but not its task's first step, was left to the collector."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        acceptor = Acceptor(listening, asyncio.Protocol, tls=None, patience=5.0)
        running = asyncio.create_task(acceptor.run())
        await asyncio.sleep(0)
        with socket.create_connection(listening.getsockname()):
            for _ in range(rounds):
                await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            # Who was let in stays, with a transport of the loop's; here nobody reads from it.
            gc.collect()
