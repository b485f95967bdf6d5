"""Clocks that jump or differ: order comes from revisions, tokens have a minute's leeway, timers are
monotonic.

Elsewhere: tokens in tests/unit/shared/auth/test_tokens.py (the leeway, a clock that went back),
overrides' expiry in tests/unit/sdsp/test_steady.py and tests/unit/sdsp/tasks/
test_expire_overrides.py (a leap ahead is not believed), every mishap at once with clocks that
differ by hours in tests/simulation.
"""

import random
from datetime import timedelta

import pytest

from fsm.feed.acks import Heard
from sdsp.nodes.states import NodeState
from shared.backoff import Backoff
from shared.feed.connect import Connector
from shared.feed.wire import Position
from shared.tasks.group import Group
from tests.fakes.clock import VirtualClock
from tests.fakes.store import EPOCH
from tests.simulation.run import Plan, run_seed

HOUR = 3600.0


@pytest.mark.parametrize("seed", [205, 207])
def test_what_is_in_force_and_in_which_order_does_not_hang_on_clocks(seed: int) -> None:
    outcome = run_seed(seed, Plan(only=("jump", "kill", "cut"), mishaps=20, edits=10))

    assert not outcome.wrong, outcome.report()
    assert outcome.counts["clock jumps"] >= 2
    assert outcome.counts["frames"] >= 4


@pytest.mark.parametrize("seconds", [-24 * HOUR, -30.0, 30.0, 24 * HOUR])
async def test_a_connection_neither_ends_nor_lives_longer_because_the_clock_jumped(
    seconds: float,
) -> None:
    clock = VirtualClock()
    connector = Connector(
        peer="the FSM",
        clock=clock,
        backoff=Backoff(first=1.0, longest=2.0, source=random.Random(1)),
        silence=25.0,
    )
    sessions = 0

    async def session() -> None:
        nonlocal sessions
        sessions += 1
        for _ in range(3):
            await clock.sleep(10.0)
            connector.heard()
        await clock.sleep(HOUR)

    async with Group() as group:
        group.start(connector.run(session), name="connector")
        await clock.pass_time(5)
        clock.jump(seconds)
        await clock.pass_time(45)
        assert (sessions, connector.link.connected) == (1, True)

        await clock.pass_time(7)
        assert not connector.link.connected, "25 seconds of silence are 25 seconds"
        assert connector.link.error == "silent"


@pytest.mark.parametrize("hours", [1, 24])
def test_a_clock_set_back_shows_nobody_as_connected_who_is_gone(hours: int) -> None:
    before = EPOCH - timedelta(hours=hours)
    heard = Heard(EPOCH, Position("life-1", 1, "d", "v"))
    node = NodeState(connected=True, last_seen=EPOCH.isoformat())

    assert heard.is_connected(EPOCH)
    assert node.is_connected(EPOCH)
    assert heard.is_connected(EPOCH - timedelta(seconds=1)), "clocks differ by a little"
    assert not heard.is_connected(before)
    assert not node.is_connected(before)
