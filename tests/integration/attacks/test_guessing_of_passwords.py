"""Guessing of passwords: per-account and per-address waits, and no way to shut anybody out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.auth.guessing import (
    FORGET,
    FREE,
    LONGEST,
    USUAL,
    GuessingGuard,
    PasswordRates,
    wait_after,
)
from shared.auth.limiter import origin_of
from shared.errors import TooManyRequests
from tests.fakes.clock import VirtualClock

ATTACKER, HOME = "198.51.100.1", "192.0.2.7"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def guard(clock: VirtualClock) -> GuessingGuard:
    return GuessingGuard(PasswordRates(), clock=clock)


def refusal(guard: GuessingGuard, name: str, address: str) -> float | None:
    """Return how long an attempt would have to wait; None if it may be made."""
    try:
        guard.attempt(name, address)
    except TooManyRequests as exc:
        return exc.retry_after
    return None


def test_each_failure_waits_twice_as_long_as_the_one_before(
    guard: GuessingGuard, clock: VirtualClock
) -> None:
    waits = []
    for _ in range(FREE + 9):
        wait = refusal(guard, "alice", ATTACKER)
        if wait is not None:
            waits.append(wait)
            clock.advance(wait)
            assert refusal(guard, "alice", ATTACKER) is None
    assert waits == [1, 2, 4, 8, 16, 32, LONGEST, LONGEST, LONGEST]


def test_a_guesser_gets_few_guesses_in_a_day(guard: GuessingGuard, clock: VirtualClock) -> None:
    made, end = 0, 86400.0
    while clock.monotonic() < end:
        wait = refusal(guard, "alice", ATTACKER)
        made += wait is None
        clock.advance(wait or 0.0)
    assert made <= 86400 / LONGEST + FREE + 10


def test_nobody_is_shut_out_by_what_others_try_in_his_name(
    guard: GuessingGuard, clock: VirtualClock
) -> None:
    """A thousand attackers fail in Alice's name all day; she comes from her usual place."""
    assert refusal(guard, "alice", HOME) is None
    guard.succeeded("alice", HOME)
    for round_ in range(20):
        for number in range(50):
            refusal(guard, "alice", f"198.51.{round_}.{number}")
        clock.advance(1.0)
        assert refusal(guard, "alice", HOME) is None
        guard.succeeded("alice", HOME)


def test_guessing_from_many_addresses_at_once_is_slowed(guard: GuessingGuard) -> None:
    made = sum(refusal(guard, "alice", f"198.51.100.{n}") is None for n in range(250))
    assert made == 30


def test_an_address_that_tries_many_names_is_slowed(guard: GuessingGuard) -> None:
    made = sum(refusal(guard, f"user-{n}", ATTACKER) is None for n in range(250))
    assert made == 60


def test_a_host_with_a_whole_ipv6_network_is_one(guard: GuessingGuard) -> None:
    made = sum(refusal(guard, f"user-{n}", f"2001:db8::{n:x}") is None for n in range(250))
    assert made == 60
    assert origin_of("::ffff:192.0.2.7") == origin_of("192.0.2.7") == "192.0.2.7"
    assert origin_of("2001:db8::1") == origin_of("2001:db8::ffff%eth0") == "2001:db8::/64"


def test_a_name_in_another_spelling_is_the_same_account(guard: GuessingGuard) -> None:
    spellings = ["Alice", "ALICE", "alice ", "\uff41lice", "aLiCe", "alicE"]
    assert sum(refusal(guard, name, ATTACKER) is None for name in spellings) == FREE


def test_attempts_at_once_count_before_they_end(guard: GuessingGuard) -> None:
    """None has failed yet when the last begins: they gain nothing by it."""
    assert [refusal(guard, "alice", ATTACKER) for _ in range(FREE)] == [None] * FREE
    assert refusal(guard, "alice", ATTACKER) == 1.0


def test_who_was_right_begins_anew(guard: GuessingGuard, clock: VirtualClock) -> None:
    for _ in range(FREE):
        guard.attempt("alice", HOME)
    clock.advance(1.0)
    guard.attempt("alice", HOME)
    guard.succeeded("alice", HOME)
    assert refusal(guard, "alice", HOME) is None


def test_what_nobody_could_judge_is_no_failure(guard: GuessingGuard) -> None:
    for _ in range(FREE * 3):
        guard.attempt("alice", HOME)
        guard.undecided("alice", HOME)
    assert refusal(guard, "alice", HOME) is None


def test_failures_are_forgotten_and_so_are_usual_places(
    guard: GuessingGuard, clock: VirtualClock
) -> None:
    for _ in range(FREE):
        guard.attempt("alice", HOME)
    clock.advance(FORGET)
    assert refusal(guard, "alice", HOME) is None
    guard.succeeded("alice", HOME)
    clock.advance(USUAL)
    for number in range(30):
        guard.attempt("alice", f"198.51.100.{number}")
    assert refusal(guard, "alice", HOME) is not None


def test_made_up_names_fill_no_memory(guard: GuessingGuard, clock: VirtualClock) -> None:
    for number in range(60_000):
        if not number % 50:
            clock.advance(60.0)
        guard.attempt(f"user-{number}", ATTACKER)
    assert len(guard._failures) <= 50_000


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_a_wait_never_shrinks_and_never_ends_anybody(counts: list[int]) -> None:
    waits = [wait_after(count) for count in sorted(counts)]
    assert waits == sorted(waits)
    assert 0 <= waits[0] <= waits[-1] <= LONGEST
