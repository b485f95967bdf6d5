"""Benches on which the data planes' contract is tested: the same questions to each.

A bench stands between peers and a node's workloads.  The kernel's is three network namespaces in a
row, peers - node - workloads, the data plane in the middle one; packets and connections are real.

    peers   10.9.0.1-9, fd09::1-9        everything else the node sends to the workloads' side
    workloads 10.1.0.1-9, fd01::1-9      (the addresses that real sockets can bind)
"""

import asyncio
import itertools
import os
import select
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from dsn.dataplane.contract import DataPlane
from dsn.dataplane.memory import MemoryDataPlane
from dsn.dataplane.netlink import enter_namespace
from dsn.dataplane.nfnetlink import Message
from dsn.dataplane.nftables import NftablesDataPlane
from dsn.dataplane.ruleset import Layout
from shared.policy.nodeconfig import (
    NodeConfiguration,
    NodeRule,
    NodeService,
    Packet,
    Verdict,
    rule_id,
)
from tests.contract.frames import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    Seen,
    datagram,
    frame,
    make_packet,
    read,
)
from tests.servers import require

PEER, PEER6 = "10.9.0.1", "fd09::1"
WORKLOAD, WORKLOAD6 = "10.1.0.1", "fd01::1"
OTHER_WORKLOAD = "10.1.0.2"

# How long something that must arrive may take, and how long is waited for what must not.
ARRIVES = 5.0
ABSENT = 0.25

_PREFIX = "hanse-t"
_numbers = itertools.count()


class Connection(Protocol):
    """A conversation that is open, or was until it was ended."""

    async def forth(self) -> bool:
        """Send something from the client; return whether it arrived."""

    async def back(self) -> bool:
        """Send something from the server; return whether it arrived."""


class Bench(Protocol):
    plane: DataPlane

    async def verdicts(self, packets: Sequence[Packet]) -> list[Verdict]:
        """Return what became of packets that begin connections, all unknown until now."""

    async def connect(self, client: str, server: str, protocol: int, port: int) -> Connection:
        """Open a connection; ConnectionError if that isn't allowed."""

    async def drift(self, rule: NodeRule) -> None:
        """Take a rule away behind the data plane's back."""


def set_id(number: int) -> str:
    return f"s{number:016x}"


def make_rule(name: str, action: str, tier: str = "local", **fields: object) -> NodeRule:
    rule = NodeRule(
        id=rule_id(tier, "common", "policy", name, "local"),
        tier="local",
        tenant="common",
        policy="policy",
        rule=name,
        origin="local",
        action="allow",
    )
    return replace(rule, tier=tier, action=action, **fields)


def make_service(protocol: int, *ports: int) -> tuple[NodeService, ...]:
    return (NodeService(protocol, tuple((port, port) for port in ports) or None),)


def configuration(
    *rules: NodeRule,
    default: str = "deny",
    addresses: tuple[str, ...] = ("10.1.0.0/24", "fd01::/64"),
    **sets: tuple[str, ...],
) -> NodeConfiguration:
    """Return a configuration; a set `_1=(…)` is the one with set_id(1)."""
    named = {set_id(int(name.lstrip("_"))): cidrs for name, cidrs in sets.items()}
    return replace(
        NodeConfiguration("node-1", "deny", addresses, named, rules), default_action=default
    )


class MemoryBench:
    def __init__(self) -> None:
        self.memory = MemoryDataPlane()
        self.plane: DataPlane = self.memory

    async def verdicts(self, packets: Sequence[Packet]) -> list[Verdict]:
        return [self.memory.handle(packet).verdict for packet in packets]

    async def connect(self, client: str, server: str, protocol: int, port: int) -> Connection:
        packet = make_packet(client, server, protocol, port, 40_000 + next(_numbers) % 20_000)
        if self.memory.handle(packet).verdict != "allow":
            raise ConnectionError("denied")
        return _MemoryConnection(self.memory, packet)

    async def drift(self, rule: NodeRule) -> None:
        self.memory.lose_rule(rule.id)


