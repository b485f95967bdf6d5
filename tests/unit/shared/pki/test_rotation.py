from datetime import UTC, datetime, timedelta

import pytest

from shared.pki.rotation import Due, Validity, due, renew_at, spread_of

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = Validity(START, START + timedelta(days=1))


@pytest.mark.parametrize(
    ("hours", "answer"),
    [
        (-1, Due.NOTHING),
        (0, Due.NOTHING),
        (11.99, Due.NOTHING),
        (12, Due.RENEWAL),
        (15.99, Due.RENEWAL),
        (16, Due.ALERT),
        (23.99, Due.ALERT),
        (24, Due.EXPIRED),
        (100, Due.EXPIRED),
    ],
)
def test_renewal_is_due_at_half_and_an_alert_with_a_third_left(hours: float, answer: Due) -> None:
    assert due(DAY, now=START + timedelta(hours=hours)) is answer


def test_a_spread_moves_renewal_before_half_and_never_after() -> None:
    assert renew_at(DAY) == START + timedelta(hours=12)
    assert renew_at(DAY, spread=1.0) == START + timedelta(hours=12) - timedelta(days=1) / 20
    assert due(DAY, now=renew_at(DAY, spread=0.5), spread=0.5) is Due.RENEWAL
    assert due(DAY, now=renew_at(DAY, spread=0.5), spread=0.0) is Due.NOTHING


def test_serials_spread_renewals_evenly_and_the_same_after_a_restart() -> None:
    serials = [f"{number * 2654435761 % 2**32:x}" for number in range(1, 1001)]
    spreads = sorted(spread_of(serial) for serial in serials)
    assert spreads == sorted(spread_of(serial) for serial in serials)
    assert all(0 <= spread < 1 for spread in spreads)
    assert 0.2 < spreads[250] < 0.3
    assert 0.7 < spreads[750] < 0.8


def test_a_site_cut_off_at_the_worst_moment_still_issues_for_six_months() -> None:
    year = Validity(START, START + timedelta(days=365))
    just_before_renewal = renew_at(year) - timedelta(seconds=1)
    assert year.not_after - just_before_renewal > timedelta(days=182)
