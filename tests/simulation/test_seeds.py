"""Whole federations in one process, by seeds: what must hold after any history.

More seeds, and how to see one again: `python -m tests.simulation --help`.
"""

import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.run import DISAGREEING, Outcome, run_seed

SEEDS = range(1, 51)
DISAGREEING_SEEDS = range(1, 25)
_SEVERAL = 15
OUTCOMES: dict[int, Outcome] = {}
OUTCOMES_DISAGREEING: dict[int, Outcome] = {}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_promised_holds_after_every_history(seed: int) -> None:
    outcome = OUTCOMES[seed] = run_seed(seed)

    assert not outcome.wrong, outcome.report()


@pytest.mark.parametrize("seed", DISAGREEING_SEEDS)
def test_no_edit_is_lost_and_every_disagreement_is_merged_or_listed_until_it_is_decided(
    seed: int,
) -> None:
    """Both sides edit the same policies, sites are cut off and killed, and their people decide."""
    outcome = OUTCOMES_DISAGREEING[seed] = run_seed(seed, DISAGREEING)

    assert not outcome.wrong, outcome.report()


def test_the_histories_of_disagreement_carry_enough_to_prove_something() -> None:
    few = len(OUTCOMES_DISAGREEING) < _SEVERAL // 2
    outcomes = (
        [run_seed(seed, DISAGREEING) for seed in DISAGREEING_SEEDS[:4]]
        if few
        else list(OUTCOMES_DISAGREEING.values())
    )
    carried = sum((Counter(each.counts) for each in outcomes), Counter())
    idle = [each.seed for each in outcomes if each.lacking]

    assert 2 * len(idle) <= len(outcomes), f"seeds {idle} carried too little"
    for what in ("frames", "decisions", "writes", "mishaps"):
        assert carried[what] >= 2 * len(outcomes), (what, carried)
    for proposal in ("acceptGlobal", "keepLocal", "merge"):
        assert carried[f"decisions {proposal}"], carried


def test_the_histories_carry_enough_to_prove_something() -> None:
    # Run by itself, or beside other processes, it has few of them.
    few = len(OUTCOMES) < _SEVERAL
    outcomes = [run_seed(seed) for seed in SEEDS[:4]] if few else list(OUTCOMES.values())
    carried = sum((Counter(each.counts) for each in outcomes), Counter())
    idle = [each.seed for each in outcomes if each.lacking]

    assert 2 * len(idle) <= len(outcomes), f"seeds {idle} carried too little"
    for what in ("frames", "snapshots", "bookmarks", "enforced", "writes", "mishaps", "kills"):
        assert carried[what] >= len(outcomes), (what, carried)


def test_a_seed_gives_the_same_history_again() -> None:
    first, second = run_seed(11), run_seed(11)

    assert first.lines == second.lines
    assert first.trace == second.trace
    assert run_seed(12).trace != first.trace


def test_a_seed_gives_the_same_history_in_another_process() -> None:
    here = run_seed(13)

    script = "from tests.simulation.run import run_seed; print(run_seed(13).trace)"
    there = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )

    assert there.stdout.strip() == here.trace
