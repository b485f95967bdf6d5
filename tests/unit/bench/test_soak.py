"""How a long run is judged."""

import random
from pathlib import Path

import pytest

from tests.soak.harness import Flat, Run, judge, slope


def run_of(values: list[float]) -> Run:
    run = Run(Path(), 300.0, {"memory": Flat("MiB", share=0.05, amount=10)}, say=str)
    for number, value in enumerate(values):
        run.sample(memory=value)
        run.times[-1] = number * 300.0 / len(values)
    return run


def test_noise_and_spikes_are_no_growth() -> None:
    chance = random.Random(1)
    values = [200 + chance.uniform(-5, 5) + 150 * (chance.random() < 0.1) for _ in range(150)]
    [verdict] = judge(run_of(values))
    assert verdict.flat
    assert verdict.most > 300


def test_slow_growth_is_seen_behind_noise() -> None:
    chance = random.Random(1)
    values = [200 + 0.2 * number + chance.uniform(-5, 5) for number in range(150)]
    [verdict] = judge(run_of(values))
    assert not verdict.flat
    assert verdict.growth == pytest.approx(20, rel=0.2)


def test_what_fills_at_the_beginning_is_not_judged() -> None:
    [verdict] = judge(run_of([min(200.0, 50 + 4.0 * number) for number in range(150)]))
    assert verdict.flat


def test_too_few_samples_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="too few"):
        judge(run_of([1.0, 2.0, 3.0]))


def test_the_slope_is_the_median_of_all_pairs() -> None:
    assert slope([0, 1, 2, 3, 4], [0, 1, 2, 3, 99]) == pytest.approx(1.0)
