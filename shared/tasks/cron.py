"""When a cron schedule is due: the one place that knows APScheduler.

Only its arithmetic is used (CronTrigger).  Its schedulers read the machine's clock themselves and
can't be handed one; who runs jobs here asks after(), in passes of a reconciler (tasks.loop), which
gives what a scheduler would: missed times fold into one run, and no job runs beside itself.

Around a change of clocks: a time that is skipped comes as much later as the clock leaps
(02:30 that isn't there is 03:30); one that comes twice counts once, the first time, unless the
schedule runs every hour or every few: that follows the passing of time.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, Self

from apscheduler.triggers.cron import CronTrigger

from shared.model.schedule import Cron, parse_cron, parse_zone

# APScheduler counts weekdays from Monday; names mean the same to everybody.
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

# The 29th of February may be eight years away (1896 to 1904, 2096 to 2104).
_HORIZON: Final = timedelta(days=9 * 366)

# No clock is moved by more; and whether it is moved is looked for a little around.
_LEAP: Final = timedelta(hours=3)
_NEAR: Final = timedelta(days=2)


class Schedule:
    """A cron schedule in a time zone."""

    def __init__(self, cron: Cron, timezone: str) -> None:
        self._cron = cron
        self._zone = parse_zone(timezone)

    @classmethod
    def parse(cls, cron: str, timezone: str) -> Self:
        """Read both as people write them; ValueError."""
        return cls(parse_cron(cron), timezone)

    def after(self, moment: datetime) -> datetime | None:
        """Return the first time later than `moment`, in UTC; None if none comes for years."""
        found = [each for each in (self._next(days, moment) for days in self._days()) if each]
        return min(found, default=None)

    def _days(self) -> list[dict[str, str]]:
        """Return the terms of days, of which one must hold."""
        terms = []
        if self._cron.days is not None:
            terms.append({"day": _listed(self._cron.days)})
        if self._cron.weekdays is not None:
            names = ",".join(_WEEKDAYS[number] for number in self._cron.weekdays)
            terms.append({"day_of_week": names})
        return terms or [{}]

    def _next(self, days: dict[str, str], moment: datetime) -> datetime | None:
        trigger = CronTrigger(
            minute=_listed(self._cron.minutes),
            hour=_listed(self._cron.hours),
            month=_listed(self._cron.months),
            second="0",
            # As if wall time were UTC: of itself it loses a day behind a leap of the clock.
            timezone=UTC,
            end_date=moment + _HORIZON,
            **days,
        )
        local = moment.astimezone(self._zone)
        near = [(moment + each).astimezone(self._zone).utcoffset() for each in (-_NEAR, _NEAR)]
        reach = timedelta() if near[0] == near[1] else _LEAP
        wall = local.replace(tzinfo=UTC) - reach
        found: list[datetime] = []
        last: datetime | None = None
        while last is None or wall < last:
            following = trigger.get_next_fire_time(None, wall + timedelta(microseconds=1))
            if following is None:
                break
            wall = following
            found += [each for each in self._moments(wall) if each > moment]
            if found and last is None:
                last = wall + reach
        return min(found, default=None)

    def _moments(self, wall: datetime) -> list[datetime]:
        """Return the moments, in UTC, at which clocks show a time."""
        shown = wall.replace(tzinfo=self._zone)
        if not self._cron.every_hour:
            return [shown.astimezone(UTC)]
        both = {shown.replace(fold=fold).astimezone(UTC) for fold in (0, 1)}
        return [
            each
            for each in sorted(both)
            if each.astimezone(self._zone).replace(tzinfo=UTC, fold=0) == wall
        ]


def _listed(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))
