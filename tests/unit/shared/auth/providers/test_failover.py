from shared.auth.providers.failover import PAUSE, Failover, ServerFailed
from tests.fakes.clock import VirtualClock


def make() -> tuple[Failover, VirtualClock]:
    clock = VirtualClock()
    return Failover("ldap", ["a", "b", "c"], clock=clock), clock


def test_servers_are_asked_in_order() -> None:
    failover, _ = make()
    assert list(failover.attempt().servers()) == ["a", "b", "c"]


def test_a_server_that_failed_is_let_alone_for_a_while() -> None:
    failover, clock = make()
    failover.attempt().failed("a", ServerFailed("refused"))
    assert list(failover.attempt().servers()) == ["b", "c"]
    clock.advance(PAUSE - 0.1)
    assert list(failover.attempt().servers()) == ["b", "c"]
    clock.advance(0.1)
    assert list(failover.attempt().servers()) == ["a", "b", "c"]


def test_a_failure_that_says_nothing_of_the_next_login_ends_at_once() -> None:
    failover, _ = make()
    failover.attempt().failed("a", ServerFailed("odd", is_down=False))
    assert list(failover.attempt().servers()) == ["a", "b", "c"]


def test_a_server_that_works_again_is_asked_again() -> None:
    """Somebody who began to ask before it failed may find it well."""
    failover, _ = make()
    failover.attempt().failed("a", ServerFailed("refused"))
    failover.attempt().worked("a")
    assert list(failover.attempt().servers()) == ["a", "b", "c"]


def test_a_login_that_nobody_answers_names_all_with_their_reasons() -> None:
    failover, _ = make()
    failover.attempt().failed("a", ServerFailed("refused"))
    attempt = failover.attempt()
    for server in attempt.servers():
        attempt.failed(server, ServerFailed(f"{server} is slow", is_down=False))
    error = attempt.unreachable()
    assert error.code == "provider_unreachable"
    assert error.message.endswith("a: refused (just now); b: b is slow; c: c is slow")
