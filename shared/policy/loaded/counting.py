"""The own addresses of nodes in all sides of a view at once, when it is loaded."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from shared.algebra.bulk import Unions
from shared.algebra.cidrs import Family
from shared.policy.loaded.owners import Owners
from shared.policy.loaded.peers import FAMILIES, Window, pairs
from shared.policy.loaded.sides import Side

V4: Final[Family] = 4
V6: Final[Family] = 6


def count_all(sides: Mapping[int, Side], blocks: Sequence[Unions], owners: Owners) -> None:
    """Count the own addresses of nodes in each side, given by its row in `blocks`."""
    if not blocks:
        for side in sides.values():
            for family in FAMILIES:
                _count(side, family, owners)
        return
    addresses = np.array(owners.sorted[V4], dtype=np.int64)
    of, every = owners.of[V4], owners.sorted[V4]
    start = 0
    for unions in blocks:
        rows = np.repeat(np.arange(len(unions.run_bounds) - 1), np.diff(unions.run_bounds)) + start
        start += len(unions.run_bounds) - 1
        low = np.searchsorted(addresses, unions.starts)
        high = np.searchsorted(addresses, unions.ends)
        hits = np.flatnonzero(high > low)
        for row, first, last in zip(
            rows[hits].tolist(), low[hits].tolist(), high[hits].tolist(), strict=True
        ):
            if row in sides:
                counts = sides[row].nodes.setdefault(V4, {})
                for address in every[first:last]:
                    for node in of[address]:
                        counts[node] = counts.get(node, 0) + 1
    if owners.sorted[V6]:
        for side in sides.values():
            if side.has(V6):
                _count(side, V6, owners)


def _count(side: Side, family: Family, owners: Owners) -> None:
    counts = side.nodes.setdefault(family, {})
    for start, end in pairs(side.addresses.of(family)):
        for node in owners.within(Window(family, start, end)):
            counts[node] = counts.get(node, 0) + 1
