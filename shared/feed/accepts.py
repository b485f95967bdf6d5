"""Which kinds and fields a component knows, said by one end and minded by the other.  Pure.

A field is a path in the spec, lists left out: `rules.from.network`.  A path in the list that no
other one goes below stands for all that is beneath it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel

from shared.model.kinds import KINDS


def known_fields(*kinds: str) -> dict[str, tuple[str, ...]]:
    """Return the fields that this release knows, per kind: what a Subscription announces."""
    return {kind: tuple(sorted(_fields_of(KINDS[kind].spec))) for kind in kinds}


def is_accepted(kind: str, spec: Mapping[str, Any], accepts: Mapping[str, Sequence[str]]) -> bool:
    """Return whether a component that announced `accepts` knows all that a spec uses.

    One that announced nothing at all is taken to know everything.
    """
    return not accepts or (kind in accepts and not unknown_field(spec, accepts[kind]))


def unknown_field(spec: Mapping[str, Any], known: Sequence[str]) -> str | None:
    """Return the path of a field that a spec uses and `known` doesn't have, if there is one."""
    paths = frozenset(known)
    inner = frozenset(_ancestors(paths))
    return next(_unknown(spec, "", paths, inner), None)


def _unknown(value: Any, path: str, known: frozenset[str], inner: frozenset[str]) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _unknown(each, path, known, inner)
    elif isinstance(value, Mapping):
        for name, below in value.items():
            here = f"{path}.{name}" if path else str(name)
            if here in inner:
                yield from _unknown(below, here, known, inner)
            elif here not in known:
                yield here


def _ancestors(paths: frozenset[str]) -> Iterator[str]:
    for path in paths:
        while "." in path:
            path, _, _ = path.rpartition(".")  # noqa: PLW2901 - walks upwards
            yield path


_DEEPEST: Final = 8


def _fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        yield path
        if path.count(".") < _DEEPEST:
            for inner in _models_in(info.annotation):
                yield from _fields_of(inner, f"{path}.")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
