"""Cron schedules as people write them: five fields, in a time zone.  Pure.

As in crontab(5): minute, hour, day of month, month, day of week; `*`, numbers, ranges, lists and
steps; months and weekdays by name as well; Sunday is 0 and 7.  If both days are restricted, either
of them suffices.  Shorthands such as `@daily` are not taken.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

_MONTHS: Final = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_ITEM: Final = re.compile(
    r"(?:\*|(?P<first>[0-9]{1,2}|[A-Za-z]{3})(?:-(?P<last>[0-9]{1,2}|[A-Za-z]{3}))?)"
    r"(?:/(?P<step>[0-9]{1,2}))?"
)
_LENGTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    lowest: int
    highest: int
    names: Mapping[str, int]


_FIELDS: Final = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of month", 1, 31, {}),
    _Field("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    _Field("day of week", 0, 7, {name: number for number, name in enumerate(_WEEKDAYS)}),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule's fields as sorted numbers; weekdays count from Sunday, 0.

    `days` and `weekdays` are None if that field says `*`.  `every_hour` says that the hour was
    written with a `*`: such a schedule follows the passing of time, others the hands of a clock.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...] | None
    months: tuple[int, ...]
    weekdays: tuple[int, ...] | None
    every_hour: bool


@lru_cache(maxsize=256)
def parse_cron(text: str) -> Cron:
    """Return a schedule's fields; ValueError says which is wrong."""
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            f"{text[:80]!r} has {len(parts)} fields; a schedule has five: minute, hour, day of "
            "month, month, day of week, for example '30 2 * * *'"
        )
    minutes, hours, days, months, weekdays = (
        _numbers(field, part) for field, part in zip(_FIELDS, parts, strict=True)
    )
    any_day, any_weekday = parts[2].startswith("*"), parts[4].startswith("*")
    cron = Cron(
        minutes=minutes,
        hours=hours,
        days=None if any_day and parts[2] == "*" else days,
        months=months,
        weekdays=None if any_weekday and parts[4] == "*" else _from_sunday(weekdays),
        every_hour=parts[1].startswith("*"),
    )
    if cron.days and cron.weekdays is None and not _comes(cron.days, months):
        raise ValueError(f"{text!r} names a day that its months don't have")
    return cron


def parse_zone(text: str) -> ZoneInfo:
    """Return a time zone of the IANA database; ValueError if there is none."""
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ValueError(f"{text[:80]!r} is no time zone, such as Europe/Berlin") from exc


def _numbers(field: _Field, text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{item[:40]!r} is no {field.name} of a schedule")
        first, last = field.lowest, field.highest
        if match["first"] is not None:
            first = _number(field, match["first"])
            last = _number(field, match["last"]) if match["last"] else first
            if match["step"] and not match["last"]:
                last = field.highest
        if last < first:
            raise ValueError(f"the range {item!r} of the {field.name} ends before it begins")
        step = int(match["step"] or 1)
        if step == 0:
            raise ValueError(f"the step of {item!r} must be at least 1")
        found.update(range(first, last + 1, step))
    return tuple(sorted(found))


def _number(field: _Field, text: str) -> int:
    number = int(text) if text.isdecimal() else field.names.get(text.lower())
    if number is None or not field.lowest <= number <= field.highest:
        raise ValueError(
            f"{text!r} is no {field.name}: it lies between {field.lowest} and {field.highest}"
        )
    return number


def _from_sunday(weekdays: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({number % 7 for number in weekdays}))


def _comes(days: tuple[int, ...], months: tuple[int, ...]) -> bool:
    return any(days[0] <= _LENGTHS[month - 1] for month in months)


def _checked_cron(text: str) -> str:
    parse_cron(text)
    return text


def _checked_zone(text: str) -> str:
    parse_zone(text)
    return text


CronText = Annotated[str, AfterValidator(_checked_cron)]
"""A cron schedule of five fields."""

ZoneName = Annotated[str, AfterValidator(_checked_zone)]
"""The name of an IANA time zone."""
