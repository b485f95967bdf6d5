"""The answers of `hanse explain`: made from the models, so that they are never out of date."""

import inspect
import types
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import JsonValue
from pydantic.fields import FieldInfo

from shared.cli.output import Plain, print_data, print_table
from shared.errors import NotFound
from shared.model.documents import envelope_type
from shared.model.kinds import KINDS, PLURALS, Home, Kind
from shared.model.schema import Model, fields_of, models_in, suggestion

_HOMES: Final[dict[Home, str]] = {"fsm": "FSM", "sdsp": "SDSP"}
_SCOPES: Final = {
    "federation": "federation",
    "region": "region/NAME",
    "site": "site",
    "group": "group/NAME",
    "node": "node/NAME",
}
_WORDS: Final[dict[Any, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Any: "anything",
    JsonValue: "anything",
    IPv4Network: "subnet",
    IPv6Network: "subnet",
    IPv4Address: "address",
    IPv6Address: "address",
}


def explain_kinds(form: Plain) -> None:
    """List all kinds."""
    kinds: list[dict[str, Any]] = [
        {
            "kind": kind.name,
            "plural": kind.plural,
            "livesOn": [_HOMES[each] for each in kind.scopes],
            "meaning": _meaning(kind.spec),
        }
        for kind in KINDS.values()
    ]
    if form is not Plain.TABLE:
        print_data(kinds, form)
        return
    rows = [
        (each["kind"], each["plural"], " and ".join(each["livesOn"]), each["meaning"])
        for each in kinds
    ]
    print_table(["KIND", "PLURAL", "LIVES ON", "MEANING"], rows)
    print("\nAsk for one, or for a field of it: hanse explain SecurityPolicy.spec.rules.from")


def explain_subject(subject: str, form: Plain) -> None:
    """Explain a kind, or a field by its path (with or without `spec`); NotFound if there is none.

    Indices in the path are taken and mean nothing: `rules[0].from` is `rules.from`.
    """
    kind, path = _parse(subject)
    answer = _field_answer(kind, path) if path else _kind_answer(kind)
    if form is not Plain.TABLE:
        print_data(answer, form)
        return
    print(answer["path"] + (f"  {answer['form']}" if "form" in answer else ""))
    print()
    for sentence in answer["meaning"]:
        print(sentence)
    if answer["fields"]:
        print()
        rows = [(each["name"], each["form"], each["meaning"]) for each in answer["fields"]]
        print_table(["FIELD", "FORM", "MEANING"], rows)


def _parse(subject: str) -> tuple[Kind, list[str]]:
    name, *path = [part.partition("[")[0] for part in subject.split(".")]
    known = {each.lower(): kind for each, kind in (*KINDS.items(), *PLURALS.items())}
    kind = known.get(name.lower())
    if kind is None:
        raise NotFound(
            f'there is no kind "{name[:80]}"{suggestion(name, KINDS)}; '
            "`hanse explain` lists them all",
            code="unknown_kind",
        )
    return kind, [part for part in path if part]


def _field_at(kind: Kind, path: list[str]) -> tuple[FieldInfo, list[Model]]:
    envelope = fields_of(envelope_type(kind.name))
    models: list[Model] = [envelope_type(kind.name) if path[0] in envelope else kind.spec]
    field: FieldInfo | None = None
    for place, part in enumerate(path):
        fields = {name: each for model in models for name, each in fields_of(model).items()}
        if part not in fields:
            where = ".".join([kind.name, *path[:place]])
            known = f"; it has {', '.join(fields)}" if fields else "; it has no fields"
            raise NotFound(
                f'{where} has no field "{part[:80]}"{suggestion(part, fields) or known}',
                code="unknown_field",
            )
        field = fields[part]
        models = list(dict.fromkeys(models_in(field.annotation)))
    assert field is not None, "the path has at least one part"
    return field, models


def _field_answer(kind: Kind, path: list[str]) -> dict[str, Any]:
    field, models = _field_at(kind, path)
    meaning = [field.description or "", *map(_meaning, models)]
    return {
        "path": ".".join([kind.name, *path]),
        "form": _form(field),
        "meaning": [sentence for sentence in meaning if sentence],
        "fields": _fields(models),
    }


def _kind_answer(kind: Kind) -> dict[str, Any]:
    homes = [
        f"{_HOMES[home]} (scope {', '.join(_SCOPES[level] for level in levels)})"
        for home, levels in kind.scopes.items()
    ]
    meaning = [_meaning(kind.spec), f"Lives on {' and '.join(homes)}."]
    if kind.written_by == "system":
        meaning.append("Written by the system, not by people.")
    if kind.dns_label:
        meaning.append("Its name is a lower-case DNS label.")
    if kind.tenanted:
        meaning.append("Belongs to a tenant (metadata.tenant, default common).")
    return {
        "path": kind.name,
        "plural": kind.plural,
        "meaning": meaning,
        "fields": _fields([kind.spec]),
    }


def _fields(models: list[Model]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "form": _form(field),
            "required": field.is_required(),
            "meaning": field.description or "",
        }
        for model in models
        for name, field in fields_of(model).items()
    ]


def _meaning(model: Model) -> str:
    # An inherited docstring would speak of the base class.
    return inspect.cleandoc(model.__doc__).replace("\n", " ") if model.__doc__ else ""


def _form(field: FieldInfo) -> str:
    """Say what may stand in a field: `text`, `list of subnet`, `allow | deny, required`."""
    words = " | ".join(dict.fromkeys(_words(field.annotation)))
    if field.is_required():
        return f"{words}, required"
    default = field.get_default(call_default_factory=False)
    if isinstance(default, str | int) and default != "":
        shown = str(default).lower() if isinstance(default, bool) else default
        return f"{words}, default {shown}"
    return words


def _words(annotation: Any) -> Iterator[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _WORDS:
        yield _WORDS[annotation]
    elif origin is Annotated:
        yield from _annotated(annotation)
    elif origin is Literal:
        yield from map(str, arguments)
    elif origin in (Union, types.UnionType):
        for each in arguments:
            if each is not types.NoneType:
                yield from _words(each)
    elif origin is tuple:
        yield f"list of {' | '.join(dict.fromkeys(_words(arguments[0])))}"
    elif origin is dict:
        yield f"mapping to {' | '.join(dict.fromkeys(_words(arguments[1])))}"
    else:
        yield getattr(annotation, "__name__", "anything")


def _annotated(annotation: Any) -> Iterator[str]:
    inner, *_ = get_args(annotation)
    named = {"Ports": "port or range", "datetime": "time"}
    name = getattr(inner, "__name__", "")
    if name in named:
        yield named[name]
    else:
        yield from _words(inner)
