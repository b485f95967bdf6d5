"""Flows as people and programs give them: `--from`, `--to`, `--service`, and lines of JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

import orjson

from shared.algebra.cidrs import Family
from shared.errors import FieldError, Invalid
from shared.model.traffic import (
    PORT_PROTOCOLS,
    PROTOCOL_NAMES,
    parse_ports,
    parse_protocol,
    protocol_text,
)
from shared.policy.nodeconfig import Packet

DEFAULT_SOURCE_PORT: Final = 49152
"""The first of the dynamic ports (RFC 6335)."""

# Past this many bad lines it is the wrong file.
_MAX_FAULTS: Final = 100


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


@dataclass(frozen=True, slots=True)
class FlowArguments:
    """One flow, as the command's options give it."""

    source: str
    destination: str
    service: str
    source_port: int | None
    tenant: str

    def flow(self, protocol: int, port: int | None) -> Flow:
        """Return the flow, where its service means this protocol and port.

        Invalid (`invalid_flow`) names the option that is wrong.
        """
        given: dict[str, Any] = {
            "from": self.source,
            "to": self.destination,
            "protocol": protocol_text(protocol),
        }
        if port is not None:
            given["port"] = port
        if self.source_port is not None:
            given["sourcePort"] = self.source_port
        elif protocol in PORT_PROTOCOLS:
            given["sourcePort"] = DEFAULT_SOURCE_PORT
        try:
            return parse_flow(given)
        except BadFlow as exc:
            option = {"sourcePort": "source-port"}.get(exc.field, exc.field)
            fault = FieldError(f"--{option}", "invalid_flow", str(exc))
            raise Invalid("this is no flow", code="invalid_flow", fields=[fault]) from exc


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
    protocol = _protocol(given["protocol"])
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


def _protocol(value: Any) -> int:
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


def read_flows(lines: Iterable[bytes], *, file: str) -> Sequence[Flow]:
    """Read JSON lines; blank ones are left out.  Invalid names every bad line."""
    flows: list[Flow] = []
    faults: list[FieldError] = []
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            continue
        try:
            flows.append(parse_flow(orjson.loads(line)))
        except BadFlow as exc:
            faults.append(FieldError(exc.field, "invalid_flow", str(exc), file=file, line=number))
        except orjson.JSONDecodeError as exc:
            sentence = f"this is not JSON: {exc.msg} (column {exc.colno})"
            faults.append(FieldError("", "malformed", sentence, file=file, line=number))
        if len(faults) >= _MAX_FAULTS:
            break
    if faults:
        raise Invalid(f"{file} has lines that are no flows", code="invalid_flow", fields=faults)
    return flows
