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
            timezone=self._zone,
            end_date=moment + _HORIZON,
            **days,
        )
        at = moment
        while True:
            # It rounds up to the next second, so the next microsecond is later than `moment`.
            found = trigger.get_next_fire_time(None, at.astimezone(UTC) + timedelta(microseconds=1))
            if found is None:
                return None
            if found.fold == 0 or self._cron.every_hour:
                return datetime.fromtimestamp(found.timestamp(), UTC)
            at = found


def _listed(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))
