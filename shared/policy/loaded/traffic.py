"""Protocols and ports from stored specs to what nodes match."""

from collections.abc import Iterable

from shared.algebra.intervals import Intervals
from shared.algebra.ports import PortMatch, group, port_set
from shared.model.traffic import parse_ports, parse_protocol
from shared.policy.loaded.source import JSON
from shared.policy.nodeconfig import NodeService
from shared.policy.nodeplan import node_services


def matches_of(entries: Iterable[JSON]) -> tuple[NodeService, ...] | None:
    """Return what entries match, as nodes are told; None (any) if one is any protocol."""
    matches = []
    for entry in entries:
        protocol = parse_protocol(entry["protocol"])
        if protocol == "any":
            return None
        matches.append(PortMatch(protocol, _ports(entry, "ports"), _ports(entry, "sourcePorts")))
    return node_services(group(matches))


def _ports(entry: JSON, field: str) -> Intervals | None:
    ranges = entry.get(field)
    return port_set([parse_ports(each) for each in ranges]) if ranges else None
