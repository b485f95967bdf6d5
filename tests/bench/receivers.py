"""Many watchers in one thread: raw sockets under epoll, the cheapest receiver that Python can be.

It runs in the measuring process, beside whatever puts; the server is another process.  Bytes are
stamped on arrival and only searched while the clock runs.  It imports nothing but the standard
library, for the peers' environment runs it too.
"""

import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_READ: Final = 65536


class Receivers:
    """W connections that each sent one request whose answer never ends.

    An event is complete with the end of its chunk; `event` is in each event once.
    """

    def __init__(
        self,
        port: int,
        request: bytes,
        *,
        count: int,
        ready: bytes,
        event: bytes,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`ready` is in what each answer begins with."""
        self._event = event
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._counts: dict[int, int] = {}
        self._rest: dict[int, bytes] = {}
        self._missing = 0
        self._wanted = 0
        self._times: list[float] = []
        self._done = threading.Event()
        self._stop = threading.Event()
        self._ended = 0
        for _ in range(count):
            self._connect(port, request, tls)
        for number, sock in self._sockets.items():
            _await(sock, ready)
            sock.setblocking(False)
            self._counts[number] = 0
            self._poll.register(number, select.EPOLLIN)
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def expect(self) -> None:
        """Each is to get one more event from now on."""
        self._times = []
        self._done.clear()
        self._wanted += 1
        self._missing = len(self._sockets)

    def wait(self, seconds: float = 30.0) -> Sequence[float]:
        """Return when each one's event was complete (time.perf_counter), once all have it.

        RuntimeError if one got none, or two.
        """
        arrived = self._done.wait(seconds)
        wrong = sum(count != self._wanted for count in self._counts.values())
        if not arrived or wrong or self._ended:
            raise RuntimeError(
                f"{wrong} of {len(self._counts)} watchers have another number of events than "
                f"{self._wanted}; {self._ended} were cut off"
            )
        return self._times

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        for sock in self._sockets.values():
            sock.close()
        self._poll.close()

    def _connect(self, port: int, request: bytes, tls: ssl.SSLContext | None) -> None:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname="localhost")
        sock.sendall(request)
        self._sockets[sock.fileno()] = sock

    def _loop(self) -> None:
        while not self._stop.is_set():
            for number, _ in self._poll.poll(0.2):
                self._receive(number)

    def _receive(self, number: int) -> None:
        try:
            data = self._sockets[number].recv(_READ)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        now = time.perf_counter()
        if not data:
            self._poll.unregister(number)
            self._ended += 1
            return
        if number in self._rest:
            data = self._rest.pop(number) + data
        if not data.endswith(b"\r\n"):
            self._rest[number] = data
            return
        found = data.count(self._event)
        if found:
            self._counts[number] += found
            self._times.extend([now] * found)
            self._missing -= found
            if self._missing <= 0:
                self._done.set()


def _await(sock: socket.socket, ready: bytes) -> None:
    data = b""
    while ready not in data:
        more = sock.recv(_READ)
        if not more:
            raise RuntimeError(f"the server ended a watch: {data[:300]!r}")
        data += more


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
