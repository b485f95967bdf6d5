"""Which of many sets hold a value: sets are bits of an integer, a value costs one bisection.

The bit-vector scheme of Lakshman and Stiliadis (SIGCOMM 1998), one dimension at a time.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from shared.algebra.cidrs import AddressSet, Family
from shared.algebra.intervals import Intervals, to_ranges


class Rows:
    """For one dimension, the rows (bits) that match each value."""

    def __init__(self, always: int, sets: Iterable[tuple[Intervals, int]]) -> None:
        """Rows of `always` match whatever the value; `sets` give each set's rows."""
        changes: dict[int, int] = {}
        for values, rows in sets:
            for boundary in values:
                changes[boundary] = changes.get(boundary, 0) ^ rows
        self._boundaries: Final = sorted(changes)
        self._rows: Final = [always]
        for boundary in self._boundaries:
            self._rows.append(self._rows[-1] ^ changes[boundary])

    def of(self, value: int) -> int:
        return self._rows[bisect_right(self._boundaries, value)]

    def meeting(self, values: Intervals) -> int:
        """Return the rows that match at least one of `values`."""
        found = 0
        for first, last in to_ranges(values):
            start = bisect_right(self._boundaries, first)
            end = bisect_right(self._boundaries, last)
            for rows in self._rows[start : end + 1]:
                found |= rows
        return found


class Collector:
    """Collects rows by distinct set, for one dimension."""

    def __init__(self) -> None:
        self._always = 0
        self._sets: dict[Intervals, int] = {}

    def put(self, values: Intervals | None, rows: int) -> None:
        """Let `rows` match `values`; None is any value."""
        if values is None:
            self._always |= rows
        else:
            self._sets[values] = self._sets.get(values, 0) | rows

    def rows(self) -> Rows:
        return Rows(self._always, self._sets.items())


class AddressCollector:
    """The same for addresses of both families."""

    def __init__(self) -> None:
        self._families: Final[dict[Family, Collector]] = {4: Collector(), 6: Collector()}

    def put(self, addresses: AddressSet | None, rows: int) -> None:
        for family, collector in self._families.items():
            collector.put(None if addresses is None else addresses.of(family), rows)

    def rows(self) -> dict[Family, Rows]:
        return {family: collector.rows() for family, collector in self._families.items()}
