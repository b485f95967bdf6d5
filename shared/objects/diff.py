"""What a write changed, for the audit trail: fields before and after.  Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from shared.http.response import is_secret
from shared.store.contract import Stored

# A record stays readable; the history has both versions whole.
_MOST: Final = 200


def diff_of(before: Stored | None, after: Stored | None) -> dict[str, Any]:
    """Return `{path: {"before": …, "after": …}}`; a side that didn't exist is left out.

    Of a secret kind only that the spec was set or changed is told.
    """
    stored = after or before
    if stored is None:
        return {}
    old, new = _fields(before), _fields(after)
    if is_secret(stored.key.kind):
        changed = old.pop("spec", None) != new.pop("spec", None)
        differences = dict(_differences("", old, new))
        return {**differences, "spec": {"changed": True}} if changed else differences
    found: dict[str, Any] = {}
    for path, difference in _differences("", old, new):
        if len(found) == _MOST:
            found["…"] = {"truncated": True}
            break
        found[path] = difference
    return found


def _fields(stored: Stored | None) -> dict[str, Any]:
    if stored is None:
        return {}
    fields: dict[str, Any] = {"spec": dict(stored.spec)}
    if stored.labels:
        fields["labels"] = dict(stored.labels)
    if stored.annotations:
        fields["annotations"] = dict(stored.annotations)
    return fields


def _differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            inner = f"{path}.{key}" if path else key
            yield from _differences(inner, old.get(key, _NOTHING), new.get(key, _NOTHING))
        return
    difference: dict[str, Any] = {}
    if old is not _NOTHING:
        difference["before"] = old
    if new is not _NOTHING:
        difference["after"] = new
    yield path, difference


_NOTHING: Final = object()
