from pyroaring import BitMap

from shared.algebra.labels import LabelIndex


def index() -> LabelIndex:
    return LabelIndex([{"tier": "web", "pci": "yes"}, {"tier": "db"}, {}])


def test_no_terms_select_everything() -> None:
    assert list(index().select([])) == [0, 1, 2]


def test_negative_terms_hold_without_the_key() -> None:
    assert list(index().select([("tier", "NotIn", ["db"])])) == [0, 2]
    assert list(index().select([("tier", "DoesNotExist", [])])) == [2]


def test_terms_are_anded_and_bounded() -> None:
    terms = [("tier", "In", ["web", "db"]), ("pci", "DoesNotExist", [])]
    assert list(index().select(terms)) == [1]
    assert list(index().select(terms, among=BitMap([0, 2]))) == []


def test_a_selection_does_not_change_with_the_index() -> None:
    found = index()
    before = found.select([("tier", "Exists", [])])
    found.discard(0)
    found.put(1, {})
    assert list(before) == [0, 1]
    assert list(found.select([("tier", "Exists", [])])) == []


def test_values_that_nobody_has_any_more_take_no_room() -> None:
    index = LabelIndex([{"pod": "0"}])
    for number in range(20):
        index.put(0, {"pod": f"{number}"})
    assert list(index.select([("pod", "In", ["19"])])) == [0]
    assert not index.select([("pod", "In", ["3"])])
    assert len(index._by_value) == 1
