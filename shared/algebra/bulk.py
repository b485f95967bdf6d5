"""Many sets of IPv4 prefixes at once, in NumPy: parsed, united and printed together.

For loading a whole site; single changes are cheaper with shared.algebra.intervals.  A prefix is
one integer, its *code*: the address times 64, plus how many of its bits are free (0 a host, 32
everything), so that codes sort by address.  Results are those of AddressSet to the letter.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]
"""Prefixes, one code each."""

Objects = npt.NDArray[np.object_]

_FREE_BITS: Final = 6
_RUN_BITS: Final = 33  # an end may be 2^32
_LENGTHS: Final = 3  # digits of a number
_SEPARATORS: Final = np.frombuffer(b".../\n", dtype=np.uint8)
_DOTS: Final = np.frombuffer(b"...\n", dtype=np.uint8)
_TENS: Final = (1, 10, 100)
_BLOCK: Final = 2000  # texts: what they need stays in the cache, and below malloc's own mappings
_MAX_GROUPS: Final = 1 << (63 - _RUN_BITS)


@dataclass(frozen=True, slots=True)
class Unions:
    """The minimal prefixes of each group: those of group i are `codes[bounds[i]:bounds[i + 1]]`,
    in address order, and `given[j]` is the place of `codes[j]` among the prefixes that were
    united, -1 if it is new.  The same addresses are `starts` to `ends` (half-open runs, neither
    touching nor overlapping) from `run_bounds[i]` to `run_bounds[i + 1]`.
    """

    codes: Codes
    given: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    run_bounds: npt.NDArray[np.int64]


def code_of(address: int, length: int) -> int:
    """Return the code of a prefix."""
    return address << _FREE_BITS | 32 - length


def parse_prefixes(texts: Sequence[str]) -> Codes | None:
    """Return the codes of IPv4 prefixes in canonical form (`10.0.0.0/8`, no bit beyond).

    None if one of them isn't; who cares which asks shared.algebra.cidrs.
    """
    found = []
    for start in range(0, len(texts), _BLOCK):
        codes = _parse_block(texts[start : start + _BLOCK])
        if codes is None:
            return None
        found.append(codes)
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def _parse_block(texts: Sequence[str]) -> Codes | None:
    data = np.frombuffer(("\n".join(texts) + "\n").encode(), dtype=np.uint8)
    digits = data - np.uint8(ord("0"))  # wraps round below "0"
    ends = np.flatnonzero(digits > 9)
    if len(ends) != len(texts) * 5 or not (data[ends].reshape(-1, 5) == _SEPARATORS).all():
        return None
    numbers = _numbers(digits, ends)
    if numbers is None:
        return None
    table = numbers.reshape(-1, 5)
    if table[:, :4].max() > 255 or table[:, 4].max() > 32:
        return None
    addresses = table[:, 0] << 24 | table[:, 1] << 16 | table[:, 2] << 8 | table[:, 3]
    free = 32 - table[:, 4]
    if (addresses & ((np.int64(1) << free) - 1)).any():
        return None
    return (addresses << _FREE_BITS) | free


def unite(codes: Codes, groups: npt.NDArray[np.int64], count: int) -> Unions:
    """Return the union of each group's prefixes: prefix i is of group `groups[i]` < `count`.

    Prefixes come in any order, overlap and repeat as they like.
    """
    if count >= _MAX_GROUPS:
        raise ValueError(f"{count} sets are more than fit; unite them in parts")
    starts = codes >> _FREE_BITS
    ends = starts + (np.int64(1) << (codes & 63))
    base = groups << _RUN_BITS
    order = np.argsort(base | starts)
    starts, ends, base = starts[order], ends[order], base[order]
    # Ends are counted on from group to group, so that one running maximum serves all groups.
    reach = np.maximum.accumulate(base + ends)
    begins = np.ones(len(starts), dtype=bool)
    begins[1:] = (base + starts)[1:] > reach[:-1]
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(starts)) - 1 if len(first) else first
    run_groups = base[first] >> _RUN_BITS
    run_starts, run_ends = starts[first], reach[last] - base[first]
    pieces, runs = _prefixes(run_starts, run_ends)
    given = order[first][runs]
    edges = np.arange(count + 1)
    return Unions(
        pieces,
        np.where(codes[given] == pieces, given, -1),
        np.searchsorted(run_groups[runs], edges),
        run_starts,
        run_ends,
        np.searchsorted(run_groups, edges),
    )


def texts_of(
    unions: Unions, texts: Objects, places: npt.NDArray[np.int64], printed: dict[int, str]
) -> list[str]:
    """Return the text of `unions.codes`.

    Prefix i of those that were united is written `texts[places[i]]`; the last of `texts` is
    nobody's.  `printed` keeps the others, for the next call.
    """
    old = unions.given >= 0
    result = texts[np.where(old, places[unions.given], len(texts) - 1)]
    fresh = np.flatnonzero(~old)
    if len(fresh):
        codes = unions.codes[fresh]
        free = codes & 63
        # Without the bits that are zero in any case dictionaries spread them far better.
        keys = (codes >> _FREE_BITS >> free << _FREE_BITS | free).tolist()
        for key, code in zip(keys, codes.tolist(), strict=True):
            if key not in printed:
                printed[key] = _text(code)
        result[fresh] = [printed[key] for key in keys]
    return cast("list[str]", result.tolist())


def _prefixes(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> tuple[Codes, npt.NDArray[np.int64]]:
    """Return the fewest prefixes that cover each run, in order, and the runs' places."""
    found: list[Codes] = []
    owners: list[npt.NDArray[np.int64]] = []
    runs = np.arange(len(starts))
    left, stop = starts, ends
    while len(left):
        # The largest aligned block at `left` that doesn't pass `stop`; 0 is aligned to all.
        aligned = _highest_bit(np.where(left == 0, np.int64(1) << 32, left & -left))
        free = np.minimum(aligned, _highest_bit(stop - left))
        found.append(left << _FREE_BITS | free)
        owners.append(runs)
        left = left + (np.int64(1) << free)
        rest = left < stop
        left, stop, runs = left[rest], stop[rest], runs[rest]
    if len(found) <= 1:
        return (found[0], owners[0]) if found else (starts, runs)
    runs = np.concatenate(owners)
    # Within a run pieces were found in address order, so a stable sort by run is enough.
    order = np.argsort(runs, kind="stable")
    return np.concatenate(found)[order], runs[order]


