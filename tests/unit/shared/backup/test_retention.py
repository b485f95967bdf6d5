"""Which backups may go."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shared.backup.retention import Kept, superfluous


def kept(*good: bool) -> list[Kept]:
    """Return backups from the oldest to the newest."""
    return [Kept(Path(f"b-{n}"), f"{n:04}", each) for n, each in enumerate(good)]


def names(found: list[Kept]) -> set[str]:
    return {each.path.name for each in found}


def test_the_newest_good_ones_stay() -> None:
    assert names(superfluous(kept(True, True, True, True), 2)) == {"b-0", "b-1"}


def test_a_damaged_one_doesnt_count_and_goes_with_its_elders() -> None:
    assert names(superfluous(kept(True, False, True, False, True), 2)) == {"b-0", "b-1"}


def test_where_there_are_too_few_good_ones_nothing_goes() -> None:
    assert superfluous(kept(True, False, False), 2) == []


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 5))
def test_the_last_good_one_never_goes(good: list[bool], retain: int) -> None:
    found = kept(*good)
    gone = names(superfluous(found, retain))
    stay = [each for each in found if each.path.name not in gone]
    assert sum(each.is_good for each in stay) == min(sum(good), max(retain, 1))
    assert all(each.stamp < min(s.stamp for s in stay) for each in found if each.path.name in gone)
