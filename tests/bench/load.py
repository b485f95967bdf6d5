"""A load generator: many kept-alive connections of one process, each with one request under way.

    python -m tests.bench.load FILE      # what to do, as JSON; prints what happened as JSON

wrk shows no client certificate and ab sends one request only; this sends requests made beforehand
in turn, with as little as Python can do between an answer and the next request, and reads every
answer whole: its status and its length.
"""

import json
import select
import socket
import ssl
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.raw_client import LENGTH

_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Load:
    """What to do: `requests` in turn over all connections, for `seconds`, after a warm-up."""

    port: int
    requests: list[str]
    connections: int
    seconds: float
    warm_up: float
    roots: str
    certificate: str


@dataclass(frozen=True, slots=True)
class Done:
    """What happened; `total` counts the warm-up's answers as well, `wrong` those not 200."""

    answers: int
    total: int
    wrong: int
    seconds: float
    p50_ms: float
    p99_ms: float


class _Connection:
    def __init__(self, load: Load, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", load.port), 30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        self.socket.setblocking(False)
        self.sent_at = 0.0
        self.data = b""
        self.whole = 0

    def receive(self) -> bool:
        """Read what is there; return whether an answer is complete."""
        while True:
            try:
                piece = self.socket.recv(65536)
            except ssl.SSLWantReadError:
                return False
            if not piece:
                raise ConnectionError("the server closed a connection")
            self.data = self.data + piece if self.data else piece
            if not self.whole:
                end = self.data.find(_END)
                if end < 0:
                    continue
                found = LENGTH.search(self.data, 0, end + 2)
                if found is None:
                    raise ValueError(f"no Content-Length: {self.data[:end]!r}")
                self.whole = end + 4 + int(found[1])
            if len(self.data) >= self.whole:
                return True


def generate(load: Load) -> Done:
    """Do it; ConnectionError if the server hangs up."""
    context = ssl.create_default_context(cafile=load.roots)
    context.load_cert_chain(load.certificate)
    requests = [each.encode() for each in load.requests]
    poll = select.epoll()
    connections: dict[int, _Connection] = {}
    for _ in range(load.connections):
        made = _Connection(load, context)
        connections[made.socket.fileno()] = made
        poll.register(made.socket.fileno(), select.EPOLLIN)
    number, wrong, total = 0, 0, 0
    latencies: list[float] = []
    for each in connections.values():
        each.sent_at = time.perf_counter()
        each.socket.send(requests[number % len(requests)])
        number += 1
    start = time.perf_counter() + load.warm_up
    end = start + load.seconds
    open_answers = len(connections)
    while open_answers:
        for descriptor, _ in poll.poll(10):
            each = connections[descriptor]
            if not each.receive():
                continue
            now = time.perf_counter()
            total += 1
            wrong += not each.data.startswith(b"HTTP/1.1 200 ")
            if start <= now < end:
                latencies.append(now - each.sent_at)
            each.data, each.whole = b"", 0
            if now >= end:
                open_answers -= 1
                continue
            each.sent_at = now
            each.socket.send(requests[number % len(requests)])
            number += 1
    for each in connections.values():
        each.socket.close()
    if not latencies:
        raise RuntimeError(f"no answer within {load.seconds} s")
    latencies.sort()
    return Done(
        answers=len(latencies),
        total=total,
        wrong=wrong,
        seconds=load.seconds,
        p50_ms=1e3 * latencies[len(latencies) // 2],
        p99_ms=1e3 * latencies[int(0.99 * len(latencies))],
    )


def main() -> None:
    given: dict[str, Any] = json.loads(Path(sys.argv[1]).read_bytes())
    sys.stdout.write(json.dumps(asdict(generate(Load(**given)))) + "\n")


if __name__ == "__main__":
    main()
