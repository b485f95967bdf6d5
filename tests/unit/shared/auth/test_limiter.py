import pytest

from shared.auth.limiter import Limiter
from shared.errors import TooManyRequests
from tests.fakes.clock import VirtualClock

LIMIT = "3 per minute"


def test_the_window_moves_with_the_clock() -> None:
    clock = VirtualClock()
    limiter = Limiter(clock=clock)
    for _ in range(3):
        limiter.check((LIMIT, "kim"))
        clock.advance(10)
    with pytest.raises(TooManyRequests) as caught:
        limiter.check((LIMIT, "kim"))
    assert 29 <= caught.value.retry_after <= 31

    clock.advance(caught.value.retry_after)
    limiter.check((LIMIT, "kim"))
    with pytest.raises(TooManyRequests):
        limiter.check((LIMIT, "kim"))


def test_names_do_not_disturb_each_other() -> None:
    limiter = Limiter(clock=VirtualClock())
    for _ in range(3):
        limiter.check((LIMIT, "kim"))
    limiter.check((LIMIT, "lee"))


def test_an_attempt_that_one_limit_refuses_counts_for_no_other() -> None:
    limiter = Limiter(clock=VirtualClock())
    for _ in range(3):
        limiter.check((LIMIT, "account:kim"))
    for _ in range(5):
        with pytest.raises(TooManyRequests):
            limiter.check(("1 per minute", "address:1"), (LIMIT, "account:kim"))
    limiter.check(("1 per minute", "address:1"))


def test_a_name_can_be_forgotten() -> None:
    limiter = Limiter(clock=VirtualClock())
    for _ in range(3):
        limiter.check((LIMIT, "kim"))
    limiter.forget(LIMIT, "kim")
    limiter.check((LIMIT, "kim"))


def test_made_up_names_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.auth.limiter._NAMES", 100)
    limiter = Limiter(clock=VirtualClock())
    for number in range(1000):
        limiter.check((LIMIT, f"name-{number}"))
    assert len(limiter._storage._attempts) == 100
