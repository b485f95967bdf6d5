"""The simulation finds mistakes: each planted one is noticed within a few seeds."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.run import Plan, run_seed

MOST = 10


@pytest.mark.parametrize(
    ("bug", "plan"), [pytest.param(*each, id=each[0].__name__) for each in BUGS.items()]
)
def test_a_planted_mistake_is_noticed(bug: Callable[[], Any], plan: Plan) -> None:
    for seed in range(1, MOST + 1):
        with bug():
            outcome = run_seed(seed, plan)
        if outcome.wrong:
            assert f"--start {seed}" in outcome.report()
            return
    pytest.fail(f"{MOST} seeds did not notice")
