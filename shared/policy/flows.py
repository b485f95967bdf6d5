"""How flows are written: packets, and services as `trace` and policy tests name them."""

import re
from collections.abc import Iterator
from typing import Any, Final

from shared.algebra import intervals
from shared.algebra.boxes import Packet
from shared.algebra.cidrs import format_address
from shared.algebra.ports import PORT_PROTOCOLS, PortMatch, port_set
from shared.errors import Invalid
from shared.model.network import Service
from shared.model.traffic import parse_ports, parse_protocol, protocol_text
from shared.policy.resolve import View, port_matches

_NUMBER: Final = re.compile(r"[0-9]{1,3}")
_WITHOUT_PORTS: Final = ("icmp", "icmpv6")


def packet_json(packet: Packet) -> dict[str, Any]:
    """Return a packet as flows are written; ports only where its protocol has some."""
    flow: dict[str, Any] = {
        "from": format_address(packet.family, packet.source),
        "to": format_address(packet.family, packet.destination),
        "protocol": protocol_text(packet.protocol),
    }
    if packet.protocol in PORT_PROTOCOLS:
        flow |= {"port": packet.port, "sourcePort": packet.source_port}
    return flow


def parse_service(
    text: str, view: View, tenant: str, *, source_port: int | None = None
) -> tuple[PortMatch, ...] | None:
    """Return what a service text means: `tcp/5432`, `icmp`, `47`, or a Service's name.

    None is any protocol.  A name is looked up as a policy of `tenant` does.  Invalid
    (`unknown_service`, `unresolved_name`, `invalid_service`) says what is wrong.
    """
    protocol, slash, port = text.partition("/")
    if slash:
        matches: tuple[PortMatch, ...] | None = (_protocol_with_port(text, protocol, port),)
    elif text in _WITHOUT_PORTS or _NUMBER.fullmatch(text):
        matches = (_protocol_alone(text),)
    else:
        matches = _named(text, view, tenant)
    return matches if source_port is None else _from_port(matches, source_port, text)


def one_port(matches: tuple[PortMatch, ...] | None, text: str) -> tuple[int, int | None]:
    """Return the one protocol and port (None where it has none) that a service text means.

    Invalid (`invalid_service`) if it means more.
    """
    if matches is not None and len(matches) == 1:
        (match,) = matches
        if match.protocol not in PORT_PROTOCOLS:
            return match.protocol, None
        if match.ports is not None and intervals.size(match.ports) == 1:
            return match.protocol, match.ports[0]
    example = next(_examples(matches or ()), "tcp/443")
    raise Invalid(
        f"{text} stands for more than one protocol and port; name one, for example {example}",
        code="invalid_service",
    )


def _examples(matches: tuple[PortMatch, ...]) -> Iterator[str]:
    for match in matches:
        name = protocol_text(match.protocol)
        if match.protocol not in PORT_PROTOCOLS:
            yield str(name)
        elif match.ports is not None:
            yield f"{name}/{match.ports[0]}"


def _protocol_with_port(text: str, protocol: str, port: str) -> PortMatch:
    number = _number(text, protocol)
    if number not in PORT_PROTOCOLS:
        raise Invalid(f"{text}: {protocol} has no ports; leave /{port} out", code="invalid_service")
    try:
        ports = parse_ports(port)
    except ValueError as exc:
        raise Invalid(f"{text}: {exc}", code="invalid_service") from exc
    return PortMatch(number, port_set([ports]))


def _protocol_alone(text: str) -> PortMatch:
    number = _number(text, text)
    if number in PORT_PROTOCOLS:
        raise _needs_port(text, str(protocol_text(number)))
    return PortMatch(number)


def _number(text: str, protocol: str) -> int:
    try:
        number = parse_protocol(int(protocol) if _NUMBER.fullmatch(protocol) else protocol)
    except ValueError as exc:
        raise Invalid(f"{text}: {exc}", code="invalid_service") from exc
    if number == "any":
        raise Invalid(f"{text}: name one protocol", code="invalid_service")
    return number


def _named(text: str, view: View, tenant: str) -> tuple[PortMatch, ...] | None:
    name = view.lookup("Service", tenant, text)
    if not view.declares(name):
        if text in ("tcp", "udp", "sctp"):
            raise _needs_port(text, text)
        raise Invalid(
            f"there is no service {text}; declare it, or write tcp/PORT", code="unknown_service"
        )
    found = view.definition(name)
    if found is None or not isinstance(found.spec, Service):
        raise Invalid(f"service {text} has no entries here", code="unresolved_name")
    return port_matches(found.spec.entries)


def _from_port(
    matches: tuple[PortMatch, ...] | None, source_port: int, text: str
) -> tuple[PortMatch, ...]:
    """Return what of `matches` comes from a source port; only protocols with ports do."""
    candidates = matches
    if candidates is None:
        candidates = tuple(PortMatch(number) for number in sorted(PORT_PROTOCOLS))
    kept = tuple(
        PortMatch(each.protocol, each.ports, (source_port, source_port + 1))
        for each in candidates
        if each.protocol in PORT_PROTOCOLS
        and (each.source_ports is None or intervals.contains(each.source_ports, source_port))
    )
    if not kept:
        raise Invalid(
            f"nothing of {text} comes from source port {source_port}", code="invalid_service"
        )
    return kept


def _needs_port(text: str, protocol: str) -> Invalid:
    return Invalid(f"{text} needs a port: write {protocol}/PORT", code="invalid_service")
