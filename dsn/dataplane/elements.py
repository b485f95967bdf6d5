"""The elements of a set of intervals, from the kernel's listing of them.  Pure.

The kernel keeps where a run of keys begins and where the next key is free, as elements of their
own, and lists them from the highest to the lowest.
"""

import struct
from dataclasses import dataclass
from operator import gt
from typing import Final

from dsn.dataplane import nfnetlink as nl
from dsn.dataplane.difference import common_ends

# Lengths and types of an element, its key, and the key's value.
_ELEMENT: Final = struct.Struct("=HHHHHH")
_END: Final = nl.number(3, 1)
# An IPv4 element that ends a run, and one that begins one, before their keys; the kernel marks
# nothing as nested.
_ENDING: Final = _ELEMENT.pack(24, 1, 12, 1, 8, 1)
_STARTING: Final = _ELEMENT.pack(16, 1, 12, 1, 8, 1)
_PAIR: Final = struct.Struct("=12s4s8s12s4s")
# An end at 0 ends nothing: nft leaves it.
_MARK: Final = _ENDING + bytes(4) + _END
_INTERVAL_END: Final = b"\0\0\0\1"

Run = tuple[bytes, bytes | None]
"""A run of keys in the network's order: the first, and the one behind the last (None: no more)."""


Runs = tuple[Run, ...]
"""What a set of intervals holds, in order; no two runs touch."""


@dataclass(frozen=True, slots=True)
class Elements:
    """A listing of a set of intervals, and what it says."""

    listed: bytes
    runs: Runs
    marks: int | None
    """With how many bytes that begin or end nothing a listing of nothing but pairs closes; None
    for a listing that isn't of the usual form."""

    @classmethod
    def of(cls, listed: bytes) -> "Elements | None":
        """Read a listing; None if it holds anything but intervals."""
        marks = len(_MARK) if listed.endswith(_MARK) else 0
        usual = _pairs(listed[: len(listed) - marks])
        if usual is not None:
            return cls(listed, usual, marks)
        starts: list[bytes] = []
        ends: list[bytes] = []
        runs = _in_order(starts, ends) if _split(listed, starts, ends) else None
        return None if runs is None else cls(listed, runs, None)

    def after(self, listed: bytes) -> "Elements | None":
        """Return Elements.of(listed), of a later listing; sooner if little has changed."""
        if self.marks is None or (self.marks > 0) != listed.endswith(_MARK):
            return self.of(listed)
        count, size = len(self.runs), _PAIR.size
        old, new = self.listed[: count * size], listed[: len(listed) - self.marks]
        head, tail = (length // size for length in common_ends(old, new))
        come = _pairs(new[head * size : len(new) - tail * size])
        if come is None:
            return self.of(listed)
        # The highest come first.
        below, above = self.runs[:tail], self.runs[count - head :]
        if _meet(below[-1:], come[:1]) or _meet(come[-1:], above[:1]):
            return self.of(listed)
        return Elements(listed, (*below, *come, *above), self.marks)


def _meet(below: Runs, above: Runs) -> bool:
    """Return whether a run isn't wholly below another, of which there may be none."""
    return any(
        one[1] is None or one[1] >= other[0] for one, other in zip(below, above, strict=False)
    )


def _pairs(listed: bytes) -> Runs | None:
    """Return the runs of a listing that is a row of ends, each with its start, of IPv4 addresses.

    So the kernel lists nearly all.  None, if it isn't all like that.
    """
    if len(listed) % _PAIR.size:
        return None
    if not listed:
        return ()
    heads, ends, marks, others, starts = zip(*_PAIR.iter_unpack(listed), strict=True)
    if {*heads} != {_ENDING} or {*marks} != {_END} or {*others} != {_STARTING}:
        return None
    if not (all(map(gt, ends, starts)) and all(map(gt, starts, ends[1:]))):
        return None
    return tuple(zip(reversed(starts), reversed(ends), strict=True))


def _split(elements: bytes, starts: list[bytes], ends: list[bytes]) -> bool:
    """Sort elements into where runs begin and where they end; return False if one is neither."""
    at, stop = 0, len(elements)
    while at < stop:
        if stop - at < _ELEMENT.size:
            return False
        # An element's key is its first attribute, and all there is of where a run begins.
        length, _, _, _, wide, _ = _ELEMENT.unpack_from(elements, at)
        if length < _ELEMENT.size:
            return False
        key = elements[at + 12 : at + 8 + wide]
        rest = elements[at + 8 + ((wide + 3) & ~3) : at + length]
        if not rest:
            starts.append(key)
        elif rest == _END:
            ends.append(key)
        else:
            parts = nl.attributes_of(rest)
            # nft leaves a note (6) at a run without an end.
            if parts.keys() - {3, 6}:
                return False
            (ends if parts.get(3) == _INTERVAL_END else starts).append(key)
        at += (length + 3) & ~3
    return True


def _in_order(starts: list[bytes], ends: list[bytes]) -> Runs | None:
    if len(starts) > len(set(starts)):
        return None
    # Where one run ends and the next begins they are one; an end at 0 is a mark that nft leaves.
    joints = set(starts).intersection(ends)
    if joints:
        starts = [key for key in starts if key not in joints]
        ends = [key for key in ends if key not in joints]
    first = sorted(starts)
    last: list[bytes | None] = [*sorted(ends)]
    if last and last[0] is not None and not any(last[0]):
        del last[0]
    if len(last) == len(first) - 1:
        last.append(None)
    if len(first) != len(last):
        return None
    return tuple(zip(first, last, strict=True))


NO_ELEMENTS: Final = Elements(b"", (), 0)
