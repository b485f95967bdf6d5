"""Connections through the nodes: real TCP between namespaces, or packets judged by simulation."""

import asyncio
import json
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from shared.cli.demo.namespaces import socket_in
from shared.cli.demo.world import Host
from shared.errors import Unavailable

Seen = Literal["allow", "deny", "reject"]

# A dropped SYN is sent again after a second: whoever has heard nothing by then won't.
_PATIENCE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection that somebody tries: from host to host, at a TCP port."""

    source: Host
    destination: Host
    port: int
    family: int = 4

    def to_flow(self) -> dict[str, Any]:
        return {
            "from": self.source.address(self.family),
            "to": self.destination.address(self.family),
            "protocol": "tcp",
            "port": self.port,
        }


class Traffic(Protocol):
    async def listen(self, host: Host, ports: Iterable[int]) -> None:
        """Let a host answer at TCP ports."""

    async def attempt(self, attempt: Attempt) -> Seen:
        """Connect, and tell what happened."""

    async def close(self) -> None: ...


class RealTraffic:
    """TCP between network namespaces."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []

    async def listen(self, host: Host, ports: Iterable[int]) -> None:
        for address in host.addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            for port in ports:
                sock = socket_in(host.namespace, family)
                sock.bind((address, port))
                self._servers.append(await asyncio.start_server(_greet, sock=sock))

    async def attempt(self, attempt: Attempt) -> Seen:
        family = socket.AF_INET6 if attempt.family == 6 else socket.AF_INET
        target = (attempt.destination.address(attempt.family), attempt.port)
        loop = asyncio.get_running_loop()
        with socket_in(attempt.source.namespace, family) as sock:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await loop.sock_connect(sock, target)
                    greeting = await loop.sock_recv(sock, 16)
            except TimeoutError:
                return "deny"
            except OSError:
                return "reject"
        return "allow" if greeting else "deny"

    async def close(self) -> None:
        for server in self._servers:
            server.close()


class SimulatedTraffic:
    """First packets, judged by the agent of each node that has an end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def listen(self, host: Host, ports: Iterable[int]) -> None:
        """Nothing listens: a packet that is let through has arrived."""

    async def attempt(self, attempt: Attempt) -> Seen:
        verdicts = [
            await self._ask(host, attempt.to_flow())
            for host in (attempt.source, attempt.destination)
            if host.node is not None
        ]
        return next((each for each in verdicts if each != "allow"), "allow")

    async def close(self) -> None: ...

    async def _ask(self, host: Host, flow: dict[str, Any]) -> Seen:
        place = self._folder / f"{host.site}-{host.node}" / "simulation.json"
        try:
            listener = json.loads(place.read_text())
            reader, writer = await asyncio.open_connection(listener["host"], listener["port"])
        except (OSError, ValueError, KeyError) as exc:
            raise Unavailable(f"node {host.node} of {host.site} simulates no packets") from exc
        try:
            writer.write(json.dumps(flow).encode() + b"\n")
            answer = json.loads(await reader.readline())
        finally:
            writer.close()
        verdict: Seen | None = answer.get("verdict")
        # Traffic that a node doesn't touch goes its way.
        return verdict or "allow"


async def _greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.write(b"hanse\n")
        await writer.drain()
        writer.close()