class _MemoryConnection:
    def __init__(self, memory: MemoryDataPlane, packet: Packet) -> None:
        self._memory = memory
        self._forth = packet
        self._back = packet._replace(
            source=packet.destination,
            destination=packet.source,
            source_port=packet.port,
            port=packet.source_port,
        )

    async def forth(self) -> bool:
        return self._memory.handle(self._forth, opening=False).verdict == "allow"

    async def back(self) -> bool:
        return self._memory.handle(self._back, opening=False).verdict == "allow"


class KernelBench:
    """Three namespaces in a row; made by kernel_bench()."""

    def __init__(
        self, plane: NftablesDataPlane, names: "Namespaces", stack: AsyncExitStack
    ) -> None:
        self.plane: DataPlane = plane
        self.names = names
        self._stack = stack
        self._entry = stack.enter_context(in_namespace(names.peers, _open_tap))
        self._exit = stack.enter_context(in_namespace(names.workloads, _open_tap))
        self._target = bytes.fromhex(names.mac(names.node, "peers").replace(":", ""))
        self._tags = itertools.count(1)

    async def verdicts(self, packets: Sequence[Packet]) -> list[Verdict]:
        return await asyncio.to_thread(self.inject, packets)

    def inject(self, packets: Sequence[Packet], *, flags: int = 2) -> list[Verdict]:
        """Send packets at the node from the peers' side and say what came out of it."""
        # On one CPU packets keep their order, so that the last one's arrival ends the waiting.
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            return self._inject(packets, flags)
        finally:
            os.sched_setaffinity(0, before)

    def _inject(self, packets: Sequence[Packet], flags: int) -> list[Verdict]:
        places: dict[int, int] = {}
        last = make_packet("198.51.100.1", "198.51.100.2", UDP, 9, 9)
        found: dict[int, Seen] = {}
        for start in range(0, len(packets), 200):
            lot = packets[start : start + 200]
            for place, packet in enumerate(lot, start):
                tag = next(self._tags)
                places[tag] = place
                self._entry.send(frame(packet, tag, target=self._target, flags=flags))
            end = next(self._tags)
            self._entry.send(frame(last, end, target=self._target))
            deadline = time.monotonic() + ARRIVES
            while end not in found:
                if not select.select([self._exit], [], [], max(0.0, deadline - time.monotonic()))[
                    0
                ]:
                    raise AssertionError("the node passes no packets at all")
                data, address = self._exit.recvfrom(65536)
                if address[2] == socket.PACKET_OUTGOING:
                    continue
                if (seen := read(data)) and (seen.tag in places or seen.tag == end):
                    found[seen.tag] = seen
        outcomes: list[Verdict] = ["deny"] * len(packets)
        for tag, seen in found.items():
            if tag in places:
                assert packets[places[tag]].protocol == seen.protocol
                outcomes[places[tag]] = "allow" if seen.outcome == "passed" else "reject"
        return outcomes

    def send_raw(self, packet: Packet, flags: int) -> None:
        self._entry.send(frame(packet, next(self._tags), target=self._target, flags=flags))

    async def connect(self, client: str, server: str, protocol: int, port: int) -> Connection:
        near, far = self.names.holder(client), self.names.holder(server)
        kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
        family = socket.AF_INET6 if ":" in client else socket.AF_INET
        listener = self._stack.enter_context(in_namespace(far, lambda: socket.socket(family, kind)))
        calling = self._stack.enter_context(in_namespace(near, lambda: socket.socket(family, kind)))
        for each in (listener, calling):
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((server, port))
        calling.bind((client, 0))
        loop = asyncio.get_running_loop()
        if protocol == UDP:
            calling.connect((server, port))
            listener.connect(calling.getsockname()[:2])
            connection = KernelConnection(calling, listener)
            if not await connection.forth():
                raise ConnectionError("denied")
            return connection
        listener.listen()
        try:
            async with asyncio.timeout(ABSENT * 4):
                await loop.sock_connect(calling, (server, port))
        except TimeoutError:
            raise ConnectionError("denied") from None
        accepted, _ = await loop.sock_accept(listener)
        self._stack.enter_context(accepted)
        return KernelConnection(calling, accepted)

    async def drift(self, rule: NodeRule) -> None:
        for chain in (f"h_{rule.tier}_4", f"h_{rule.tier}_6"):
            listed = self.nft("-a", "list", "chain", "inet", "hanse", chain)
            for line in listed.splitlines():
                if rule.id in line:
                    handle = line.rpartition(" ")[2]
                    self.nft("delete", "rule", "inet", "hanse", chain, "handle", handle)

    async def commit(self, messages: list[Message]) -> None:
        """Give the kernel a batch of our own making, as the data plane does."""
        plane = self.plane
        assert isinstance(plane, NftablesDataPlane)
        await plane._do(plane._kernel._commit, messages)

    def nft(self, *arguments: str) -> str:
        return self.run("nft", *arguments)

    def run(self, *arguments: str) -> str:
        """Run a program in the node's namespace; CalledProcessError if it fails."""
        return subprocess.run(
            ["ip", "netns", "exec", self.names.node, *arguments],
            check=True,
            capture_output=True,
            text=True,
        ).stdout


