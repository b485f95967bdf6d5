"""One flow as people and programs write it: `{"from", "to", "protocol", "port", "sourcePort"}`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

from shared.algebra.boxes import Packet
from shared.algebra.cidrs import Family
from shared.model.traffic import PORT_PROTOCOLS, PROTOCOL_NAMES, parse_ports, parse_protocol

DEFAULT_SOURCE_PORT: Final = 49152
"""The first of the dynamic ports (RFC 6335)."""


class BadFlow(ValueError):
    """A flow that can't be judged; `field` says what is wrong with it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow: as it was given, and as a packet."""

    given: Mapping[str, Any]
    packet: Packet


def parse_flow(given: Any) -> Flow:
    """Read `{"from", "to", "protocol", "port", "sourcePort"}`; BadFlow says what is wrong."""
    if not isinstance(given, dict):
        raise BadFlow("", "a flow is a JSON object with from, to, protocol and port")
    for field in ("from", "to", "protocol"):
        if field not in given:
            raise BadFlow(field, f'the field "{field}" is missing')
    family, source = _address(given["from"], "from")
    other, destination = _address(given["to"], "to")
    if family != other:
        raise BadFlow("to", f"a flow has one family; from is IPv{family} and to is IPv{other}")
    protocol = protocol_number(given["protocol"])
    if protocol not in PORT_PROTOCOLS:
        for field in ("port", "sourcePort"):
            if field in given:
                name = PROTOCOL_NAMES.get(protocol, protocol)
                raise BadFlow(field, f"protocol {name} has no ports; leave {field} out")
        return Flow(given, Packet(family, source, destination, protocol))
    if "port" not in given:
        raise BadFlow("port", f"protocol {PROTOCOL_NAMES[protocol]} needs a port")
    port = _port(given["port"], "port")
    source_port = _port(given.get("sourcePort", DEFAULT_SOURCE_PORT), "sourcePort")
    return Flow(given, Packet(family, source, destination, protocol, source_port, port))


@lru_cache(maxsize=65536)
def _parse_address(text: str) -> tuple[Family, int]:
    address = ip_address(text)
    return (4 if address.version == 4 else 6), int(address)


def _address(value: Any, field: str) -> tuple[Family, int]:
    if not isinstance(value, str) or "%" in value:
        raise BadFlow(field, f"{field} is no address: write it as text, without a zone")
    try:
        return _parse_address(value)
    except ValueError as exc:
        raise BadFlow(field, str(exc)) from exc


def protocol_number(value: Any) -> int:
    """Return a protocol's number, given as its name or as a number; BadFlow."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 3:
        value = int(value)
    try:
        protocol = parse_protocol(value)
    except ValueError as exc:
        raise BadFlow("protocol", str(exc)) from exc
    if protocol == "any":
        raise BadFlow("protocol", "a flow has one protocol, not any")
    return protocol


def _port(value: Any, field: str) -> int:
    if type(value) is int and 0 <= value <= 65535:
        return value
    try:
        ports = parse_ports(value)
    except ValueError as exc:
        raise BadFlow(field, str(exc)) from exc
    if ports.first != ports.last:
        raise BadFlow(field, f"a flow has one {field}, not the range {ports}")
    return ports.first
