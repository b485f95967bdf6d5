"""Hosts of our own: network namespaces joined by veth pairs, one router a site.

    workload ── node ── fabric ── node ── workload
                          └── outsider

A node forwards for its workloads, so what they say passes its packet filter.  Every host is
reached by a host route; nothing touches the machine's own network.
"""

import asyncio
import ctypes
import os
import shutil
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shared.errors import Unavailable

# setns(2): <sched.h>
_CLONE_NEWNET: Final = 0x40000000
_FORWARD: Final = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
)
# Without duplicate address detection an IPv6 address works at once.
_EVERY: Final = ("net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")


def are_possible() -> bool:
    """Return whether this process may make namespaces and filter packets in them."""
    return os.geteuid() == 0 and all(shutil.which(each) for each in ("ip", "nft", "sysctl"))


class Namespaces:
    """Makes namespaces with a common prefix, and takes all of them away again."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._made: list[str] = []
        self._links = 0

    def name(self, host: str) -> str:
        return f"{self._prefix}-{host}"

    async def add(self, host: str, *, forwards: bool = False) -> str:
        name = self.name(host)
        # Noted before it is made: whoever is interrupted meanwhile takes it away all the same.
        self._made.append(name)
        await run("ip", "netns", "add", name)
        await run("ip", "-n", name, "link", "set", "lo", "up")
        settings = (*_EVERY, *_FORWARD) if forwards else _EVERY
        await run("ip", "netns", "exec", name, "sysctl", "-q", "-w", *settings)
        return name

    async def attach(self, host: str, router: str, addresses: Sequence[str], *, own: bool) -> None:
        """Join a host to its router; the router reaches `addresses` there, the host all else.

        They are the host's `own`, or those of hosts behind it.
        """
        self._links += 1
        link = self._links
        down, up = f"d{link}", f"u{link}"
        # Each link's router has an address of its own: a node is one and has one.
        via4, via6 = f"169.254.77.{link}", f"fe80::77:{link}"
        inner, outer = self.name(host), self.name(router)
        await run(
            "ip",
            "link",
            "add",
            up,
            "netns",
            inner,
            "type",
            "veth",
            "peer",
            "name",
            down,
            "netns",
            outer,
        )
        await run("ip", "-n", inner, "link", "set", up, "up")
        await run("ip", "-n", outer, "link", "set", down, "up")
        await run("ip", "-n", outer, "address", "add", f"{via4}/32", "dev", down)
        await run("ip", "-n", outer, "address", "add", f"{via6}/64", "dev", down, "nodad")
        await run("ip", "-n", inner, "route", "add", "default", "via", via4, "dev", up, "onlink")
        await run("ip", "-n", inner, "-6", "route", "add", "default", "via", via6, "dev", up)
        inner4, inner6 = f"169.254.78.{link}", f"fe80::78:{link}"
        if not own:
            await run("ip", "-n", inner, "address", "add", f"{inner4}/32", "dev", up)
            await run("ip", "-n", inner, "address", "add", f"{inner6}/64", "dev", up, "nodad")
        for address in addresses:
            if own:
                await run("ip", "-n", inner, "address", "add", address, "dev", up)
                through = []
            else:
                through = ["via", inner6 if ":" in address else inner4, "onlink"]
            await run("ip", "-n", outer, "route", "add", address, *through, "dev", down)

    async def remove(self) -> None:
        while self._made:
            name = self._made.pop()
            await run("ip", "netns", "delete", name, check=False)


def socket_in(namespace: str | None, family: int) -> socket.socket:
    """Return a TCP socket that belongs to a namespace (None: this process's own)."""
    if namespace is None:
        return _tcp(family)
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def make() -> None:
        # Only this thread moves; a socket stays where it was made.
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/run/netns", namespace).open("rb") as file:
            if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
                failed.append(OSError(ctypes.get_errno(), "setns"))
                return
        made.append(_tcp(family))

    thread = threading.Thread(target=make, name=f"socket in {namespace}")
    thread.start()
    thread.join()
    if failed or not made:
        raise Unavailable(f"can't enter the namespace {namespace}")
    return made[0]


async def run(*command: str, check: bool = True) -> None:
    """Run a command; Unavailable with what it said if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, errors = await process.communicate()
    finally:
        # Cancelled meanwhile: what it does is done before anything is undone.
        await process.wait()
    if check and process.returncode:
        said = errors.decode(errors="replace").strip()
        raise Unavailable(f"{' '.join(command)}: {said or process.returncode}")


def _tcp(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)
    return made
