"""Which removals wait for a person."""

import pytest

from sdsp.upstream.removals import is_large, missing_in, record_name, removed_rules
from shared.ids import Key

A, B, C = (Key("Network", "common", "federation", name) for name in "ABC")


@pytest.mark.parametrize(
    ("removed", "enforced", "large"),
    [
        pytest.param(9, 9, False, id="fewer than ten, even if all"),
        pytest.param(10, 40, False, id="ten, a quarter exactly"),
        pytest.param(10, 39, True, id="ten, more than a quarter"),
        pytest.param(100, 1000, False, id="many, but few of all"),
        pytest.param(0, 0, False, id="nothing of nothing"),
    ],
)
def test_a_step_is_large_from_ten_rules_and_a_quarter(
    removed: int, enforced: int, large: bool
) -> None:
    assert is_large(removed=removed, enforced=enforced) is large


def test_what_a_snapshot_neither_contains_nor_buries_is_missing() -> None:
    assert missing_in([A, B, C], listed={A}, buried={B}) == [C]


def test_a_rule_that_only_moves_is_not_removed() -> None:
    assert removed_rules([("p", "a"), ("p", "b")], [("p", "b"), ("p", "c")]) == 1


def test_keys_with_equal_parts_in_other_places_have_names_of_their_own() -> None:
    keys = {
        Key("Network", "a", "region/b", "c"),
        Key("Network", "a", "region/c", "b"),
        Key("Network", "b", "region/a", "c"),
    }
    assert len({record_name(key) for key in keys}) == len(keys)
