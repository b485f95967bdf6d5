"""The simulation finds mistakes: each planted one is noticed within a few seeds."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.run import Plan, run_seed

MOST = 10


@pytest.mark.parametrize(
    ("bug", "plan", "first"),
    [pytest.param(bug, *how, id=bug.__name__) for bug, how in BUGS.items()],
)
def test_a_planted_mistake_is_noticed(bug: Callable[[], Any], plan: Plan, first: int) -> None:
    for seed in range(first, first + MOST):
        with bug():
            outcome = run_seed(seed, plan)
        if outcome.wrong:
            assert outcome.command in outcome.report()
            return
    pytest.fail(f"{MOST} seeds did not notice")
