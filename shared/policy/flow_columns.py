"""Observed flows as columns: what a million of them take little memory and time as.

Addresses and services stand in tables, each once and in order; flows name them by their place.
"""

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from shared.algebra import intervals
from shared.algebra.boxes import Packet
from shared.algebra.cidrs import AddressSet, Family

Numbers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]

UNKNOWN: Final = -1
"""In place of a count or a verdict that wasn't recorded."""

UNTIMED: Final = -(1 << 62)
"""In place of a time that wasn't recorded."""

VERDICTS: Final = ("allow", "deny", "reject")

PORT_BITS: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class FlowColumns:
    """Flows that were seen.

    `source` and `destination` are places in the table of addresses: those of IPv4 in `v4`, then
    those of IPv6 in `v6`; both ends of a flow are of one family.  `service` is a place in
    `services`, each `protocol << 16 | port` (port 0 where the protocol has none).  `last_seen` is
    in microseconds since 1970, `octets` counts bytes, and `verdicts` says what became of the flow
    then, by its place in VERDICTS.
    """

    v4: Numbers
    v6: Sequence[int]
    services: Numbers
    source: Codes
    destination: Codes
    service: Codes
    source_port: npt.NDArray[np.uint16]
    octets: Numbers
    last_seen: Numbers
    verdicts: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.source)

    def packet(self, place: int) -> Packet:
        """Return one flow as its connection's first packet."""
        source, destination = int(self.source[place]), int(self.destination[place])
        protocol, port = divmod(int(self.services[self.service[place]]), 1 << PORT_BITS)
        return Packet(
            4 if source < len(self.v4) else 6,
            self.address(source),
            self.address(destination),
            protocol,
            int(self.source_port[place]),
            port,
        )

    def address(self, code: int) -> int:
        """Return an address of the table as a number."""
        return int(self.v4[code]) if code < len(self.v4) else self.v6[code - len(self.v4)]

    def seen_since(self, instant: int) -> "FlowColumns":
        """Return the flows that were last seen at a time or later, and those that say no time."""
        return self.where((self.last_seen >= instant) | (self.last_seen == UNTIMED))

    def where(self, kept: npt.NDArray[np.bool_]) -> "FlowColumns":
        """Return some of the flows."""
        if kept.all():
            return self
        names = ("source", "destination", "service", "source_port", "octets", "last_seen")
        columns = {name: getattr(self, name)[kept] for name in (*names, "verdicts")}
        return replace(self, **columns)

    def ends_in(self, addresses: AddressSet) -> tuple[npt.NDArray[np.bool_], ...]:
        """Return for each flow whether its source, and whether its destination, is among these."""
        inside = np.zeros(len(self.v4) + len(self.v6), dtype=bool)
        bounds = np.array(addresses.v4, dtype=np.int64)
        inside[: len(self.v4)] = np.searchsorted(bounds, self.v4, side="right") % 2 == 1
        for place, value in enumerate(self.v6, start=len(self.v4)):
            inside[place] = intervals.contains(addresses.v6, value)
        return inside[self.source], inside[self.destination]

    def codes(self, family: Family, addresses: Sequence[int]) -> Numbers:
        """Return the place of each address in the table, UNKNOWN of those that aren't there."""
        if family == 6:
            places = {each: place for place, each in enumerate(self.v6, start=len(self.v4))}
            return np.array([places.get(each, UNKNOWN) for each in addresses], dtype=np.int64)
        asked = np.array(addresses, dtype=np.int64)
        found = np.searchsorted(self.v4, asked)
        there = found < len(self.v4)
        there[there] = self.v4[found[there]] == asked[there]
        return np.where(there, found, UNKNOWN)


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """The flows of a past window, that begins at `since`; None: all there are.

    `judged` remembers what became of them, by who judged: several changes to one version are held
    against the same.
    """

    flows: FlowColumns
    since: datetime | None = None
    judged: MutableMapping[object, Any] = field(default_factory=WeakKeyDictionary, repr=False)
