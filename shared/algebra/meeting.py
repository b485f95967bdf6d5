"""Which of many products share a point with which: all pairs at once.

For each dimension one sweep over all boundaries, with the sets that are open as bits of an
integer: a set meets those that are open where one of its runs begins, and those that find it open
where theirs begin.  The bits of all dimensions are then put together as a square of bytes in NumPy.
Time and memory grow with the square of the number of products, slowly: 10,000 take 12 MB a square.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from shared.algebra.intervals import Intervals
from shared.algebra.products import Product

_Square = npt.NDArray[np.uint8]
"""Bits, the least significant first: row i, bit j says whether i meets j."""

_WORD: Final = 64
_LARGEST: Final = 1 << 62
"""Beyond it, boundaries are ranked before they are sorted as 64-bit integers."""

# Steps that turn the 8 × 8 bits of a word over, from Warren, Hacker's Delight, section 7-3.
_TURNS: Final = (
    (7, 0x00AA00AA00AA00AA),
    (14, 0x0000CCCC0000CCCC),
    (28, 0x00000000F0F0F0F0),
)


def meeting(products: Sequence[Product]) -> list[BitMap]:
    """Return for each product the places of the others that share a point with it."""
    count = len(products)
    together: _Square | None = None
    for column in zip(*products, strict=True):
        rows: dict[Intervals, list[int]] = {}
        for row, values in enumerate(column):
            rows.setdefault(values, []).append(row)
        if len(rows) > 1:
            found = _meeting(rows, count)
            together = found if together is None else np.bitwise_and(together, found, out=found)
    if together is None:
        return [BitMap(range(count)) - BitMap([row]) for row in range(count)]
    itself = np.arange(count)
    together[itself, itself >> 3] &= ~(np.uint8(1) << (itself & 7).astype(np.uint8))
    return _bitmaps(together, count)


def _meeting(rows: dict[Intervals, list[int]], count: int) -> _Square:
    """Return which rows meet in one dimension, given the rows of each set."""
    bits = []
    for members in rows.values():
        mask = 0
        for row in members:
            mask |= 1 << row
        bits.append(mask)
    found = [0] * len(bits)
    is_open = 0
    for place, begins in _events([*rows]):
        is_open ^= bits[place]
        if begins:
            found[place] |= is_open
    width = -(-count // _WORD) * (_WORD // 8)
    lines = [b""] * count
    for met, members in zip(found, rows.values(), strict=True):
        line = met.to_bytes(width, "little")
        for row in members:
            lines[row] = line
    padding = bytes(width * (width * 8 - count))
    square = np.frombuffer(b"".join(lines) + padding, dtype=np.uint8).reshape(width * 8, width)
    return square | _turned(square)


def _events(sets: Sequence[Intervals]) -> Iterator[tuple[int, bool]]:
    """Return where runs begin and end, in order of values: the set, and whether one begins.

    At one value, ends come first.
    """
    lengths = np.fromiter(map(len, sets), dtype=np.int64, count=len(sets))
    owners = np.repeat(np.arange(len(sets)), lengths)
    flat: Sequence[int] = [*chain.from_iterable(sets)]
    if max(flat) >= _LARGEST:
        ranks = {value: rank for rank, value in enumerate(sorted(set(flat)))}
        flat = [ranks[value] for value in flat]
    # Sets have boundaries in pairs, so in all of them together the even ones are beginnings.
    begins = np.arange(len(flat)) % 2 == 0
    order = np.argsort(np.array(flat, dtype=np.int64) * 2 + begins)
    return zip(owners[order].tolist(), begins[order].tolist(), strict=True)


def _turned(square: _Square) -> _Square:
    """Return the transposed square: blocks of 8 × 8 bits are turned over, and then put in place."""
    width = square.shape[1]
    blocks = np.ascontiguousarray(square.reshape(width, 8, width).transpose(0, 2, 1))
    words = blocks.view(np.uint64).reshape(width, width)
    for shift, mask in _TURNS:
        swapped = (words ^ (words >> np.uint64(shift))) & np.uint64(mask)
        words ^= swapped ^ (swapped << np.uint64(shift))
    turned = words.view(np.uint8).reshape(width, width, 8).transpose(1, 2, 0)
    return np.ascontiguousarray(turned).reshape(width * 8, width)


def _bitmaps(square: _Square, count: int) -> list[BitMap]:
    words = square.view("<u8")
    rows, places = np.nonzero(words)
    bits = np.unpackbits(
        words[rows, places].view(np.uint8).reshape(-1, 8), axis=1, bitorder="little"
    )
    which, bit = np.nonzero(bits)
    columns = (places[which] * _WORD + bit).astype(np.uint32)
    bounds = np.searchsorted(rows[which], np.arange(count + 1)).tolist()
    return [BitMap(columns[bounds[row] : bounds[row + 1]]) for row in range(count)]
