"""What differs between two versions of a document, field by field.  Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from shared.cli.answers import Object
from shared.cli.columns import text_of

# A cell of a table holds no more of a value.
_LONGEST: Final = 80


class Difference(NamedTuple):
    """One field; None on the side where it isn't."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.path}: {_short(self.after)}"
        if self.after is None:
            return f"- {self.path}: {_short(self.before)}"
        return f"{self.path}: {_short(self.before)} → {_short(self.after)}"


def differences(before: Object | None, after: Object | None) -> list[Difference]:
    """Return how labels, annotations and spec changed; items with names are paired by them."""
    old, new = (_parts(each) for each in (before, after))
    return list(_walk("", old, new))


def _parts(each: Object | None) -> dict[str, Any]:
    if each is None:
        return {}
    metadata = each.metadata
    parts = {
        "labels": metadata.get("labels"),
        "annotations": metadata.get("annotations"),
        "spec": each.spec,
    }
    return {name: value for name, value in parts.items() if value}


def _walk(path: str, old: Any, new: Any) -> Iterator[Difference]:
    if old == new:
        return
    pair = (_named(old), _named(new))
    if pair[0] is not None and pair[1] is not None:
        yield from _members(path, pair[0], pair[1], brackets=True)
        if list(pair[0]) != list(pair[1]) and set(pair[0]) == set(pair[1]):
            yield Difference(f"{path} (order)", list(pair[0]), list(pair[1]))
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _members(path, old, new, brackets=False)
        return
    yield Difference(path, old, new)


def _members(
    path: str, old: Mapping[str, Any], new: Mapping[str, Any], *, brackets: bool
) -> Iterator[Difference]:
    for name in [*old, *(each for each in new if each not in old)]:
        inner = f"{path}[{name}]" if brackets else f"{path}.{name}" if path else name
        yield from _walk(inner, old.get(name), new.get(name))


def _named(value: Any) -> dict[str, Any] | None:
    """Return the items of a list by their names, if all have one and no two the same."""
    if not isinstance(value, list) or not value:
        return None
    items = {}
    for each in value:
        name = each.get("name") if isinstance(each, Mapping) else None
        if not isinstance(name, str) or name in items:
            return None
        items[name] = each
    return items


def _short(value: Any) -> str:
    text = text_of(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