class KernelConnection:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server

    async def forth(self) -> bool:
        return await _arrives(self.client, self.server)

    async def back(self) -> bool:
        return await _arrives(self.server, self.client)


class Namespaces:
    """Network namespaces in a row, gone with the with-block that made them."""

    def __init__(self, prefix: str) -> None:
        self.peers, self.node, self.workloads = (f"{prefix}{letter}" for letter in "pnw")

    def holder(self, address: str) -> str:
        return self.peers if address.startswith(("10.9.", "fd09:")) else self.workloads

    def mac(self, namespace: str, device: str) -> str:
        place = f"/sys/class/net/{device}/address"
        return _run("ip", "netns", "exec", namespace, "cat", place).strip()

    def build(self) -> None:
        lines = []
        for name in (self.peers, self.node, self.workloads):
            _run("ip", "netns", "add", name)
        for far, device in ((self.peers, "peers"), (self.workloads, "workloads")):
            lines.append(
                f"link add {device} netns {self.node} type veth peer name node netns {far}"
            )
        _batch(lines)
        self._configure(self.node, ["peers", "workloads"])
        for name in (self.peers, self.workloads):
            self._configure(name, ["node"])
        self._route()

    def _route(self) -> None:
        far = {"peers": self.peers, "workloads": self.workloads}
        lines = []
        for number, device in ((9, "peers"), (1, "workloads")):
            mac = self.mac(far[device], "node")
            lines += [
                f"addr add 192.0.2.{number}/32 dev {device}",
                f"addr add 2001:db8:ffff::{number}/128 dev {device} nodad",
                f"route add 169.254.0.{number} dev {device}",
                f"route add 10.{number}.0.0/24 via 169.254.0.{number} dev {device}",
                f"-6 route add fd0{number}::/64 via fe80::{number} dev {device}",
                f"neigh add 169.254.0.{number} lladdr {mac} dev {device}",
                f"neigh add fe80::{number} lladdr {mac} dev {device}",
            ]
        lines += [
            "route add default via 169.254.0.1 dev workloads",
            "-6 route add default via fe80::1 dev workloads",
        ]
        _batch(lines, self.node)
        for number, device in ((9, "peers"), (1, "workloads")):
            mac = self.mac(self.node, device)
            held = [f"10.{number}.0.{host}/32" for host in range(1, 10)]
            held6 = [f"fd0{number}::{host}/128" for host in range(1, 10)]
            _batch(
                [
                    *(f"addr add {each} dev lo" for each in held),
                    *(f"addr add {each} dev lo nodad" for each in held6),
                    "route add 169.254.0.254 dev node",
                    "neigh add 169.254.0.254 lladdr " + mac + " dev node",
                    "neigh add fe80::fe lladdr " + mac + " dev node",
                    f"route add default via 169.254.0.254 dev node src 10.{number}.0.1",
                    f"-6 route add default via fe80::fe dev node src fd0{number}::1",
                ],
                far[device],
            )

    def _configure(self, name: str, devices: list[str]) -> None:
        settings = {
            "net/ipv4/ip_forward": "1" if name == self.node else "0",
            "net/ipv6/conf/all/forwarding": "1" if name == self.node else "0",
            # Every refusal is answered, however many there are.
            "net/ipv4/icmp_ratemask": "0",
            "net/ipv6/icmp/ratemask": "",
            "net/ipv6/icmp/ratelimit": "0",
            "net/ipv6/conf/all/accept_ra": "0",
        }
        for device in ("all", "default", *devices):
            settings[f"net/ipv4/conf/{device}/rp_filter"] = "0"
        lines = "; ".join(
            f"echo '{value}' > /proc/sys/{place}" for place, value in settings.items()
        )
        _run("ip", "netns", "exec", name, "sh", "-e", "-c", lines)
        _batch([f"link set {device} up" for device in ("lo", *devices)], name)

    def destroy(self) -> None:
        for name in (self.peers, self.node, self.workloads):
            if (Path("/run/netns") / name).exists():
                _run("ip", "netns", "del", name)


