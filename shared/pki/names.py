"""The DNS names and addresses under which a server may be called."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from shared.errors import Invalid
from shared.ids import DNS_LABEL_PATTERN

Address = IPv4Address | IPv6Address

_DNS_NAME = re.compile(rf"{DNS_LABEL_PATTERN}(\.{DNS_LABEL_PATTERN})*")
# RFC 1035 §2.3.4, less the final dot.
_DNS_NAME_LENGTH: Final = 253


@dataclass(frozen=True, slots=True)
class HostNames:
    dns: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()


def parse_host_names(dns_names: Iterable[str] = (), ip_addresses: Iterable[str] = ()) -> HostNames:
    """Return the names in order, each once; Invalid (`invalid_name`, `invalid_address`).

    No wildcards: a name is that of one host.
    """
    return HostNames(
        tuple(sorted({_dns_name(name) for name in dns_names})),
        tuple(
            sorted(
                {_address(text) for text in ip_addresses},
                key=lambda address: (address.version, int(address)),
            )
        ),
    )


def _dns_name(text: str) -> str:
    if len(text) > _DNS_NAME_LENGTH or not _DNS_NAME.fullmatch(text):
        raise Invalid(
            f"{text[:80]!r} is no host's name: use a lower-case DNS name without wildcards",
            code="invalid_name",
        )
    # `10.0.0.1` is made of DNS labels too; as a DNS name no client would ever match it.
    if text.rpartition(".")[2].isdigit():
        raise Invalid(
            f"{text!r} looks like an address: register it as an address", code="invalid_name"
        )
    return text


def _address(text: str) -> Address:
    try:
        address = ip_address(text)
    except ValueError as exc:
        raise Invalid(f"{text[:80]!r} is no IP address", code="invalid_address") from exc
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise Invalid(f"{text[:80]!r} has a zone; give it without", code="invalid_address")
    return address
