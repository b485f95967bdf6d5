"""Which rows hold each of many values, as words of bits: for judging very many values at once.

The columns of shared.algebra.rows, for NumPy: of one dimension every value that is asked for gets
a class, values that lie in the same sets share one, and each class has its rows as bits of 64-bit
words.  A summary has a bit for each word that isn't zero, so that whoever looks for a row that
several dimensions share skips nearly all of them (Baboescu and Varghese, SIGCOMM 2001).
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from shared.algebra.intervals import Intervals

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Values = npt.NDArray[np.int64] | Sequence[int]
"""Ascending, each once."""

WORD: Final = 64
NONE: Final = -1

_ONE: Final = np.uint64(1)


class RowSets:
    """Collects what rows match in one dimension; rows that match the same set are kept together."""

    def __init__(self) -> None:
        self._always: list[int] = []
        self._sets: dict[Intervals, list[int]] = {}

    def put(self, values: Intervals | None, row: int) -> None:
        """Let a row match `values`; None is any value."""
        if values is None:
            self._always.append(row)
        else:
            self._sets.setdefault(values, []).append(row)

    @property
    def is_always(self) -> bool:
        """Whether every row matches whatever the value."""
        return not self._sets

    def table(self, values: Values, rows: int) -> "BitTable":
        """Return which of so many rows match each of `values`."""
        return BitTable.of(values, rows, self._always, self._sets)


class BitTable:
    """For values in ascending order: value i has the rows of class `classes[i]`, and `summary`
    says for each class which of its words aren't zero.  At most WORD words of rows.
    """

    def __init__(self, classes: Places, words: Words) -> None:
        if words.shape[1] > WORD:
            raise ValueError(f"{words.shape[1]} words are more than fit a summary")
        self.classes: Final = classes
        self.summary: Final = _summary(words)
        self.size: Final = len(words)
        """How many classes there are."""
        self._words: Final = words
        self._flat: Final = words.reshape(-1)

    @classmethod
    def of(
        cls, values: Values, rows: int, always: Iterable[int], sets: Mapping[Intervals, list[int]]
    ) -> Self:
        size = -(-rows // WORD)
        ranks = _ranks(values, [each for boundaries in sets for each in boundaries])
        # Values between which no set begins or ends are alike.
        changing = np.unique(ranks)
        found = np.zeros((len(changing) + 1, size), dtype=np.uint64)
        found[0] = _bits(always, size)
        _toggle(found, np.searchsorted(changing, ranks) + 1, sets)
        np.bitwise_xor.accumulate(found, axis=0, out=found)
        return cls(np.searchsorted(changing, np.arange(len(values)), side="right"), found)

    def at(self, classes: Places, places: Places) -> Words:
        """Return for each of the classes its word at a place."""
        found: Words = self._flat[classes * self._words.shape[1] + places]
        return found

    def followed_by(self, other: Self) -> Self:
        """Return the table for the values of both, one after the other."""
        classes = np.concatenate((self.classes, other.classes + len(self._words)))
        return type(self)(classes, np.concatenate((self._words, other._words)))


def first_row(word: Words) -> npt.NDArray[np.int64]:
    """Return the place of the lowest bit of each word; none of them is zero."""
    lowest = word & (~word + _ONE)
    return np.bitwise_count(lowest - _ONE).astype(np.int64)


def _ranks(values: Values, boundaries: Sequence[int]) -> Places:
    """Return for each boundary the place of the first value that isn't below it."""
    if isinstance(values, np.ndarray):
        return np.searchsorted(values, np.array(boundaries, dtype=np.int64))
    found = {each: bisect_left(values, each) for each in set(boundaries)}
    return np.array([found[each] for each in boundaries], dtype=np.int64)


def _bits(rows: Iterable[int], size: int) -> Words:
    given = np.fromiter(rows, dtype=np.int64)
    found = np.zeros(size, dtype=np.uint64)
    np.bitwise_or.at(found, given // WORD, _ONE << (given % WORD).astype(np.uint64))
    return found


def _toggle(found: Words, steps: Places, sets: Mapping[Intervals, list[int]]) -> None:
    """Turn the rows of each set on or off at its boundaries, whose `steps` follow one another."""
    flat, size = found.reshape(-1), found.shape[1]
    starts: list[int] = []
    counts: list[int] = []
    rows: list[int] = []
    start = 0
    for boundaries, members in sets.items():
        count = len(boundaries)
        if len(members) > size:
            # So many rows share the set that all of their words at once are fewer.
            np.bitwise_xor.at(found, steps[start : start + count], _bits(members, size))
        else:
            rows += members
            starts += [start] * len(members)
            counts += [count] * len(members)
        start += count
    lengths = np.array(counts, dtype=np.int64)
    given = np.array(rows, dtype=np.int64)
    places = np.repeat(np.array(starts, dtype=np.int64) - (np.cumsum(lengths) - lengths), lengths)
    places += np.arange(len(places))
    bits = _ONE << (given % WORD).astype(np.uint64)
    at = steps[places] * size + np.repeat(given // WORD, lengths)
    np.bitwise_xor.at(flat, at, np.repeat(bits, lengths))


def _summary(words: Words) -> Words:
    there = np.zeros((len(words), WORD), dtype=bool)
    there[:, : words.shape[1]] = words != 0
    return np.packbits(there, axis=1, bitorder="little").view("<u8").astype(np.uint64)[:, 0]
