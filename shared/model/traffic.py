"""Protocols and ports, as rules and services name them."""

import re
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from shared.model.base import Spec

PROTOCOL_NUMBERS: Final = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
"""The protocols that have a name in documents, by their IANA number."""

PROTOCOL_NAMES: Final = {number: name for name, number in PROTOCOL_NUMBERS.items()}
PORT_PROTOCOLS: Final = frozenset({6, 17, 132})
"""tcp, udp and sctp: only these have ports."""

_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_MAX_PORT: Final = 65535


class Ports(NamedTuple):
    """An inclusive range of ports."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def parse_ports(value: Any) -> Ports:
    """Return a port or range given as text or number; ValueError if it is none."""
    if isinstance(value, Ports):
        return value
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = _PORTS.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{value!r} is no port: write 80, or a range such as 8000-8080")
    first = int(found[1])
    last = int(found[2]) if found[2] is not None else first
    if last > _MAX_PORT or first > _MAX_PORT:
        raise ValueError(f"{value!r} is beyond the last port, {_MAX_PORT}")
    if first > last:
        raise ValueError(f"{value!r} ends before it begins")
    return Ports(first, last)


def parse_protocol(value: Any) -> int | Literal["any"]:
    """Return a protocol's number for its name or number, or `any`; ValueError if it is none."""
    if value == "any" and isinstance(value, str):
        return "any"
    if isinstance(value, str) and value in PROTOCOL_NUMBERS:
        return PROTOCOL_NUMBERS[value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255:
        return value
    raise ValueError(f"{value!r} is no protocol: use {', '.join(PROTOCOL_NUMBERS)}, any or 0-255")


def protocol_text(protocol: int | Literal["any"]) -> str | int:
    """Return a protocol as documents and answers name it."""
    return protocol if protocol == "any" else PROTOCOL_NAMES.get(protocol, protocol)


def _validated_ports(value: Any) -> Ports:
    try:
        return parse_ports(value)
    except ValueError as exc:
        raise PydanticCustomError("invalid_port", "{text}", {"text": str(exc)}) from exc


def _validated_protocol(value: Any) -> int | Literal["any"]:
    try:
        return parse_protocol(value)
    except ValueError as exc:
        raise PydanticCustomError("invalid_protocol", "{text}", {"text": str(exc)}) from exc


PortRange = Annotated[
    Ports,
    BeforeValidator(_validated_ports),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": _MAX_PORT},
                {"type": "string", "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$"},
            ],
            "examples": ["443", "8000-8080"],
        }
    ),
]

Protocol = Annotated[
    int | Literal["any"],
    BeforeValidator(_validated_protocol),
    PlainSerializer(protocol_text, return_type=str | int),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": [*PROTOCOL_NUMBERS, "any"]},
                {"type": "integer", "minimum": 0, "maximum": 255},
            ]
        }
    ),
]


class Entry(Spec):
    """One protocol with the ports it is meant on."""

    protocol: Protocol = Field(
        description="tcp, udp, sctp, icmp, icmpv6, any, or a number from 0 to 255."
    )
    ports: tuple[PortRange, ...] = Field(
        (), description="Destination ports; left out: any. Only with tcp, udp and sctp."
    )
    source_ports: tuple[PortRange, ...] = Field(
        (), description="Source ports; left out: any. Only with tcp, udp and sctp."
    )

    @model_validator(mode="after")
    def _ports_fit(self) -> Self:
        for field, alias in (("ports", "ports"), ("source_ports", "sourcePorts")):
            if field not in self.model_fields_set:
                continue
            if not getattr(self, field):
                raise PydanticCustomError(
                    "empty_ports",
                    "{field} is empty; leave it out to mean any",
                    {"field": alias, "at": (alias,)},
                )
            if self.protocol not in PORT_PROTOCOLS:
                raise PydanticCustomError(
                    "ports_without_protocol",
                    "{field} goes only with tcp, udp and sctp",
                    {"field": alias, "at": (alias,)},
                )
        return self
