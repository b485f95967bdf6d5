"""The simulation finds mistakes: each planted one is noticed within a few seeds."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.run import run_seed

MOST = 25


@pytest.mark.parametrize("bug", [pytest.param(each, id=each.__name__) for each in BUGS])
def test_a_planted_mistake_is_noticed(bug: Callable[[], Any]) -> None:
    for seed in range(1, MOST + 1):
        with bug():
            outcome = run_seed(seed)
        if outcome.wrong:
            assert f"--start {seed}" in outcome.report()
            return
    pytest.fail(f"{MOST} seeds did not notice")
