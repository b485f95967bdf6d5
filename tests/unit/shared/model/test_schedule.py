"""Cron schedules as people write them."""

import pytest
from pydantic import ValidationError

from shared.model.schedule import parse_cron, parse_zone
from shared.model.settings_policies import BackupPolicy


def test_every_form_of_a_field_is_read() -> None:
    cron = parse_cron("*/20 1,3-5 1-31/10 jan,DEC mon-fri")
    assert cron.minutes == (0, 20, 40)
    assert cron.hours == (1, 3, 4, 5)
    assert cron.days == (1, 11, 21, 31)
    assert cron.months == (1, 12)
    assert cron.weekdays == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("sunday", ["0", "7", "sun", "Sun"])
def test_sunday_is_0_and_7(sunday: str) -> None:
    assert parse_cron(f"0 0 * * {sunday}").weekdays == (0,)


def test_a_range_may_end_on_sunday() -> None:
    assert parse_cron("0 0 * * 5-7").weekdays == (0, 5, 6)


def test_a_step_behind_a_number_goes_to_the_end() -> None:
    assert parse_cron("50/5 * * * *").minutes == (50, 55)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "five"),
        ("* * * *", "five"),
        ("@daily", "five"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day of week"),
        ("5-1 * * * *", "ends before"),
        ("*/0 * * * *", "at least 1"),
        ("* * * * fri-mon", "ends before"),
        ("last * * * *", "minute"),
        ("0 0 31 2,4 *", "don't have"),
        ("0 0 1;rm * *", "day of month"),
        ("٣ * * * *", "minute"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_field(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_cron(text)


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "../../etc/passwd", "/etc/localtime", "", "."])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        parse_zone(zone)


@pytest.mark.parametrize(
    "spec", [{"schedule": "nightly"}, {"schedule": "0 0 * * *", "timezone": "Mars/Olympus"}]
)
def test_a_backup_policy_with_such_a_schedule_is_refused(spec: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        BackupPolicy.model_validate(spec)
