"""Verdicts of very many flows at once, the same as shared.policy.verdict gives one by one.

Rules are taken a few thousand at a time, in order; of those, each dimension of a flow (addresses,
service, source port, a tenant's bounds) has its rows as words of bits, and the first row that all
share is the first that matches.
"""

from collections.abc import Sequence
from math import prod
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from shared.algebra.bit_tables import NONE, WORD, BitTable, RowSets, Words, first_row
from shared.algebra.cidrs import AddressSet
from shared.algebra.intervals import Intervals
from shared.algebra.ports import ALL_PORTS, PortMatch
from shared.policy.flow_columns import PORT_BITS, FlowColumns
from shared.policy.plan import TIERS, Plan, PlannedRule

Places = npt.NDArray[np.int64]

_ROWS: Final = WORD * WORD
"""So many rows have one word as their summary."""
_LARGEST: Final = 1 << 23
"""Words of a table: 64 MiB."""
_BLOCK: Final = 1 << 15  # flows: what they need stays in the cache


_ONE: Final = np.uint64(1)

_Side = list[tuple[BitTable, Places]]


class _Row(NamedTuple):
    """A rule with one of its services; None is any."""

    place: int
    rule: PlannedRule
    match: PortMatch | None


class ColumnJudge:
    """Judges many flows by one plan, so many rows at a time."""

    def __init__(self, plan: Plan, *, rows: int = _ROWS) -> None:
        self._most: Final = rows
        self._tiers: Final = [
            [
                _Row(place, rule, match)
                for place, rule in enumerate(plan.rules)
                if rule.tier == tier
                for match in rule.services.matches or (None,)
            ]
            for tier in TIERS
        ]
        self._passes: Final = np.array([each.action == "pass" for each in plan.rules] + [False])
        self.allows: Final = np.array(
            [each.action == "allow" for each in plan.rules] + [plan.default_action == "allow"]
        )
        """By the place of the rule that decides; that of NONE is the site's default action."""

    def decide(self, flows: FlowColumns, among: Places) -> Places:
        """Return which of the plan's rules decides each of the flows at these places; NONE where
        none does.
        """
        decided = np.full(len(among), NONE, dtype=np.int64)
        left = np.arange(len(among))
        for rows in self._tiers:
            found = self._first(rows, flows, among[left])
            settled = (found != NONE) & ~self._passes[found]
            decided[left[settled]] = found[settled]
            left = left[~settled]
        return decided

    def _first(self, rows: Sequence[_Row], flows: FlowColumns, among: Places) -> Places:
        """Return the rule of the first row that matches each flow, NONE where none does."""
        decided = np.full(len(among), NONE, dtype=np.int64)
        left = np.arange(len(among))
        addresses = len(flows.v4) + len(flows.v6) + 1
        step = min(self._most, max(WORD, _LARGEST // addresses * WORD))
        for start in range(0, len(rows), step):
            if not len(left):
                break
            part = _Part(rows[start : start + step], flows)
            rules = np.array([each.place for each in part.rows])
            found = part.first_of_all(flows, among[left])
            hit = found != NONE
            decided[left[hit]] = rules[found[hit]]
            left = left[~hit]
        return decided


class _Part:
    """Some of a tier's rows, ready to be asked for flows of some columns."""

    def __init__(self, rows: Sequence[_Row], flows: FlowColumns) -> None:
        self.rows: Final = rows
        sources, destinations, bounds = _Addresses(), _Addresses(), _Addresses()
        services, source_ports = RowSets(), RowSets()
        for row, (_, rule, match) in enumerate(rows):
            sources.put(None if rule.source is None else rule.source.addresses, row)
            destinations.put(None if rule.destination is None else rule.destination.addresses, row)
            bounds.put(rule.within, row)
            services.put(None if match is None else _keys(match), row)
            source_ports.put(None if match is None else match.source_ports, row)
        self._sources = sources.table(flows, len(rows))
        self._destinations = destinations.table(flows, len(rows))
        self._bounds = None if bounds.is_always else bounds.table(flows, len(rows))
        self._services = services.table(flows.services, len(rows))
        self._source_ports = None
        if not source_ports.is_always:
            ports = np.arange(1 << PORT_BITS)
            self._source_ports = source_ports.table(ports, len(rows))

    def first_of_all(self, flows: FlowColumns, among: Places) -> Places:
        """Return the first row that matches each flow, NONE where none does."""
        # Where few networks and services are told apart, most flows are like another.
        if (keys := self._keys(flows, among)) is not None:
            one_of = np.full(keys.max(initial=0) + 1, NONE, dtype=np.int64)
            one_of[keys] = np.arange(len(among))
            alike = np.flatnonzero(one_of != NONE)
            one_of[alike] = self._first_in_blocks(flows, among[one_of[alike]])
            return one_of[keys]
        return self._first_in_blocks(flows, among)

    def _first_in_blocks(self, flows: FlowColumns, among: Places) -> Places:
        starts = range(0, len(among), _BLOCK)
        parts = [self._first(flows, among[start : start + _BLOCK]) for start in starts]
        return np.concatenate(parts) if parts else among

    def _keys(self, flows: FlowColumns, among: Places) -> Places | None:
        """Return numbers that flows have in common which match alike; None if they hardly would."""
        if self._bounds is not None or self._source_ports is not None:
            return None
        tables = (self._sources, self._destinations, self._services)
        if prod(table.size for table in tables) > len(among):
            return None
        ((_, source),), ((_, destination),), ((_, service),) = self._sides(flows, among)
        return (source * self._destinations.size + destination) * self._services.size + service

    def _first(self, flows: FlowColumns, among: Places) -> Places:
        found = np.full(len(among), NONE, dtype=np.int64)
        sides = self._sides(flows, among)
        candidates = _shared([[table.summary[at] for table, at in side] for side in sides])
        left = np.flatnonzero(candidates)
        while len(left):
            words = candidates[left]
            place = first_row(words)
            rows = _shared([[table.at(at[left], place) for table, at in side] for side in sides])
            hit = rows != 0
            found[left[hit]] = place[hit] * WORD + first_row(rows[hit])
            rest = words & (words - _ONE)
            candidates[left] = rest
            left = left[~hit & (rest != 0)]
        return found

    def _sides(self, flows: FlowColumns, among: Places) -> list[_Side]:
        """Return what a row must match, each by one table at least, and the flows' classes."""
        source, destination = flows.source[among], flows.destination[among]
        sides = [
            [(self._sources, self._sources.classes[source])],
            [(self._destinations, self._destinations.classes[destination])],
            [(self._services, self._services.classes[flows.service[among]])],
        ]
        if self._bounds is not None:
            classes = self._bounds.classes
            sides.append([(self._bounds, classes[each]) for each in (source, destination)])
        if self._source_ports is not None:
            classes = self._source_ports.classes
            sides.append([(self._source_ports, classes[flows.source_port[among]])])
        return sides


class _Addresses:
    """Collects what rows match of addresses of both families."""

    def __init__(self) -> None:
        self._v4, self._v6 = RowSets(), RowSets()

    def put(self, addresses: AddressSet | None, row: int) -> None:
        self._v4.put(None if addresses is None else addresses.v4, row)
        self._v6.put(None if addresses is None else addresses.v6, row)

    @property
    def is_always(self) -> bool:
        return self._v4.is_always and self._v6.is_always

    def table(self, flows: FlowColumns, rows: int) -> BitTable:
        v4 = self._v4.table(flows.v4, rows)
        return v4.followed_by(self._v6.table(flows.v6, rows)) if len(flows.v6) else v4


def _keys(match: PortMatch) -> Intervals:
    """Return the services that a row matches, as FlowColumns writes them."""
    base = match.protocol << PORT_BITS
    return tuple(base + each for each in match.ports or ALL_PORTS)


def _shared(sides: Sequence[Sequence[Words]]) -> Words:
    """Return the bits that each side has in one of its words."""
    found = None
    for side in sides:
        either = side[0] if len(side) == 1 else side[0] | side[1]
        found = either if found is None else found & either
    assert found is not None, "a flow has ends and a service"
    return found
