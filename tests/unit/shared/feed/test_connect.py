import asyncio
import random

import pytest

from shared.backoff import Backoff
from shared.errors import Unreachable
from shared.feed.connect import Connector
from shared.tasks.group import Group
from tests.fakes.clock import VirtualClock


class Always(random.Random):
    """Draws the longest delay each time, so that it can be foretold."""

    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def connector(clock: VirtualClock) -> Connector:
    backoff = Backoff(first=1.0, longest=8.0, source=Always())
    return Connector(peer="the peer", clock=clock, backoff=backoff, silence=25.0)


async def test_failures_are_spaced_further_and_further(
    clock: VirtualClock, connector: Connector
) -> None:
    tries: list[float] = []

    async def session() -> None:
        tries.append(clock.monotonic())
        raise Unreachable("no way")

    async with Group() as group:
        group.start(connector.run(session), name="connector")
        await clock.pass_time(30)
    assert tries == [0, 1, 3, 7, 15, 23]
    assert connector.link.failures == 6
    assert connector.link.error == "unreachable"


async def test_a_sign_of_life_makes_the_delay_short_again(
    clock: VirtualClock, connector: Connector
) -> None:
    tries: list[float] = []

    async def session() -> None:
        tries.append(clock.monotonic())
        if len(tries) == 4:
            connector.heard()
        raise Unreachable("no way")

    async with Group() as group:
        group.start(connector.run(session), name="connector")
        await clock.pass_time(9)
    assert tries == [0, 1, 3, 7, 8]


async def test_a_silent_peer_is_taken_for_dead(clock: VirtualClock, connector: Connector) -> None:
    """Half-open: the connection looks alive and nothing comes."""
    sessions = 0

    async def session() -> None:
        nonlocal sessions
        sessions += 1
        connector.heard()
        await asyncio.Event().wait()

    async with Group() as group:
        group.start(connector.run(session), name="connector")
        await clock.pass_time(24)
        assert connector.link.connected
        assert sessions == 1
        await clock.pass_time(1.5)
        assert not connector.link.connected
        assert connector.link.error == "silent"
        await clock.pass_time(1)
        assert sessions == 2


async def test_a_session_that_has_heard_nothing_is_not_connected(
    clock: VirtualClock, connector: Connector
) -> None:
    async with Group() as group:
        group.start(connector.run(asyncio.Event().wait), name="connector")
        await clock.pass_time(10)
        assert not connector.link.connected
        connector.heard()
        assert connector.link.connected
        assert connector.link.since == connector.link.heard_at == clock.now()


async def test_a_mistake_of_ours_is_not_taken_for_a_bad_connection(connector: Connector) -> None:
    async def session() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await connector.run(session)
