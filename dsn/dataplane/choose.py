"""Which data plane an agent uses, and whom its host must always reach."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from dsn.dataplane.contract import DataPlane, NoDataPlane
from dsn.dataplane.memory import MemoryDataPlane
from dsn.dataplane.nftables import NftablesDataPlane
from dsn.dataplane.ruleset import Layout, Link
from dsn.settings import DSNSettings
from shared.errors import HanseError

log = logging.getLogger(__name__)

_RESOLVE_SECONDS = 3.0


async def choose_data_plane(settings: DSNSettings, links: Iterable[Link]) -> DataPlane:
    """Return the data plane that the settings ask for.

    `nftables` where it can't be reached is NoDataPlane; `auto` is then the simulated one, and
    says so.
    """
    if settings.data_plane == "memory":
        return MemoryDataPlane()
    plane = NftablesDataPlane(table=settings.table, layout=Layout(settings.log_group, tuple(links)))
    try:
        await plane.read_back()
    except HanseError as exc:
        await plane.close()
        if settings.data_plane == "nftables":
            raise NoDataPlane(f"nftables can't be used: {exc.message}", detail=exc.detail) from exc
        log.warning(
            "nftables can't be used, packets are only simulated", extra={"reason": exc.message}
        )
        return MemoryDataPlane()
    return plane


async def resolve(servers: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses of `https://host:port` endpoints, as far as they can be found."""
    found: dict[str, None] = {}
    loop = asyncio.get_running_loop()
    for each in servers:
        host = urlsplit(each).hostname or ""
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                answers = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError):
            log.info("can't resolve the site's endpoint", extra={"host": host})
            continue
        found |= dict.fromkeys(str(answer[4][0]).partition("%")[0] for answer in answers)
    return tuple(found)


def links_to(servers: Iterable[str], addresses: Iterable[str]) -> tuple[Link, ...]:
    """Return what the host must always reach: each address at each port of the endpoints."""
    ports = sorted({urlsplit(each).port or 443 for each in servers})
    parsed = sorted(
        {ipaddress.ip_address(each) for each in addresses}, key=lambda a: (a.version, a)
    )
    return tuple(
        Link(4 if address.version == 4 else 6, str(address), port)
        for address in parsed
        if not address.is_loopback
        for port in ports
    )
