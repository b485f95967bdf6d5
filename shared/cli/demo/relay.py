"""A wire that can be cut: passes bytes between two TCP ends, and understands none of them.

TLS runs through it from end to end.  It also carries a node's connection out of a network
namespace that has no other way to its site.
"""

import asyncio
import contextlib
import socket
from typing import Final

from shared.cli.demo.namespaces import socket_in

_CHUNK: Final = 65536
HOST: Final = "127.0.0.1"


class Relay:
    """Listens on loopback, in a namespace of its own if given, and passes on to a local port."""

    def __init__(self, target: int, *, namespace: str | None = None, port: int = 0) -> None:
        self._target = target
        self._namespace = namespace
        self._wanted = port
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = port

    async def start(self) -> None:
        sock = socket_in(self._namespace, socket.AF_INET)
        sock.bind((HOST, self._wanted))
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=sock)

    def cut(self) -> None:
        """Break what is open and pass nothing on until mended."""
        self._is_cut = True
        for writer in tuple(self._writers):
            writer.transport.abort()

    def mend(self) -> None:
        self._is_cut = False

    async def close(self) -> None:
        """Break what is open, and return when nothing of it is left."""
        self.cut()
        if self._server:
            self._server.close()
        while self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio serves each connection in a task"
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self._writers.add(writer)
        try:
            if self._is_cut:
                return
            upper, lower = await asyncio.open_connection(HOST, self._target)
            self._writers.add(lower)
            try:
                # Cut while it was being connected: it must not live on unseen.
                if not self._is_cut:
                    await asyncio.gather(self._pass(reader, lower), self._pass(upper, writer))
            finally:
                self._writers.discard(lower)
                lower.close()
        except OSError:
            # The other end isn't there: to whoever connected it looks the same.
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
