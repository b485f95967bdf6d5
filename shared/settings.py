"""A program's settings: one YAML file, then the environment, into a frozen model.

Everything unknown is an error that names its place: a setting that is mistyped must not be a
setting that is silently left at its default.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from yaml.nodes import MappingNode

from shared.errors import FieldError, Invalid

# Between the parts of a nested setting's name in the environment: HANSE_FSM_LISTEN__PORT.
_NESTED: Final = "__"
_LARGEST: Final = 1024 * 1024


class Settings(BaseModel):
    """Base of a program's settings and of their groups; names are camelCase in YAML."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
    )


SettingsT = TypeVar("SettingsT", bound=Settings)


def load_settings(
    model: type[SettingsT], *, file: Path | None, environ: Mapping[str, str], prefix: str
) -> SettingsT:
    """Return the settings of `file`, overridden by variables that begin with `prefix`.

    With the prefix `HANSE_FSM_`, `listen: {port: 8443}` is also HANSE_FSM_LISTEN__PORT=8443; lists
    and mappings are written as JSON.  Invalid (`invalid_settings`) with the place of each fault.
    """
    values = _read(file) if file else {}
    faults: list[FieldError] = []
    for name, value in sorted(environ.items()):
        if name.startswith(prefix):
            fault = _set(values, model, name.removeprefix(prefix), value)
            if fault:
                faults.append(FieldError(name, "unknown_setting", fault))
    try:
        settings = model.model_validate(values)
    except ValidationError as exc:
        faults.extend(_fault(error, file) for error in exc.errors(include_url=False))
    else:
        if not faults:
            return settings
    raise _invalid(faults, file)


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            data = opened.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise _broken(file, f"it is larger than {_LARGEST} bytes")
        values = yaml.load(data, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except OSError as exc:
        raise _broken(file, exc.strerror or "it can't be read") from exc
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        raise _broken(file, " ".join(str(exc).split())[:300]) from exc
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise _broken(file, "it must be a mapping of settings")
    return values


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _set(values: dict[str, Any], model: type[BaseModel], name: str, text: str) -> str | None:
    """Put one variable's value where it belongs; return what is wrong with its name."""
    level, parts = values, name.split(_NESTED)
    for position, part in enumerate(parts):
        field = _field(model, part)
        if field is None:
            return f"there is no setting {part.lower()!r} here"
        alias, inner = field
        if position == len(parts) - 1:
            level[alias] = _value(text)
            return None
        if inner is None:
            return f"{part.lower()!r} is a single setting and has no parts"
        model = inner
        below = level.setdefault(alias, {})
        if not isinstance(below, dict):
            level[alias] = below = {}
        level = below
    return None


def _field(model: type[BaseModel], part: str) -> tuple[str, type[BaseModel] | None] | None:
    wanted = part.replace("_", "").lower()
    for name, field in model.model_fields.items():
        if name.replace("_", "").lower() == wanted:
            annotations = (field.annotation, *get_args(field.annotation))
            inner = next(
                (
                    each
                    for each in annotations
                    if isinstance(each, type) and issubclass(each, BaseModel)
                ),
                None,
            )
            return field.alias or name, inner
    return None


def _value(text: str) -> Any:
    """Return text as it is, for pydantic to convert; JSON if it is a list or a mapping."""
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _fault(error: Any, file: Path | None) -> FieldError:
    path = ".".join(str(part) for part in error["loc"])
    unknown = error["type"] == "extra_forbidden"
    return FieldError(
        path,
        "unknown_setting" if unknown else "invalid_value",
        "there is no such setting" if unknown else error["msg"].removeprefix("Value error, "),
        file=str(file) if file else None,
    )


def _invalid(faults: list[FieldError], file: Path | None) -> Invalid:
    where = f" of {file}" if file else ""
    first = faults[0]
    return Invalid(
        f"the settings{where} are not valid: {first.path}: {first.message}",
        code="invalid_settings",
        fields=faults,
    )


def _broken(file: Path, reason: str) -> Invalid:
    return Invalid(
        f"the settings file {file} can't be used: {reason}",
        code="invalid_settings",
        fields=[FieldError("", "invalid_settings", reason, file=str(file))],
    )
