"""Watch every node's kernel without a pause: its rules are always there, and they hold.

`nft monitor` tells each change of the ruleset, transaction by transaction, so that nothing can be
missing between two looks.  Meanwhile packets are sent that must never pass, and others that may.
"""

import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from dsn.dataplane.netlink import enter_namespace
from tests.chaos.network import ALLOWED_PORT, DENIED_PORT, OUTSIDER, Network, NodePlace

_PERIOD = 0.02
_MARK = "chaos-mark"
_LINE = re.compile(r"(add|insert|replace|delete) (table|chain|rule) inet hanse(?: (\S+))?(.*)")


@dataclass
class Ruleset:
    """What stands in a node's kernel as far as the monitor has told.  Pure."""

    chains: dict[str, bool] = field(default_factory=dict)
    """By name whether it is a base chain, which packets meet."""
    rules: int = 0
    generations: int = 0
    faults: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """Take one line; a line that ends a transaction is where a packet could come by."""
        if line.startswith("# new generation"):
            self.generations += 1
            if not any(self.chains.values()):
                self.faults.append(f"no base chain after {line.strip()}")
            return
        found = _LINE.match(line)
        if found is None:
            return
        verb, kind, name, rest = found.groups()
        if kind == "chain":
            if verb == "add":
                self.chains[name] = "hook" in rest
            else:
                self.chains.pop(name, None)
        elif kind == "rule":
            self.rules += -1 if verb == "delete" else 1


class NodeSentry:
    """Watches one node from now on, until stop()."""

    def __init__(self, network: Network, node: NodePlace) -> None:
        self.node = node
        self.ruleset = Ruleset()
        self.sent = 0
        self.allowed = 0
        self.denied = 0
        self.lost = 0
        """How often the kernel had more to tell than the monitor could take."""
        self._stop = threading.Event()
        inside = network.inside(node.host)
        self._monitor = subprocess.Popen(
            [*inside, "nft", "monitor"],
            stdout=subprocess.PIPE,
            # It complains of sets that it has not seen being made.
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._until_it_hears(inside)
        self._source = socket_udp(network.name(OUTSIDER))
        self._sinks = [
            socket_udp(network.name(node.workload_host), (node.workload, port))
            for port in (ALLOWED_PORT, DENIED_PORT)
        ]
        self._inside = inside
        self._begin()
        work = (self._read, self._probe)
        self._threads = [threading.Thread(target=each, daemon=True) for each in work]
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        self._stop.set()
        self._threads[1].join()
        if self._monitor.poll() is not None:
            self.ruleset.faults.append("the monitor had ended by itself")
        self._monitor.terminate()
        self._monitor.wait()
        self._threads[0].join()
        assert self._monitor.stdout is not None
        self._monitor.stdout.close()
        self._count()
        for each in (self._source, *self._sinks):
            each.close()

    def faults(self) -> list[str]:
        name = self.node.host
        faults = [f"{name}: {each}" for each in self.ruleset.faults]
        if self.denied:
            faults.append(f"{name}: {self.denied} packets passed that nobody allows")
        return faults

    def _until_it_hears(self, inside: tuple[str, ...]) -> None:
        """Change a table that is nobody's until the monitor tells of it."""
        assert self._monitor.stdout is not None
        heard = threading.Thread(target=self._monitor.stdout.readline)
        heard.start()
        while heard.is_alive():
            for verb in ("add", "delete"):
                subprocess.run([*inside, "nft", verb, "table", "inet", _MARK], check=True)
            heard.join(0.05)

    def _begin(self) -> None:
        """Take what stands there already; the monitor tells what changes from now on."""
        listed = subprocess.run(
            [*self._inside, "nft", "list", "table", "inet", "hanse"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        self.ruleset.chains.clear()
        self.ruleset.rules = 0
        chain = None
        for line in map(str.strip, listed.splitlines()):
            if line.startswith("chain "):
                chain = line.split()[1]
                self.ruleset.chains[chain] = False
            elif chain and line.startswith("type "):
                self.ruleset.chains[chain] = True
            elif line == "}":
                chain = None
            elif chain:
                self.ruleset.rules += 1

    def _read(self) -> None:
        assert self._monitor.stdout is not None
        for line in self._monitor.stdout:
            if "lost" in line and line.startswith("#"):
                self.lost += 1
                self._begin()
                continue
            self.ruleset.take(line)
            if self.ruleset.rules <= 0 and line.startswith("#"):
                # The monitor doesn't tell of rules that it can't put into words: look.
                self._begin()
                if self.ruleset.rules <= 0:
                    self.ruleset.faults.append(f"no rules after {line.strip()}")

    def _probe(self) -> None:
        while not self._stop.is_set():
            for port in (ALLOWED_PORT, DENIED_PORT):
                try:
                    self._source.sendto(b"probe", (self.node.workload, port))
                except OSError:
                    continue
            self.sent += 1
            self._count()
            time.sleep(_PERIOD)

    def _count(self) -> None:
        allowed, denied = (_received(each) for each in self._sinks)
        self.allowed += allowed
        self.denied += denied


class Sentries:
    """One for every node."""

    def __init__(self, network: Network, nodes: Iterable[NodePlace]) -> None:
        self.all = [NodeSentry(network, node) for node in nodes]

    def stop(self) -> None:
        for each in self.all:
            each.stop()

    def faults(self) -> list[str]:
        return [fault for each in self.all for fault in each.faults()]


def socket_udp(namespace: str, bound: tuple[str, int] | None = None) -> socket.socket:
    """Return a UDP socket that belongs to a namespace and never blocks."""
    made: list[socket.socket] = []

    def make() -> None:
        # Only this thread moves; a socket stays where it was made.
        enter_namespace(namespace)
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    (sock,) = made
    sock.setblocking(False)
    if bound:
        sock.bind(bound)
    return sock


def _received(sink: socket.socket) -> int:
    count = 0
    while True:
        try:
            sink.recv(64)
        except BlockingIOError:
            return count
        count += 1
