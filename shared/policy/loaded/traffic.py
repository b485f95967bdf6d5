"""Protocols and ports from stored specs to what nodes match."""

from collections.abc import Iterable

from shared.algebra import intervals
from shared.algebra.ports import PortMatch, group, port_set
from shared.model.traffic import parse_ports, parse_protocol
from shared.policy.loaded.source import JSON
from shared.policy.nodeconfig import NodeService


def node_services(entries: Iterable[JSON]) -> tuple[NodeService, ...] | None:
    """Return what entries match, as nodes are told; None (any) if one is any protocol."""
    matches = []
    for entry in entries:
        protocol = parse_protocol(entry["protocol"])
        if protocol == "any":
            return None
        matches.append(PortMatch(protocol, _ports(entry, "ports"), _ports(entry, "sourcePorts")))
    return tuple(
        [
            NodeService(each.protocol, _pairs(each.ports), _pairs(each.source_ports))
            for each in group(matches)
        ]
    )


def _ports(entry: JSON, field: str) -> intervals.Intervals | None:
    ranges = entry.get(field)
    return port_set([parse_ports(each) for each in ranges]) if ranges else None


def _pairs(ports: intervals.Intervals | None) -> tuple[tuple[int, int], ...] | None:
    return None if ports is None else tuple(intervals.to_ranges(ports))
