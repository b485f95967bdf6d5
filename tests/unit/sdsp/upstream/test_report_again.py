"""What a site tells the FSM of staged policies, and when it tells all again."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from fsm.feed.reports import Report
from sdsp.staged.counts import StagedCounts
from sdsp.upstream.report import ReportUpstream
from tests.unit.sdsp.compiled import P, World, compiled
from tests.unit.sdsp.world import NOW, policy, rule, write


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


async def test_regression_a_new_connection_is_told_all_again_however_short_the_break(
    world: World,
) -> None:
    """An FSM that was put back within a report's period was never told what it had forgotten."""
    began = [NOW]
    upstream: Any = world.upstream
    task = ReportUpstream(
        view=world.view, upstream=upstream, connected=lambda: True, since=lambda: began[-1]
    )
    await world.inherit(1)
    await world.compile()
    await task.reconcile()
    await task.reconcile()
    assert len(world.upstream.sent) == 1

    began.append(NOW + timedelta(seconds=1))
    await task.reconcile()
    await task.reconcile()
    assert len(world.upstream.sent) == 2
    assert world.upstream.sent[0] == world.upstream.sent[1]
