"""The three-way merge of specs: field by field, rules matched by name, order kept.

Two sides have changed one version, the base.  What only one side changed is taken from that side;
where both changed the same field otherwise, the fields overlap, and the local side is kept until
somebody decides.  A list is one field, but for a policy's rules: those are matched by their names,
each merged for itself, and so is their order.

The scheme is that of diff3 (Khanna, Kunal and Pierce, "A formal investigation of diff3", 2007),
with rules for lines and names for alignment, so that nothing is ever paired by guessing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

JSON = Any

RULES: Final = "rules"
_TARGETS: Final = frozenset({"enforcement", "sites"})
"""Fields that an exception can't have: they stay the target's."""

_ABSENT: Final = object()
"""A field that isn't there, which means its default."""

Settle = Callable[[JSON, JSON, JSON], JSON]
"""Says what becomes of a field whose versions (base, local, inherited) can't be merged."""


@dataclass(frozen=True, slots=True)
class Merge:
    """What a merge gives.

    `spec` has the local side where the sides overlap.  Paths are those of fields, rules by name
    (`rules[app-to-db].action`); `rules` alone stands for the order.  `local` and `inherited` say
    what each side changed, `overlaps` where both did, and not alike.
    """

    spec: Mapping[str, JSON]
    overlaps: tuple[str, ...]
    local: tuple[str, ...]
    inherited: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        return not self.overlaps


def keep_local(_base: JSON, local: JSON, _inherited: JSON) -> JSON:
    """Settle a field that both sides changed: the local side is kept."""
    return local


def keep_what_each_added(base: JSON, local: JSON, inherited: JSON) -> JSON:
    """Settle a field that both sides changed: of a list what is inherited, without what the local
    side took away and with what it added; else what is inherited.
    """
    versions = (base, local, inherited)
    if not all(isinstance(each, Sequence) and not isinstance(each, str) for each in versions):
        return inherited
    kept = [each for each in inherited if each in local or each not in base]
    return [*kept, *(each for each in local if each not in base and each not in kept)]


def merge(
    base: Mapping[str, JSON],
    local: Mapping[str, JSON],
    inherited: Mapping[str, JSON],
    *,
    settle: Settle = keep_local,
) -> Merge:
    """Merge what an exception and the inherited object have become since they parted.

    Each is a spec as Spec.to_json() gives it, so that equal meaning is equal data; what an
    exception can't set (`enforcement`, `sites`) is left out of the merge and of its result.
    `settle` says what becomes of a field that both sides changed, and not alike.
    """
    trees = [_without_targets(each) for each in (base, local, inherited)]
    merged, overlaps = _merge_fields("", *trees, settle=settle)
    return Merge(
        spec=merged,
        overlaps=tuple(overlaps),
        local=tuple(differences(trees[0], trees[1])),
        inherited=tuple(differences(trees[0], trees[2])),
    )


def differences(before: Mapping[str, JSON], after: Mapping[str, JSON]) -> Iterator[str]:
    """Yield the paths of the fields in which two specs differ, as Merge names them."""
    yield from _differences("", before, after)


def exempted(spec: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return an inherited spec as an exception to it would say it."""
    return _without_targets(spec)


def _without_targets(spec: Mapping[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in spec.items() if name not in _TARGETS}


def _merge_fields(
    path: str,
    base: Mapping[str, JSON],
    local: Mapping[str, JSON],
    inherited: Mapping[str, JSON],
    *,
    settle: Settle,
) -> tuple[dict[str, JSON], list[str]]:
    merged: dict[str, JSON] = {}
    overlaps: list[str] = []
    for name in _names(base, local, inherited):
        values = [each.get(name, _ABSENT) for each in (base, local, inherited)]
        value, found = _merge_value(_join(path, name), *values, settle=settle)
        overlaps += found
        if value is not _ABSENT:
            merged[name] = value
    return merged, overlaps


def _merge_value(
    path: str, base: JSON, local: JSON, inherited: JSON, *, settle: Settle
) -> tuple[JSON, Sequence[str]]:
    if inherited in (local, base):
        return local, ()
    if local == base:
        return inherited, ()
    versions = (base, local, inherited)
    if path == RULES and all(map(_are_rules, versions)):
        return _merge_rules(*versions, settle=settle)
    # What both added has no version that they began with: it overlaps as a whole.
    if all(isinstance(each, Mapping) for each in versions):
        return _merge_fields(path, *versions, settle=settle)
    return settle(*versions), (path,)


def _merge_rules(
    base: Sequence[JSON], local: Sequence[JSON], inherited: Sequence[JSON], *, settle: Settle
) -> tuple[list[JSON], list[str]]:
    sides = [{rule["name"]: rule for rule in side} for side in (base, local, inherited)]
    merged: dict[str, JSON] = {}
    overlaps: list[str] = []
    for name in _names(*sides):
        versions = [side.get(name, _ABSENT) for side in sides]
        rule, found = _merge_value(f"{RULES}[{name}]", *versions, settle=settle)
        overlaps += found
        if rule is not _ABSENT:
            merged[name] = rule
    order, is_disputed = _merge_order(*(list(side) for side in sides), kept=merged)
    if is_disputed:
        overlaps.append(RULES)
    return [merged[name] for name in order], overlaps


def _merge_order(
    base: Sequence[str], local: Sequence[str], inherited: Sequence[str], *, kept: Mapping[str, JSON]
) -> tuple[list[str], bool]:
    """Return the names of the kept rules in order, and whether both sides changed it otherwise.

    The order is that of the side which moved rules.  A rule that the other side added comes after
    the rule that it follows there; where both added some in one place, the inherited come first,
    as mandatory ones do.
    """
    common = set(base) & set(local) & set(inherited)
    were, mine, theirs = (
        [name for name in side if name in common] for side in (base, local, inherited)
    )
    is_disputed = were not in (mine, theirs) and mine != theirs
    by_local = is_disputed or mine != were
    first, second = (local, inherited) if by_local else (inherited, local)
    added = set(inherited) - set(base)
    order = [name for name in first if name in kept]
    placed = set(order)
    previous: str | None = None
    for name in second:
        if name not in kept:
            continue
        if name not in placed:
            place = order.index(previous) + 1 if previous is not None else 0
            if not by_local:
                while place < len(order) and order[place] in added:
                    place += 1
            order.insert(place, name)
            placed.add(name)
        previous = name
    return order, is_disputed


def _differences(path: str, before: Mapping[str, JSON], after: Mapping[str, JSON]) -> Iterator[str]:
    for name in _names(before, after):
        old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
        here = _join(path, name)
        if old == new:
            continue
        if here == RULES and _are_rules(old) and _are_rules(new):
            yield from _rule_differences(old, new)
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(here, old, new)
        else:
            yield here


def _rule_differences(before: Sequence[JSON], after: Sequence[JSON]) -> Iterator[str]:
    old, new = ({rule["name"]: rule for rule in side} for side in (before, after))
    for name in _names(old, new):
        here = f"{RULES}[{name}]"
        if name not in old or name not in new:
            yield here
        else:
            yield from _differences(here, old[name], new[name])
    if [name for name in old if name in new] != [name for name in new if name in old]:
        yield RULES


def _are_rules(value: JSON) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(each, Mapping) and "name" in each for each in value
    )


def _names(*sides: Mapping[str, JSON]) -> list[str]:
    """Return all names, each once, in the order in which the sides first name them."""
    return list(dict.fromkeys(name for side in sides for name in side))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
