from shared.algebra import intervals


def test_runs_that_touch_become_one() -> None:
    assert intervals.from_ranges([(5, 7), (1, 2), (3, 4)]) == (1, 8)


def test_a_hole_splits_a_run() -> None:
    assert intervals.difference((0, 10), (3, 4)) == (0, 3, 4, 10)
    assert intervals.difference((0, 10), (0, 10)) == ()


def test_the_end_of_a_run_is_no_member() -> None:
    assert intervals.contains((3, 5), 4)
    assert not intervals.contains((3, 5), 5)
    assert not intervals.overlaps((3, 5), (5, 6))
