"""The fields in which versions of a spec differ, side by side.  Pure.

Fields are told as the merge tells them: rules by their names, a list as one field, `rules` alone
for the order of rules.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.model.documents import dump_line
from shared.policy.merging import RULES

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Row:
    """One field: its value in each version, as lines of text.

    `changed` says where there is a base: `both`, `alike` (both, to the same), `local` or `global`;
    else it is empty.
    """

    path: str
    cells: tuple[tuple[str, ...], ...]
    changed: str = ""


def rows(versions: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return the fields in which versions differ; of a single version all of its fields.

    Those that both sides changed come first.
    """
    sides = list(versions)
    values = list(versions.values())
    found = _alone(values[0]) if len(values) == 1 else _walk("", values)
    made = [
        Row(path, tuple(_lines(path, each) for each in shown), _changed(sides, told))
        for path, shown, told in found
    ]
    return sorted(made, key=lambda row: row.changed != "both")


_Found = tuple[str, Sequence[Any], Sequence[Any]]
"""A path, the values to show, and those by which it is told who changed them."""


def _alone(value: Mapping[str, Any]) -> Iterator[_Found]:
    for name, each in value.items():
        if name == RULES and _are_rules(each):
            for rule in each:
                yield f"{RULES}[{rule['name']}]", [rule], [rule]
        else:
            yield name, [each], [each]


def _walk(path: str, values: Sequence[Any]) -> Iterator[_Found]:
    if all(each == values[0] for each in values):
        return
    if path == RULES and all(map(_are_rules, values)):
        yield from _walk_rules(values)
    elif all(isinstance(each, Mapping) for each in values):
        for name in _names(values):
            inner = f"{path}.{name}" if path else name
            yield from _walk(inner, [each.get(name, _ABSENT) for each in values])
    else:
        yield path, values, values


def _walk_rules(values: Sequence[Any]) -> Iterator[_Found]:
    sides = [{rule["name"]: rule for rule in rules} for rules in values]
    for name in _names(sides):
        yield from _walk(f"{RULES}[{name}]", [side.get(name, _ABSENT) for side in sides])
    common = set.intersection(*map(set, sides))
    orders = [[name for name in side if name in common] for side in sides]
    if any(order != orders[0] for order in orders):
        yield RULES, [list(side) for side in sides], orders


def _changed(sides: Sequence[str], values: Sequence[Any]) -> str:
    if list(sides) != ["base", "local", "global"]:
        return ""
    base, local, inherited = values
    if local == inherited:
        return "alike"
    if inherited == base:
        return "local"
    return "global" if local == base else "both"


def _are_rules(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(each, Mapping) and "name" in each for each in value
    )


def _names(sides: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for side in sides for name in side))


def _lines(path: str, value: Any) -> tuple[str, ...]:
    if value is _ABSENT:
        return ("(no such rule)" if is_rule(path) else "(not set)",)
    if is_rule(path) and isinstance(value, Mapping):
        # Its name is the path's.
        fields = ((name, each) for name, each in value.items() if name != "name")
        return tuple(f"{name}: {dump_line(each)}" for name, each in fields)
    if isinstance(value, list | tuple) and (path == RULES or len(value) > 1):
        return tuple(f"- {dump_line(each)}" for each in value) or ("[]",)
    return (dump_line(value),)


def is_rule(path: str) -> bool:
    """Return whether a path is that of a whole rule."""
    return path.startswith(f"{RULES}[") and path.endswith("]")


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what going from one spec to another changes: path, old and new text on one line.

    A text is empty where there is nothing.
    """
    return [
        (path, _text(path, old), _text(path, new))
        for path, (old, new), _ in _walk("", [before, after])
    ]


def _text(path: str, value: Any) -> str:
    if value is _ABSENT:
        return ""
    if is_rule(path) and isinstance(value, Mapping):
        value = {name: each for name, each in value.items() if name != "name"}
    return dump_line(value)