@contextmanager
def namespaces() -> Iterator[Namespaces]:
    require("nft", "ip", "conntrack", root=True)
    _sweep()
    made = Namespaces(f"{_PREFIX}{os.getpid()}-{next(_numbers)}")
    try:
        made.build()
        yield made
    finally:
        made.destroy()


def _sweep() -> None:
    """Remove what a test process that was killed has left."""
    for each in Path("/run/netns").glob(f"{_PREFIX}*"):
        process = each.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path("/proc", process).exists():
            with suppress(subprocess.CalledProcessError):  # another sweep was first
                _run("ip", "netns", "del", each.name)


@asynccontextmanager
async def kernel_bench(layout: Layout | None = None) -> AsyncIterator[KernelBench]:
    with namespaces() as names:
        plane = NftablesDataPlane(namespace=names.node, layout=layout)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(plane.close)
            yield KernelBench(plane, names, stack)


@contextmanager
def in_namespace(name: str, make: Callable[[], socket.socket]) -> Iterator[socket.socket]:
    """Make a socket inside a namespace; it stays there, whoever uses it."""
    with ThreadPoolExecutor(1, initializer=enter_namespace, initargs=(name,)) as thread:
        made = thread.submit(make).result()
    with made:
        yield made


def ping(namespace: str, source: str, target: str) -> str:
    """Ask for an echo; return `answered`, `prohibited` or `silent`."""
    six = ":" in target
    kind, protocol = (socket.AF_INET6, ICMPV6) if six else (socket.AF_INET, ICMP)
    packet = make_packet(source, target, protocol)
    body = datagram(packet, next(_numbers))[40 if six else 20 :]
    with in_namespace(namespace, lambda: socket.socket(kind, socket.SOCK_RAW, protocol)) as raw:
        raw.bind((source, 0))
        # What is dropped on its way out is a local error.
        with suppress(PermissionError):
            raw.sendto(body, (target, 0))
        deadline = time.monotonic() + ABSENT * 4
        while (left := deadline - time.monotonic()) > 0:
            raw.settimeout(left)
            try:
                data = raw.recv(2000)
            except TimeoutError:
                break
            data = data if six else data[20:]
            if data[0] == (129 if six else 0) and data[4:8] == body[4:8]:
                return "answered"
            if (data[0], data[1]) == ((1, 1) if six else (3, 13)):
                return "prohibited"
    return "silent"


def _open_tap() -> socket.socket:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    tap.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
    tap.bind(("node", 3))
    return tap


async def _arrives(sender: socket.socket, receiver: socket.socket) -> bool:
    loop = asyncio.get_running_loop()
    token = next(_numbers).to_bytes(4, "big")
    try:
        await loop.sock_sendall(sender, token)
        async with asyncio.timeout(ABSENT * 2):
            while True:
                data = await loop.sock_recv(receiver, 4096)
                if not data:
                    return False
                if data.endswith(token):
                    return True
    except (TimeoutError, OSError):
        return False


def _run(*arguments: str, given: str | None = None) -> str:
    return subprocess.run(arguments, check=True, capture_output=True, text=True, input=given).stdout


def _batch(lines: Sequence[str], namespace: str | None = None) -> None:
    # `ip -batch` has no family option within a line: v6 routes go in a run of their own.
    inside = ("-n", namespace) if namespace else ()
    plain = [line for line in lines if not line.startswith("-6 ")]
    _run("ip", *inside, "-batch", "-", given="\n".join(plain) + "\n")
    if six := [line.removeprefix("-6 ") for line in lines if line.startswith("-6 ")]:
        _run("ip", "-6", *inside, "-batch", "-", given="\n".join(six) + "\n")
