"""What a site tells the FSM of staged policies."""

from collections.abc import AsyncIterator

import pytest

from fsm.feed.reports import Report
from sdsp.staged.counts import StagedCounts
from tests.unit.sdsp.compiled import P, World, compiled
from tests.unit.sdsp.world import policy, rule, write


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with compiled() as made:
        yield made


async def test_names_and_counts_are_told_and_an_older_fsm_is_spared_them(world: World) -> None:
    counts = StagedCounts(world.store, world.states, newest=lambda: world.newest, clock=world.clock)
    world.view._staged = counts
    await world.inherit(1)
    await write(world.store, {P: policy(rule(), stage="staged")})
    await world.compile()
    await counts.reconcile()

    report = await world.told()
    assert Report.model_validate(report).staged[0].would_deny == 0
    (told,) = report["staged"]
    assert told.keys() == {
        *("kind", "tenant", "scope", "name", "since", "wouldDeny", "wouldAllow", "lastAt")
    }

    world.upstream.unknown = frozenset({"staged"})
    world.is_connected = False
    await world.task.reconcile()
    world.is_connected = True
    report = await world.told()
    assert "staged" not in report
    assert report["policies"]
