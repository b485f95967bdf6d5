"""Benches for balancers: workloads that ask a virtual address, backends that say who answers.

10.99.0.10, fd99::10      virtual addresses; nobody has them
10.9.0.2-4, fd09::2-4     backends among the peers, port 8080
"""

import asyncio
import itertools
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Protocol, cast

from dsn.dataplane.contract import DataPlane
from dsn.dataplane.memory import MemoryDataPlane
from shared.algebra.cidrs import format_address
from shared.policy.balancers import NodeBalancer, balancer_id
from shared.policy.nodeconfig import NodeConfiguration, Packet
from tests.contract.dataplanes import KernelBench, configuration, in_namespace
from tests.contract.frames import TCP, make_packet

VIRTUAL, VIRTUAL6 = "10.99.0.10", "fd99::10"
BACKENDS = ("10.9.0.2", "10.9.0.3", "10.9.0.4")
BACKENDS6 = ("fd09::2", "fd09::3", "fd09::4")
PORT = 8080

# How long an answer that must come may take.
_ANSWERS = 5.0
# How long is waited for one that must not.
_SILENT = 0.5

_numbers = itertools.count()


class Asking(Protocol):
    """A connection to a virtual address; `answered` says by whom it was, address and port."""

    answered: tuple[str, int]

    async def lives(self) -> bool:
        """Ask once more; return whether the same backend answers."""


class BalancerBench(Protocol):
    plane: DataPlane

    async def ask(self, client: str, address: str, port: int, protocol: int = TCP) -> Asking:
        """Open a connection; ConnectionError if nobody answers."""

    async def drift(self) -> None:
        """Take balancers away behind the data plane's back."""


def balancer(
    *backends: str, address: str = VIRTUAL, port: int = 80, protocol: int = TCP, **fields: object
) -> NodeBalancer:
    given = {"ports": (port, port), "target": PORT, **fields}
    return NodeBalancer(
        id=balancer_id("common", "shop", address, protocol, given["ports"]),
        tenant="common",
        name="shop",
        address=address,
        protocol=protocol,
        backends=backends,
        **given,
    )


def balancing(*balancers: NodeBalancer, default: str = "allow") -> NodeConfiguration:
    ordered = tuple(sorted(balancers, key=lambda each: each.id))
    return replace(configuration(default=default), balancers=ordered)


class MemoryBalancerBench:
    def __init__(self) -> None:
        self.memory = MemoryDataPlane()
        self.plane: DataPlane = self.memory

    async def ask(self, client: str, address: str, port: int, protocol: int = TCP) -> Asking:
        packet = make_packet(client, address, protocol, port, 40_000 + next(_numbers) % 20_000)
        handled = self.memory.handle(packet)
        if handled.verdict != "allow" or handled.to is None:
            raise ConnectionRefusedError(f"{handled.verdict}: {handled.reason}")
        return _MemoryAsking(self.memory, packet, handled.to)

    async def drift(self) -> None:
        self.memory.lose_balancers()


class _MemoryAsking:
    def __init__(self, memory: MemoryDataPlane, packet: Packet, to: Packet) -> None:
        self._memory = memory
        self._packet = packet
        self.answered = format_address(to.family, to.destination), to.port

    async def lives(self) -> bool:
        handled = self._memory.handle(self._packet, opening=False)
        to = handled.to
        if to is None or handled.reason != "established":
            return False
        back = Packet(to.family, to.destination, to.source, to.protocol, to.port, to.source_port)
        return self._memory.handle(back, opening=False).reason == "established"


class KernelBalancerBench:
    def __init__(self, bench: KernelBench, stack: AsyncExitStack) -> None:
        self.bench = bench
        self.plane = bench.plane
        self._stack = stack
        self._talking: list[_Says] = []
        stack.push_async_callback(self._end)

    async def _end(self) -> None:
        for each in self._talking:
            await each.end()

    async def serve(self, *addresses: str, port: int = PORT) -> None:
        """Let these say who they are, to whoever asks by TCP or UDP."""
        for address in addresses:
            space = self.bench.names.holder(address)
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = self._socket(space, family, socket.SOCK_STREAM)
            listener.bind((address, port))
            loop = asyncio.get_running_loop()
            server = await loop.create_server(
                lambda address=address: _Says(address, port, self._talking), sock=listener
            )
            self._stack.callback(server.close)
            datagrams = self._socket(space, family, socket.SOCK_DGRAM)
            datagrams.bind((address, port))
            transport, _ = await loop.create_datagram_endpoint(
                lambda address=address: _Answers(address, port), sock=datagrams
            )
            self._stack.callback(transport.close)

    async def ask(self, client: str, address: str, port: int, protocol: int = TCP) -> Asking:
        family = socket.AF_INET6 if ":" in client else socket.AF_INET
        kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
        calling = self._socket(self.bench.names.holder(client), family, kind)
        calling.bind((client, 0))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_ANSWERS):
                await loop.sock_connect(calling, (address, port))
        except TimeoutError:
            raise ConnectionError("silence") from None
        asking = KernelAsking(calling)
        answered = await asking.say()
        if answered is None:
            raise ConnectionError("nobody answers")
        asking.answered = answered
        return asking

    async def drift(self) -> None:
        self.bench.nft("delete", "table", "inet", "hanse_balance")

    def _socket(self, space: str, family: int, kind: int) -> socket.socket:
        made = self._stack.enter_context(in_namespace(space, lambda: socket.socket(family, kind)))
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return made


class KernelAsking:
    answered: tuple[str, int]

    def __init__(self, calling: socket.socket) -> None:
        self._calling = calling

    async def say(self) -> tuple[str, int] | None:
        """Ask who answers; None if nobody does."""
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._calling, b"?")
            async with asyncio.timeout(_SILENT):
                data = await loop.sock_recv(self._calling, 100)
        except (TimeoutError, OSError):
            return None
        address, _, port = data.decode().partition(" ")
        return (address, int(port)) if data else None

    async def lives(self) -> bool:
        return await self.say() == self.answered


class _Says(asyncio.Protocol):
    """Says who it is, as often as it is asked."""

    def __init__(self, address: str, port: int, said: "list[_Says]") -> None:
        self._said = f"{address} {port}".encode()
        self._lost = asyncio.Event()
        said.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._said * len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()

    async def end(self) -> None:
        self._transport.abort()
        await self._lost.wait()


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, address: str, port: int) -> None:
        self._said = f"{address} {port}".encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(self._said, addr)
