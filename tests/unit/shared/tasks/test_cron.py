"""When a schedule is due: time zones, days, and the two nights on which clocks change."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model.schedule import parse_cron, parse_zone
from shared.tasks.cron import Schedule


def times(cron: str, zone: str, start: str, count: int) -> list[str]:
    schedule, found = Schedule.parse(cron, zone), []
    at = datetime.fromisoformat(start).replace(tzinfo=UTC)
    for _ in range(count):
        following = schedule.after(at)
        assert following is not None
        at = following
        found.append(at.strftime("%m-%dT%H:%M"))
    return found


def test_a_schedule_is_in_its_own_time_zone() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-01-01T00:00", 2) == [
        "01-01T01:30",
        "01-02T01:30",
    ]
    assert times("30 2 * * *", "Asia/Kolkata", "2026-01-01T00:00", 1) == ["01-01T21:00"]


def test_the_time_itself_is_not_after_itself() -> None:
    assert times("30 2 * * *", "UTC", "2026-01-01T02:30", 1) == ["01-02T02:30"]
    assert times("30 2 * * *", "UTC", "2026-01-01T02:29:59.999999", 1) == ["01-01T02:30"]


def test_a_time_that_the_clock_leaps_over_comes_as_much_later() -> None:
    # In Berlin, 02:00 to 03:00 of 2026-03-29 isn't there: 01:30 UTC is 03:30 of the summer.
    assert times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2) == [
        "03-29T01:30",
        "03-30T00:30",
    ]


def test_a_time_that_comes_twice_counts_once() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == [
        "10-25T00:30",
        "10-26T01:30",
    ]


def test_a_schedule_of_every_hour_follows_the_passing_of_time() -> None:
    assert times("0 * * * *", "Europe/Berlin", "2026-10-24T23:30", 3) == [
        "10-25T00:00",
        "10-25T01:00",
        "10-25T02:00",
    ]
    assert times("0 * * * *", "Europe/Berlin", "2026-03-29T00:30", 2) == [
        "03-29T01:00",
        "03-29T02:00",
    ]


def test_weekdays_count_from_sunday_as_in_crontab() -> None:
    assert times("0 4 * * 0", "UTC", "2026-11-23T00:00", 1) == ["11-29T04:00"]  # a Sunday
    assert times("0 4 * * 1", "UTC", "2026-11-24T00:00", 1) == ["11-30T04:00"]


def test_either_of_two_restricted_days_suffices() -> None:
    assert times("0 4 13 * fri", "UTC", "2026-11-01T00:00", 3) == [
        "11-06T04:00",
        "11-13T04:00",
        "11-20T04:00",
    ]
    assert times("0 4 15 * fri", "UTC", "2026-11-14T00:00", 2) == ["11-15T04:00", "11-20T04:00"]


def test_the_29th_of_february_is_found_across_a_century() -> None:
    schedule = Schedule.parse("0 0 29 2 *", "UTC")
    assert schedule.after(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)


_BOUNDS = (datetime(2020, 1, 1), datetime(2035, 1, 1))  # noqa: DTZ001 - Hypothesis wants them naive
MOMENTS = st.datetimes(*_BOUNDS, timezones=st.just(UTC))
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca")


@pytest.mark.parametrize("zone", ZONES)
@given(moment=MOMENTS, minute=st.integers(0, 59), hour=st.integers(0, 23))
def test_a_daily_schedule_comes_once_on_each_day(
    zone: str, moment: datetime, minute: int, hour: int
) -> None:
    schedule, found = Schedule(parse_cron(f"{minute} {hour} * * *"), zone), [moment]
    for _ in range(4):
        following = schedule.after(found[-1])
        assert following is not None
        found.append(following)
    days = [each.astimezone(parse_zone(zone)).date() for each in found[1:]]
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))
    assert found[1] - moment <= timedelta(hours=26)


def test_midnight_of_the_day_behind_a_leap_is_not_lost() -> None:
    # APScheduler's own arithmetic in a zone goes from the 9th to the 11th.
    assert times("0 0 * * *", "America/St_Johns", "2025-03-09T04:00", 2) == [
        "03-10T02:30",
        "03-11T02:30",
    ]
