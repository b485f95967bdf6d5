"""The names under which a site's servers may be called: what its certificates may carry.  Pure."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from shared.errors import Invalid
from shared.pki.names import HostNames, parse_host_names


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def host_names(names: list[str]) -> HostNames:
    """Tell addresses from DNS names; Invalid (`invalid_name`, `invalid_address`)."""
    addresses = [name for name in names if is_address(name)]
    return parse_host_names([name for name in names if name not in addresses], addresses)


def registered_for(spec: Mapping[str, Any]) -> HostNames:
    """Return what a Site's spec registers: its server names and its endpoint's host.

    Invalid as host_names(), and (`invalid_endpoint`).
    """
    names = list(spec.get("serverNames", ()))
    host = _host_of(spec.get("endpoint", ""))
    return host_names([*names, host] if host else names)


def _host_of(endpoint: str) -> str | None:
    try:
        parts = urlsplit(endpoint)
        # Reading it is what finds out whether it is one.
        _ = parts.port
    except ValueError as exc:
        raise Invalid(
            f"{endpoint[:300]!r} is no address to call a site at: write https://HOST:PORT",
            code="invalid_endpoint",
        ) from exc
    return parts.hostname
