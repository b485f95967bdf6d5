"""Sets of integers as their boundaries: the one representation under addresses and ports.

A set is a sorted tuple of an even number of integers `(start, end, start, end, …)`, each pair a
half-open run `[start, end)`; runs neither touch nor overlap, so equal sets are equal tuples and
membership is the parity of one bisection.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Intervals = tuple[int, ...]

EMPTY: Intervals = ()


def from_ranges(ranges: Iterable[tuple[int, int]]) -> Intervals:
    """Return the union of inclusive ranges `(first, last)`, in any order, overlapping or not."""
    merged: list[int] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1]:
            merged[-1] = max(merged[-1], last + 1)
        else:
            merged += (first, last + 1)
    return tuple(merged)


def to_ranges(intervals: Intervals) -> Iterator[tuple[int, int]]:
    """Yield the runs as inclusive ranges, in order."""
    for index in range(0, len(intervals), 2):
        yield intervals[index], intervals[index + 1] - 1


def contains(intervals: Intervals, value: int) -> bool:
    return bisect_right(intervals, value) % 2 == 1


def union(*sets: Intervals) -> Intervals:
    given = [each for each in sets if each]
    if len(given) <= 1:
        return given[0] if given else EMPTY
    return from_ranges(pair for each in given for pair in to_ranges(each))


def intersection(left: Intervals, right: Intervals) -> Intervals:
    """Return what lies in both.  Bisects the longer for each run of the shorter."""
    if len(left) > len(right):
        left, right = right, left
    result: list[int] = []
    for i in range(0, len(left), 2):
        start, end = left[i], left[i + 1]
        low = bisect_right(right, start)
        high = bisect_left(right, end, low)
        if low % 2 == 1:
            result.append(start)
        result += right[low:high]
        if high % 2 == 1:
            result.append(end)
    return tuple(result)


def difference(left: Intervals, right: Intervals) -> Intervals:
    """Return what is in `left` and not in `right`."""
    result: list[int] = []
    j = 0
    for i in range(0, len(left), 2):
        start, end = left[i], left[i + 1]
        while j < len(right) and right[j + 1] <= start:
            j += 2
        k = j
        while k < len(right) and right[k] < end:
            if right[k] > start:
                result += (start, right[k])
            start = max(start, right[k + 1])
            k += 2
        if start < end:
            result += (start, end)
    return tuple(result)


def within(intervals: Intervals, start: int, end: int) -> Intervals:
    """Return what of a set lies in `[start, end)`.  Costs a bisection and the answer."""
    if start >= end:
        return EMPTY
    low = bisect_right(intervals, start)
    high = bisect_left(intervals, end)
    inside = intervals[low:high]
    if low % 2 == 1:
        inside = (start, *inside)
    return inside if high % 2 == 0 else (*inside, end)


def replace(
    intervals: Intervals, start: int, end: int, inside: Intervals
) -> tuple[Intervals, Intervals, Intervals]:
    """Return a set with `inside` in place of what it had in `[start, end)`.

    With it the runs that the replacement concerns, as they were and as they are: those in the
    window and those that touch it.
    """
    # From the first run that doesn't end before the window to the last that begins in reach of it.
    low = bisect_left(intervals, start)
    low -= low % 2
    high = bisect_right(intervals, end)
    high += high % 2
    before = intervals[low:high]
    rest = within(before, end, before[-1]) if before else EMPTY
    after = from_ranges(to_ranges(within(before, 0, start) + inside + rest))
    return intervals[:low] + after + intervals[high:], before, after


def overlaps(left: Intervals, right: Intervals) -> bool:
    """Return whether the two share a value.  Bisects the longer for each run of the shorter."""
    if len(left) > len(right):
        left, right = right, left
    for i in range(0, len(left), 2):
        # In an even place nothing contains the start; then the next run decides.
        place = bisect_right(right, left[i])
        if place % 2 == 1 or (place < len(right) and right[place] < left[i + 1]):
            return True
    return False


def size(intervals: Intervals) -> int:
    return sum(intervals[1::2]) - sum(intervals[::2])
