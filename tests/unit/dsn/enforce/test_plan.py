"""What is missing is done, in order, and nothing else."""

from dataclasses import replace

import pytest

from dsn.enforce.assignment import Version
from dsn.enforce.plan import Done, Step, compute_plan

WANTED = Version("first", 7, "a" * 64)
ALL = Done(applied=WANTED.hash, ended=WANTED.hash, acknowledged=WANTED, saved=WANTED)


def test_a_fresh_node_does_everything_in_order() -> None:
    assert compute_plan(Done(), WANTED) == (
        Step.APPLY,
        Step.END_CONNECTIONS,
        Step.ACKNOWLEDGE,
        Step.SAVE,
    )


def test_nothing_is_done_twice() -> None:
    assert compute_plan(ALL, WANTED) == ()


@pytest.mark.parametrize(
    ("done", "steps"),
    [
        (replace(ALL, applied=None), (Step.APPLY,)),
        (replace(ALL, ended=None), (Step.END_CONNECTIONS,)),
        (replace(ALL, acknowledged=None), (Step.ACKNOWLEDGE,)),
        (replace(ALL, saved=None), (Step.SAVE,)),
    ],
)
def test_an_interrupted_plan_goes_on_where_it_stopped(done: Done, steps: tuple[Step, ...]) -> None:
    assert compute_plan(done, WANTED) == steps


def test_another_generation_of_the_same_content_is_acknowledged_and_saved_only() -> None:
    assert compute_plan(ALL, replace(WANTED, generation=8)) == (Step.ACKNOWLEDGE, Step.SAVE)


def test_generations_compare_within_one_incarnation_only() -> None:
    assert replace(WANTED, generation=6).is_older_than(WANTED)
    assert not replace(WANTED, generation=6, incarnation="restored").is_older_than(WANTED)
    assert not WANTED.is_older_than(WANTED)
    assert not WANTED.is_older_than(None)