def _highest_bit(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the place of the highest bit of each (1 to 2^52; frexp is exact there)."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1


def _text(code: int) -> str:
    address = (code >> _FREE_BITS).to_bytes(4, "big")
    return f"{socket.inet_ntop(socket.AF_INET, address)}/{32 - (code & 63)}"


def parse_hosts(texts: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """Return IPv4 addresses in canonical form (`10.0.0.1`) as numbers; None if one of them isn't.

    Meant for some ten thousand at a time.
    """
    data = np.frombuffer(("\n".join(texts) + "\n").encode(), dtype=np.uint8)
    digits = data - np.uint8(ord("0"))  # wraps round below "0"
    ends = np.flatnonzero(digits > 9)
    if len(ends) != len(texts) * 4 or not (data[ends].reshape(-1, 4) == _DOTS).all():
        return None
    numbers = _numbers(digits, ends)
    if numbers is None:
        return None
    table = numbers.reshape(-1, 4)
    if table.max(initial=0) > 255:
        return None
    return table[:, 0] << 24 | table[:, 1] << 16 | table[:, 2] << 8 | table[:, 3]


def _numbers(
    digits: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64] | None:
    """Return the numbers of one to three digits that end before `ends`; None if one isn't so."""
    lengths = np.diff(ends, prepend=-1) - 1
    if not len(ends) or lengths.min() < 1 or lengths.max() > _LENGTHS:
        return None
    numbers = np.zeros(len(ends), dtype=np.int64)
    for place, ten in enumerate(_TENS):
        there = lengths > place
        # Of a shorter number this reads what is before it, and drops it.
        digit = digits[np.maximum(ends - 1 - place, 0)]
        numbers += np.where(there, digit, 0).astype(np.int64) * ten
        if ((lengths == place + 1) & (digit == 0) & (place > 0)).any():
            return None  # a leading zero
    return numbers
