"""Say in our words what pydantic found: a path, a stable code, and a sentence for a person.

Codes: `unknown_field`, `missing_field`, `null`; the models' own (`invalid_subnet`,
`duplicate_rule`, ...) stay as they are; all else is `invalid_value`.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from shared.model.schema import Model, field_names_at, suggestion
from shared.model.source import Path, quoted

QUOTE_IT: Final = "this must be text; quote it"

# pydantic makes all of its errors before it gives the first: 10,000 take some 50 ms.
_MAX_ERRORS: Final = 10_000

_PYDANTICS_OWN: Final = frozenset(get_args(ErrorType))
_WANTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


class Finding(NamedTuple):
    """One fault, not yet tied to a file.  `path` is within what was validated."""

    path: Path
    code: str
    message: str


def findings(exc: ValidationError, *, model: Model, data: Any) -> Iterator[Finding]:
    """Yield what is wrong with `data`, which `model` refused with `exc`."""
    if exc.error_count() > _MAX_ERRORS:
        sentence = f"this has {exc.error_count()} faults, too many to tell; look at its form first"
        yield Finding((), "too_many_faults", sentence)
        return
    for error in exc.errors(include_url=False):
        if error["type"] == "too_short" and error["input"]:
            continue  # the items were refused, each with its own error
        path = _written_path(error, data)
        yield Finding(path, _code(error), _sentence(error, path, model))


def _written_path(error: ErrorDetails, data: Any) -> Path:
    """Return the path in the document: pydantic's, without its names for branches of unions."""
    path: list[str | int] = []
    value = data
    *outer, last = error["loc"] or ("",)
    for part in outer:
        if _has(value, part):
            value = value[part]
            path.append(part)
    if error["type"] == "missing" or (_has(value, last) and not _is_branch(error, value, last)):
        path.append(last)
    # The models' own errors may say which part of theirs is wrong.
    return (*path, *error.get("ctx", {}).get("at", ()))


def _is_branch(error: ErrorDetails, value: Any, last: str | int) -> bool:
    # A branch may have the name of a key, but what is wrong is not that key's value.
    named = isinstance(last, str) and error["type"] in _PYDANTICS_OWN
    return named and value[last] != error["input"]


def _has(value: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(value, list) and part < len(value)
    return isinstance(value, dict) and part in value


def _code(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "missing":
        return "missing_field"
    if kind == "extra_forbidden":
        return "unknown_field"
    if error["input"] is None:
        return "null"
    return "invalid_value" if kind in _PYDANTICS_OWN else kind


def _sentence(error: ErrorDetails, path: Path, model: Model) -> str:
    kind, value = error["type"], error["input"]
    if kind == "missing":
        return f'the field "{path[-1]}" is missing; it must be given'
    if kind == "extra_forbidden":
        name = str(path[-1])
        hint = suggestion(name, field_names_at(model, path[:-1]))
        return f"there is no field {quoted(name)} here{hint}"
    if value is None:
        return "null is no value here; leave the field out, or give it a value"
    if kind == "too_short":
        return "this is an empty list; it must have at least one item"
    if kind == "literal_error":
        return _not_among(error["ctx"]["expected"], value)
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f'{QUOTE_IT}: "{json.dumps(value)}"'
    if kind in _WANTED and not error["msg"].startswith("write "):
        return f"this must be {_WANTED[kind]}, not {describe(value)}"
    return error["msg"].removeprefix("Value error, ").replace("Input should", "this should")


def _not_among(expected: str, value: Any) -> str:
    # pydantic writes the choices as 'a', 'b' or 'c'
    choices = expected.replace(" or ", ", ").replace("'", "").split(", ")
    hint = suggestion(value, choices) if isinstance(value, str) else ""
    wanted = f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    return f"this must be {wanted}, not {describe(value)}{hint}"


def describe(value: Any) -> str:
    """Name a value of a document in a sentence, shortened."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return quoted(value)
        case list():
            return "a list"
        case _:
            return "a mapping"
