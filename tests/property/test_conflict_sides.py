"""Versions side by side show each field that differs, and who changed it as the merge has it."""

from hypothesis import given
from hypothesis import strategies as st

from shared.cli.conflicts.sides import RULES, changes, rows
from shared.policy.merging import differences, exempted, merge
from tests.property.test_merging import Spec, edited, parted, specs


def sides(base: Spec, local: Spec, inherited: Spec) -> dict[str, Spec]:
    return dict(
        zip(("base", "local", "global"), map(exempted, (base, local, inherited)), strict=True)
    )


def outermost(paths: set[str]) -> set[str]:
    """Leave out what lies within another path; `rules` alone is the order, and holds nothing."""
    return {
        path
        for path in paths
        if not any(
            other not in (path, RULES) and path.startswith((f"{other}.", f"{other}["))
            for other in paths
        )
    }


@given(parted())
def test_what_both_sides_changed_is_what_the_merge_calls_overlapping(
    versions: tuple[Spec, Spec, Spec],
) -> None:
    shown = rows(sides(*versions))
    overlaps = merge(*versions).overlaps
    assert {row.path for row in shown if row.changed == "both"} == set(overlaps)
    # They are what must be decided, so they stand first.
    assert all(row.changed == "both" for row in shown[: len(overlaps)])


@given(parted())
def test_every_field_that_a_side_changed_has_one_row_that_says_whose(
    versions: tuple[Spec, Spec, Spec],
) -> None:
    base, local, inherited = map(exempted, versions)
    mine, theirs = set(differences(base, local)), set(differences(base, inherited))
    shown = {row.path: row.changed for row in rows(sides(*versions)) if row.path != RULES}
    assert set(shown) == outermost((mine | theirs) - {RULES})
    for path, changed in shown.items():
        by_local, by_global = (
            any(f"{each}.".startswith(f"{path}.") for each in side) for side in (mine, theirs)
        )
        expected = {(True, False): {"local"}, (False, True): {"global"}}
        assert changed in expected.get((by_local, by_global), {"both", "alike"})


@given(specs, st.data())
def test_changes_tell_both_values_and_only_what_differs(before: Spec, data: st.DataObject) -> None:
    after = data.draw(edited(before) | specs)
    told = changes(before, after)
    assert {path for path, _, _ in told} == set(differences(before, after))
    assert all(old != new for _, old, new in told)
