"""The simulation finds mistakes: each planted one is noticed within a few seeds.

Every third is planted each time; all of them with HYPOTHESIS_PROFILE=soak.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.run import Plan, run_seed

MOST = 10
SHARE = 1 if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else 3


@pytest.mark.parametrize(
    ("bug", "plan", "first"),
    [pytest.param(bug, *how, id=bug.__name__) for bug, how in [*BUGS.items()][::SHARE]],
)
def test_a_planted_mistake_is_noticed(bug: Callable[[], Any], plan: Plan, first: int) -> None:
    for seed in range(first, first + MOST):
        with bug():
            outcome = run_seed(seed, plan)
        if outcome.wrong:
            assert outcome.command in outcome.report()
            return
    pytest.fail(f"{MOST} seeds did not notice")
