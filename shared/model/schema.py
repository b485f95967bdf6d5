"""Find one's way through the models along the paths that people write."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shared.model.source import Path

Model = type[BaseModel]


def fields_of(model: Model) -> dict[str, FieldInfo]:
    """Return a model's fields by the names that documents use, in the order of the model."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def models_in(annotation: Any) -> Iterator[Model]:
    """Yield the models that a field's type mentions, through unions, lists and mappings."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for part in get_args(annotation):
        yield from models_in(part)


def models_at(model: Model, path: Path) -> tuple[Model, ...]:
    """Return the models that may stand at `path` within `model`; none if the path leads nowhere."""
    models: tuple[Model, ...] = (model,)
    for part in path:
        if isinstance(part, int):
            continue  # an item has the models of its list
        found = [fields_of(each)[part] for each in models if part in fields_of(each)]
        models = tuple(inner for field in found for inner in models_in(field.annotation))
    return models


def field_names_at(model: Model, path: Path) -> list[str]:
    """Return the names of the fields that may stand at `path`."""
    return list(dict.fromkeys(name for each in models_at(model, path) for name in fields_of(each)))


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "X"?` for the nearest known word, or nothing."""
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(word[:80].lower(), by_lower, n=1, cutoff=0.6)
    return f'; did you mean "{by_lower[near[0]]}"?' if near else ""
