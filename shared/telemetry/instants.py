"""Times as text (RFC 3339) to microseconds since 1970: one, or very many at once."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

Instants = npt.NDArray[np.int64]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_PLAIN: Final = np.frombuffer(b"0000-00-00T00:00:00", dtype=np.uint8)
_SEPARATORS: Final = (4, 7, 10, 13, 16)
_KEPT: Final = 6  # digits of a fraction: microseconds
_FRACTION: Final = 9
_LAST: Final = (23, 59, 59)


def instant_of(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def parse_instant(text: str) -> int:
    """Return one time; ValueError if it is none, or says no zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} says no time zone; write a time as 2027-03-31T00:00:00Z")
    try:
        return instant_of(found.astimezone(UTC))
    except OverflowError as exc:
        raise ValueError(f"{text!r} is beyond all calendars in UTC") from exc


def parse_instants(texts: Sequence[str]) -> Instants | None:
    """Return times that are all written alike, in UTC: `2027-03-31T00:00:00Z`, or with up to nine
    digits behind a point, of which six are kept.

    None if one of them isn't so; who cares which asks parse_instant.
    """
    joined = "".join(texts).encode()
    size = len(texts[0]) if texts else 0
    fraction = size - len(_PLAIN) - 2
    plain = fraction == -1
    if not plain and not 1 <= fraction <= _FRACTION:
        return None
    if len(joined) != size * len(texts) or set(map(len, texts)) != {size}:
        return None
    table = np.frombuffer(joined, dtype=np.uint8).reshape(-1, size)
    digits = table - np.uint8(ord("0"))  # wraps round below "0"
    marks = [*_SEPARATORS, size - 1] if plain else [*_SEPARATORS, len(_PLAIN), size - 1]
    expected = b"--T::Z" if plain else b"--T::.Z"
    if (table[:, marks] != np.frombuffer(expected, dtype=np.uint8)).any():
        return None
    others = np.setdiff1d(np.arange(size), marks)
    if (digits[:, others] > 9).any():
        return None
    return _instants(digits, fraction=0 if plain else fraction)


def _instants(digits: npt.NDArray[np.uint8], *, fraction: int) -> Instants | None:
    def number(start: int, count: int) -> Instants:
        found = np.zeros(len(digits), dtype=np.int64)
        for place in range(start, start + count):
            found = found * 10 + digits[:, place]
        return found

    year, month, day = number(0, 4), number(5, 2), number(8, 2)
    clock = [number(place, 2) for place in (11, 14, 17)]
    if any((part > last).any() for part, last in zip(clock, _LAST, strict=True)):
        return None
    if (year < 1).any() or (month < 1).any() or (month > 12).any() or (day < 1).any():
        return None
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    days = (months + 1).astype("datetime64[D]").astype(np.int64) - first
    if (day > days).any():
        return None
    seconds = (first + day - 1) * 86_400 + clock[0] * 3600 + clock[1] * 60 + clock[2]
    kept = min(fraction, _KEPT)
    below = number(len(_PLAIN) + 1, kept) * 10 ** (_KEPT - kept)
    instants: Instants = seconds * 1_000_000 + below
    return instants
