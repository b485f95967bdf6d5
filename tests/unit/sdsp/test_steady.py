"""The hour by which overrides expire."""

from datetime import timedelta

from sdsp.steady import LEAP, SteadyTime
from tests.fakes.clock import VirtualClock


def test_time_goes_on_with_the_wall_clock() -> None:
    clock = VirtualClock()
    time = SteadyTime(clock)
    clock.advance(3600)
    assert time.now() == clock.now()
    assert not time.has_leapt


def test_a_leap_ahead_is_not_believed_until_the_clock_is_right_again() -> None:
    clock = VirtualClock()
    time = SteadyTime(clock)
    start = time.now()

    clock.jump(365 * 86400)
    clock.advance(60)
    assert time.now() == start + timedelta(seconds=60)
    assert time.has_leapt

    clock.jump(-365 * 86400)
    assert time.now() == clock.now() == start + timedelta(seconds=60)
    assert not time.has_leapt


def test_a_leap_back_is_followed() -> None:
    clock = VirtualClock()
    time = SteadyTime(clock)
    clock.jump(-3600)
    assert time.now() == clock.now()


def test_a_small_correction_is_no_leap() -> None:
    clock = VirtualClock()
    time = SteadyTime(clock)
    clock.jump(LEAP.total_seconds())
    assert time.now() == clock.now()
    assert not time.has_leapt


def test_a_new_process_takes_the_clock_at_its_word() -> None:
    clock = VirtualClock()
    clock.jump(365 * 86400)
    assert SteadyTime(clock).now() == clock.now()
