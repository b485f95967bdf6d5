"""Products of sets of integers, in any number of dimensions, and whether many cover one.

A product is the points that have each coordinate in its set; none of the sets is empty.  Unlike
shared.algebra.boxes this knows nothing of packets.
"""

from collections.abc import Iterator, Sequence
from math import prod

from shared.algebra import intervals
from shared.algebra.intervals import Intervals

Product = tuple[Intervals, ...]

Point = tuple[int, ...]

_Cells = dict[int, int]
"""Of one dimension: each set of parts (bits) that some value lies in, and the least such value."""


def contains(product: Product, point: Point) -> bool:
    return all(map(intervals.contains, product, point))


def size(product: Product) -> int:
    """Return the number of points."""
    return prod(map(intervals.size, product))


def least_point(product: Product) -> Point:
    return tuple([each[0] for each in product])


def intersection(left: Product, right: Product) -> Product | None:
    """Return what two products share; None if nothing."""
    found = []
    for mine, theirs in zip(left, right, strict=True):
        both = _meet(mine, theirs)
        if not both:
            return None
        found.append(both)
    return tuple(found)


def difference(product: Product, other: Product) -> Iterator[Product]:
    """Yield disjoint products that make up what is in `product` and not in `other`."""
    inner = intersection(product, other)
    if inner is None:
        yield product
        return
    for place, (mine, both) in enumerate(zip(product, inner, strict=True)):
        if outside := intervals.difference(mine, both):
            yield (*inner[:place], outside, *product[place + 1 :])


def uncovered_point(product: Product, others: Sequence[Product]) -> Point | None:
    """Return a point of `product` that lies in none of `others`; None if they cover it.

    Values of a dimension that lie in the same of the others are alike, so one stands for all of
    them; and a value that lies in fewer is the better choice.  What is left are a few sets of
    others for each dimension, and the question whether one of each can be chosen that have no
    other in common.
    """
    for corner in _corners(product):
        if (free := _free_on_lines(product, corner, others)) is not None:
            return free
    parts = [both for each in others if (both := intersection(product, each)) is not None]
    if product in parts:
        return None
    columns: Sequence[Sequence[Intervals]] = [*zip(*parts, strict=True)]
    point = list(least_point(product))
    choices: list[tuple[int, list[tuple[int, int]]]] = []
    # Dimensions with few boundaries first: they may settle it.
    for place in sorted(range(len(product)), key=lambda each: sum(map(len, columns[each]))):
        cells = _cells(product[place], columns[place])
        if 0 in cells:
            point[place] = cells[0]
            return tuple(point)
        choices.append((place, _minimal(cells)))
    choices.sort(key=lambda each: len(each[1]))
    found = _choose([each for _, each in choices], (1 << len(parts)) - 1)
    if found is None:
        return None
    for (place, _), value in zip(choices, found, strict=False):
        point[place] = value
    return tuple(point)


def _corners(product: Product) -> tuple[Point, Point]:
    """Return the points with the least and with the greatest coordinates."""
    return least_point(product), tuple([each[-1] - 1 for each in product])


def _free_on_lines(product: Product, corner: Point, others: Sequence[Product]) -> Point | None:
    """Return an uncovered point that differs from a corner in one coordinate at most.

    Seldom is everything covered, and then the question is mostly settled here: only others that
    hold the corner, but for one coordinate, need be looked at.
    """
    holding: list[Product] = []
    lines: list[list[Intervals]] = [[] for _ in product]
    for other in others:
        beside = -1
        for place, (values, value) in enumerate(zip(other, corner, strict=True)):
            if not intervals.contains(values, value):
                if beside >= 0:
                    break
                beside = place
        else:
            if beside < 0:
                holding.append(other)
            else:
                lines[beside].append(other[beside])
    if not holding:
        return corner
    for place, line in enumerate(lines):
        rest = product[place]
        for values in (*[each[place] for each in holding], *line):
            rest = intervals.difference(rest, values)
            if not rest:
                break
        else:
            return (*corner[:place], rest[0], *corner[place + 1 :])
    return None


def _meet(left: Intervals, right: Intervals) -> Intervals:
    """Return the intersection; quick where one is a single run that holds the other."""
    if left == right:
        return left
    if len(left) == 2 and left[0] <= right[0] and right[-1] <= left[1]:
        return right
    if len(right) == 2 and right[0] <= left[0] and left[-1] <= right[1]:
        return left
    return intervals.intersection(left, right)


def _cells(values: Intervals, parts: Sequence[Intervals]) -> _Cells:
    """Return which of the parts (subsets of `values`) share a value."""
    everywhere = 0
    changes: dict[int, int] = {}
    for place, part in enumerate(parts):
        bit = 1 << place
        if part == values:
            everywhere |= bit
            continue
        for boundary in part:
            changes[boundary] = changes.get(boundary, 0) ^ bit
    if not changes:
        return {everywhere: values[0]}
    ends = set(values[1::2])
    found: _Cells = {}
    inside = everywhere
    for value in sorted({*changes, *values[::2]}):
        inside ^= changes.get(value, 0)
        if value not in ends:
            found.setdefault(inside, value)
    return found


def _minimal(cells: _Cells) -> list[tuple[int, int]]:
    """Return the sets of parts that hold no other of the sets, smallest first."""
    kept: list[tuple[int, int]] = []
    for parts in sorted(cells, key=lambda each: (each.bit_count(), cells[each])):
        if not any(fewer & parts == fewer for fewer, _ in kept):
            kept.append((parts, cells[parts]))
    return kept


def _choose(choices: Sequence[Sequence[tuple[int, int]]], everything: int) -> list[int] | None:
    """Return values, one of each of the first choices, whose parts have none in common; those of
    the rest don't matter.  None if there are no such.
    """
    # Parts that hold every choice of the dimensions from some place on.
    certain = [everything]
    for options in reversed(choices):
        common = certain[0]
        for parts, _ in options:
            common &= parts
        certain.insert(0, common)
    hopeless: set[tuple[int, int]] = set()

    def search(place: int, left: int) -> list[int] | None:
        for parts, value in choices[place]:
            rest = left & parts
            if not rest:
                return [value]
            state = (place + 1, rest)
            if rest & certain[place + 1] or state in hopeless:
                continue
            found = search(*state)
            if found is not None:
                return [value, *found]
            hopeless.add(state)
        return None

    return search(0, everything)
