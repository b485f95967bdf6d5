"""A federation's hosts as network namespaces around a hub, and the ways between them cut.

fsm ── hub ── s1 (SDSP)      the harness itself runs in the hub's namespace, from where it
        ├──── s1n1 ── s1n1w  reaches every host; what the hosts say to each other it forwards,
        └──── out            and drops where it is told to
"""

import random
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dsn.dataplane.netlink import enter_namespace
from shared.cli.demo.namespaces import Namespaces, run

FSM = "fsm"
OUTSIDER = "out"
HUB = "hub"
OUTSIDE = "198.51.100.7"

ALLOWED_PORT = 5555
"""UDP port of every workload that anybody may send to."""
DENIED_PORT = 7777
"""UDP port of every workload that nobody may send to."""


@dataclass(frozen=True)
class NodePlace:
    """A node, the one workload behind it that is a host, and the addresses of more."""

    site: str
    name: str
    host: str
    address: str
    workload_host: str
    workload: str
    subnet: str


@dataclass(frozen=True)
class SitePlace:
    """A site: its SDSP's host, and its nodes."""

    name: str
    host: str
    address: str
    subnet: str
    nodes: tuple[NodePlace, ...]


def places(sites: int, nodes: int) -> tuple[SitePlace, ...]:
    """Return so many sites with so many nodes each."""
    return tuple(_site(number, nodes) for number in range(1, sites + 1))


def _site(number: int, nodes: int) -> SitePlace:
    name = f"s{number}"
    return SitePlace(
        name,
        host=name,
        address=f"10.99.{number}.1",
        subnet=f"10.{100 + number}.0.0/16",
        nodes=tuple(
            NodePlace(
                name,
                f"n{each}",
                host=f"{name}n{each}",
                address=f"10.99.{number}.{10 + each}",
                workload_host=f"{name}n{each}w",
                workload=f"10.{100 + number}.{each}.5",
                subnet=f"10.{100 + number}.{each}.0/24",
            )
            for each in range(1, nodes + 1)
        ),
    )


class Network:
    """The namespaces of one run; remove() takes them away."""

    fsm = "10.99.0.1"

    def __init__(self, sites: Sequence[SitePlace]) -> None:
        self.sites = sites
        self._namespaces = Namespaces(f"hanse-chaos-{random.SystemRandom().randrange(16**4):04x}")
        self._links = 0
        self._addresses = {FSM: self.fsm, OUTSIDER: OUTSIDE}
        for site in sites:
            self._addresses[site.host] = site.address
            for node in site.nodes:
                self._addresses[node.host] = node.address

    def name(self, host: str) -> str:
        return self._namespaces.name(host)

    def inside(self, host: str) -> tuple[str, ...]:
        """Return what to write before a command to run it on a host."""
        return ("ip", "netns", "exec", self.name(host))

    async def build(self) -> None:
        await self._namespaces.add(HUB, forwards=True)
        for host in (FSM, OUTSIDER):
            await self._namespaces.add(host)
            await self._link(host, HUB, self._addresses[host])
        for site in self.sites:
            await self._namespaces.add(site.host)
            await self._link(site.host, HUB, site.address)
            for node in site.nodes:
                await self._namespaces.add(node.host, forwards=True)
                await self._link(node.host, HUB, node.address, behind=node.subnet)
                await self._namespaces.add(node.workload_host)
                await self._link(node.workload_host, node.host, node.workload)

    async def remove(self) -> None:
        await self._namespaces.remove()

    def enter(self) -> None:
        """Move this thread, and those that it starts from now on, to the hub."""
        enter_namespace(self.name(HUB))
        subprocess.run(["nft", "-f", "-"], input=_TABLE, text=True, check=True)

    def cut(self, one: str, other: str, *, both: bool) -> None:
        """Let the hub drop what `one` sends to `other`, and with `both` what comes back."""
        pairs = [(one, other), (other, one)] if both else [(one, other)]
        rules = [
            f"add rule inet cuts forward ip saddr {self._addresses[source]} "
            f"ip daddr {self._addresses[target]} drop\n"
            for source, target in pairs
        ]
        subprocess.run(["nft", "-f", "-"], input="".join(rules), text=True, check=True)

    def mend(self) -> None:
        """Let everything through again."""
        subprocess.run(["nft", "flush", "chain", "inet", "cuts", "forward"], check=True)

    def wires(self) -> Iterator[tuple[str, str]]:
        """Yield the pairs of hosts between which the federation's connections run."""
        for site in self.sites:
            yield site.host, FSM
            for node in site.nodes:
                yield node.host, site.host

    async def _link(self, host: str, router: str, address: str, *, behind: str = "") -> None:
        self._links += 1
        up, down, via = f"u{self._links}", f"d{self._links}", f"169.254.77.{self._links}"
        inner, outer = self.name(host), self.name(router)
        await run(
            *("ip", "link", "add", up, "netns", inner, "type", "veth"),
            *("peer", "name", down, "netns", outer),
        )
        await run("ip", "-n", inner, "link", "set", up, "up")
        await run("ip", "-n", outer, "link", "set", down, "up")
        await run("ip", "-n", outer, "address", "add", f"{via}/32", "dev", down)
        await run("ip", "-n", inner, "address", "add", f"{address}/32", "dev", up)
        await run("ip", "-n", inner, "route", "add", "default", "via", via, "dev", up, "onlink")
        await run("ip", "-n", outer, "route", "add", address, "dev", down)
        if behind:
            await run(
                *("ip", "-n", outer, "route", "add", behind),
                *("via", address, "dev", down, "onlink"),
            )


_TABLE = """
table inet cuts {
    chain forward {
        type filter hook forward priority 0; policy accept;
    }
}
"""
