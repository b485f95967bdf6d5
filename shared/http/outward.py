"""Where a server may connect to when somebody else has written the address.

A name is resolved once, every address that it stands for is judged, and the one that was judged is
the one that is connected to: a name that means another address a moment later (DNS rebinding)
leads nowhere.
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from shared.errors import Invalid, Unreachable
from shared.settings import Settings

_PORT: Final = 443

Address = IPv4Address | IPv6Address


def _network(text: str) -> str:
    return str(ip_network(text))


def _ports(text: str) -> str:
    first, dash, last = text.partition("-")
    low, high = int(first), int(last if dash else first)
    if not 0 < low <= high <= 65535:
        raise ValueError(f"{text} is no port from 1 to 65535, nor a range of them")
    return text


class OutwardSettings(Settings):
    """Which addresses may be connected to.

    Loopback counts only where a network within it is named; link-local, multicast and
    unspecified addresses never do.
    """

    networks: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        ("0.0.0.0/0", "::/0"), description="Networks that may be connected to, as CIDRs."
    )
    ports: tuple[Annotated[str, AfterValidator(_ports)], ...] = Field(
        ("443", "1024-65535"), description="Ports that may be connected to, and ranges of them."
    )

    def allows(self, address: Address, port: int) -> bool:
        real = _unmapped(address)
        if real.is_multicast or real.is_unspecified or real.is_link_local or _is_reserved(real):
            return False
        if not any(_within(port, each) for each in self.ports):
            return False
        found = [net for net in map(ip_network, self.networks) if real in net]
        if real.is_loopback:
            return any(net.is_loopback for net in found)
        return bool(found)


@dataclass(frozen=True, slots=True)
class Destination:
    """An address that may be connected to."""

    address: Address
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"https://{host}:{self.port}"


async def destination_of(url: str, settings: OutwardSettings) -> Destination:
    """Return where a URL of another's leads.

    Invalid (`address_not_allowed`) if that isn't allowed, Unreachable (`unknown_host`) if its
    name means nothing.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORT
    except ValueError as exc:
        raise _refused(url) from exc
    if parts.scheme != "https" or not host or parts.username is not None or parts.query:
        raise _refused(url)
    addresses = await _resolved(host, port)
    # One address that isn't allowed is enough: which one is taken would be chance.
    if not all(settings.allows(each, port) for each in addresses):
        raise _refused(url)
    return Destination(addresses[0], port)


async def _resolved(host: str, port: int) -> Sequence[Address]:
    try:
        return (ip_address(host),)
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        # A name that can't even be asked for is one that nobody knows.
        raise Unreachable(f"nobody knows the host {host[:253]}", code="unknown_host") from exc
    return tuple(ip_address(str(address[0]).partition("%")[0]) for *_, address in found)


def _unmapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one only wraps."""
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _is_reserved(address: Address) -> bool:
    return isinstance(address, IPv4Address) and (address.is_reserved or int(address) >> 24 == 0)


def _within(port: int, ports: str) -> bool:
    first, dash, last = ports.partition("-")
    return int(first) <= port <= int(last if dash else first)


def _refused(url: str) -> Invalid:
    return Invalid(
        f"{url[:300]!r} is not where this server may connect to: its settings say which networks "
        "and ports it may call sites at",
        code="address_not_allowed",
    )
