"""Which protocols and ports a rule is about, grouped as answers print them.

The ports of protocols without ports (all but tcp, udp and sctp) are one value.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from shared.algebra import intervals
from shared.algebra.intervals import Intervals

ALL_PORTS: Final[Intervals] = (0, 65536)
PORT_PROTOCOLS: Final = frozenset({6, 17, 132})
"""tcp, udp and sctp: the protocols whose packets have ports."""


@dataclass(frozen=True, slots=True)
class PortMatch:
    """One protocol with its destination and source ports; None is any."""

    protocol: int
    ports: Intervals | None = None
    source_ports: Intervals | None = None

    def matches(self, protocol: int, source_port: int, port: int) -> bool:
        return (
            protocol == self.protocol
            and (self.ports is None or intervals.contains(self.ports, port))
            and (self.source_ports is None or intervals.contains(self.source_ports, source_port))
        )


def port_set(ranges: Sequence[tuple[int, int]]) -> Intervals | None:
    """Return a set of inclusive ranges of ports; None (any) if there are none, or all ports."""
    found = intervals.from_ranges(ranges)
    return None if not found or found == ALL_PORTS else found


def group(matches: Iterable[PortMatch]) -> tuple[PortMatch, ...]:
    """Return one match per protocol and set of source ports, in order of first mention."""
    groups: dict[tuple[int, Intervals | None], Intervals | None] = {}
    for each in matches:
        place = (each.protocol, each.source_ports)
        if place not in groups:
            groups[place] = each.ports
            continue
        before = groups[place]
        if before is not None:
            groups[place] = None if each.ports is None else _union(before, each.ports)
    return tuple(PortMatch(place[0], ports, place[1]) for place, ports in groups.items())


def ports_text(ports: Intervals) -> list[str]:
    """Return ports as text: `80`, `8000-8080`."""
    return [
        str(first) if first == last else f"{first}-{last}"
        for first, last in intervals.to_ranges(ports)
    ]


def _union(left: Intervals, right: Intervals) -> Intervals | None:
    union = intervals.union(left, right)
    return None if union == ALL_PORTS else union
