"""The three-way merge loses nobody's edit, invents nothing, and says where the sides overlap."""

import itertools
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.policy.merging import differences, exempted, merge

Spec = dict[str, Any]

NAMES = st.sampled_from([f"r{number}" for number in range(6)])


@st.composite
def rules(draw: st.DrawFn) -> list[Spec]:
    names = draw(st.lists(NAMES, unique=True, max_size=6))
    return [
        {
            "name": name,
            "action": draw(st.sampled_from(["allow", "deny"])),
            **draw(st.sampled_from([{}, {}, {"log": True}])),
        }
        for name in names
    ]


specs = st.fixed_dictionaries(
    {"rules": rules()},
    optional={
        "priority": st.sampled_from([1, 2, 3]),
        "sites": st.just({"matchLabels": {"env": "prod"}}),
        "ldap": st.dictionaries(st.sampled_from("abc"), st.integers(0, 1)),
    },
)


@st.composite
def edited(draw: st.DrawFn, spec: Spec) -> Spec:
    """A spec with a few edits: fields, rules changed, added, removed and moved."""
    after = {**spec, "rules": [dict(rule) for rule in spec["rules"]]}
    listed = after["rules"]
    for _ in range(draw(st.integers(0, 3))):
        match draw(st.sampled_from(["field", "change", "add", "remove", "move"])):
            case "field":
                after["priority"] = draw(st.sampled_from([1, 2, 3, 4]))
            case "change" if listed:
                draw(st.sampled_from(listed))["action"] = draw(st.sampled_from(["pass", "deny"]))
            case "add":
                name = draw(NAMES)
                if all(rule["name"] != name for rule in listed):
                    place = draw(st.integers(0, len(listed)))
                    listed.insert(place, {"name": name, "action": draw(st.sampled_from("xy"))})
            case "remove" if listed:
                listed.pop(draw(st.integers(0, len(listed) - 1)))
            case "move" if listed:
                rule = listed.pop(draw(st.integers(0, len(listed) - 1)))
                listed.insert(draw(st.integers(0, len(listed))), rule)
    return after


@st.composite
def parted(draw: st.DrawFn) -> tuple[Spec, Spec, Spec]:
    base = draw(specs)
    return base, draw(edited(base) | specs), draw(edited(base) | specs)


def names(spec: Mapping[str, Any]) -> list[str]:
    return [rule["name"] for rule in spec["rules"]]


def by_name(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {rule["name"]: rule for rule in spec["rules"]}


@given(specs, specs)
def test_who_changed_nothing_takes_the_other_side(base: Spec, other: Spec) -> None:
    for merged in (merge(base, other, base), merge(base, base, other), merge(base, other, other)):
        assert merged.spec == exempted(other)
        assert merged.is_clean


@given(parted())
def test_each_rule_is_what_the_definition_says(sides: tuple[Spec, Spec, Spec]) -> None:
    merged = merge(*sides)
    base, local, inherited = map(by_name, sides)
    result = by_name(merged.spec)
    for name in {*base, *local, *inherited}:
        versions = [side.get(name) for side in (base, local, inherited)]
        was, mine, theirs = versions
        path = f"rules[{name}]"
        overlaps = [each for each in merged.overlaps if each.startswith(path)]
        if theirs in (was, mine):
            expected, disputed = mine, list[str]()
        elif mine == was:
            expected, disputed = theirs, []
        elif was is None or mine is None or theirs is None:
            expected, disputed = mine, [path]
        else:
            expected, disputed = {}, []
            for field in ("name", "action", "log"):
                old, my, their = (each.get(field) for each in (was, mine, theirs))
                if my not in (their, old) and their != old:
                    disputed.append(f"{path}.{field}")
                value = their if my == old else my
                if value is not None:
                    expected[field] = value
        assert result.get(name) == expected
        assert overlaps == disputed


@given(parted())
def test_the_order_is_that_of_who_moved_rules(sides: tuple[Spec, Spec, Spec]) -> None:
    base, local, inherited = map(names, sides)
    merged = merge(*sides)
    order = names(merged.spec)
    common = [name for name in base if name in local and name in inherited]
    mine = [name for name in local if name in common]
    theirs = [name for name in inherited if name in common]
    expected = theirs if mine == common else mine
    assert [name for name in order if name in common] == expected
    assert ("rules" in merged.overlaps) == (common not in (mine, theirs) and mine != theirs)


@given(parted())
def test_a_rule_that_one_side_added_follows_the_rule_that_it_followed_there(
    sides: tuple[Spec, Spec, Spec],
) -> None:
    base, local, inherited = map(names, sides)
    order = names(merge(*sides).spec)
    for side in (local, inherited):
        kept = [name for name in side if name in order]
        for before, name in itertools.pairwise(kept):
            if name not in {*base, *(inherited if side is local else local)}:
                assert order.index(before) < order.index(name)


@given(parted())
def test_no_edit_is_lost_and_none_is_invented(sides: tuple[Spec, Spec, Spec]) -> None:
    base, _local, _inherited = sides
    merged = merge(*sides)
    made = set(differences(exempted(base), merged.spec))
    wished = {*merged.local, *merged.inherited}
    assert made <= wished | {"rules"}
    # Moving shows only among rules that are still there; all else is there or overlaps.
    missing = {path for path in wished - made if path != "rules"}
    for path in missing:
        assert any(each.startswith(path) or path.startswith(each) for each in merged.overlaps)
    for path in merged.overlaps:
        for side in (merged.local, merged.inherited):
            assert any(each.startswith(path) or path.startswith(each) for each in side)


@given(parted())
def test_what_was_merged_merges_to_itself(sides: tuple[Spec, Spec, Spec]) -> None:
    base, _, inherited = sides
    merged = merge(*sides).spec
    assert merge(base, merged, inherited).spec == merged
    assert merge(inherited, merged, inherited).spec == merged


@given(parted())
def test_sides_that_do_not_overlap_merge_alike_either_way(sides: tuple[Spec, Spec, Spec]) -> None:
    base, local, inherited = sides
    one, other = merge(base, local, inherited), merge(base, inherited, local)
    assert one.is_clean == other.is_clean
    if one.is_clean:
        assert by_name(one.spec) == by_name(other.spec)
        assert {**one.spec, "rules": 0} == {**other.spec, "rules": 0}


def _policy(*rules: str, **fields: Any) -> Spec:
    return {"rules": [{"name": name, "action": "allow"} for name in rules], **fields}


def test_where_both_added_rules_in_one_place_the_inherited_come_first() -> None:
    merged = merge(_policy("a", "z"), _policy("a", "mine", "z"), _policy("a", "theirs", "z"))
    assert names(merged.spec) == ["a", "theirs", "mine", "z"]
    assert merged.is_clean
    moved = merge(_policy("a", "z"), _policy("z", "a", "mine"), _policy("a", "theirs", "z"))
    assert names(moved.spec) == ["z", "a", "theirs", "mine"]


def test_what_an_exception_cannot_set_is_no_edit_of_it() -> None:
    base = _policy("a", enforcement="mandatory", sites={"matchLabels": {"env": "prod"}})
    merged = merge(base, _policy("a", priority=7), {**base, "sites": {}})
    assert merged.spec == _policy("a", priority=7)
    assert merged.local == ("priority",)
    assert merged.inherited == ()
