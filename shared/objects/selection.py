"""labelSelector and fieldSelector as text: kubectl's syntax, in a query parameter."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from shared.errors import Malformed
from shared.model.selectors import Selector

Labels = Callable[[Mapping[str, str]], bool]
Document = Callable[[Mapping[str, Any]], bool]

_LONGEST: Final = 4096

_KEY: Final = r"(?P<key>[A-Za-z0-9][-A-Za-z0-9_./]{0,316})"
_TERMS: Final = (
    (re.compile(rf"!\s*{_KEY}"), "DoesNotExist"),
    (re.compile(rf"{_KEY}\s+in\s*\((?P<values>[^()]*)\)"), "In"),
    (re.compile(rf"{_KEY}\s+notin\s*\((?P<values>[^()]*)\)"), "NotIn"),
    (re.compile(rf"{_KEY}\s*!=\s*(?P<value>[^=!(),]*)"), "NotIn"),
    (re.compile(rf"{_KEY}\s*==?\s*(?P<value>[^=!(),]*)"), "In"),
    (re.compile(_KEY), "Exists"),
)
_FIELD: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9_.]*)\s*(!=|==?)\s*([^=!,]*)")


def parse_label_selector(text: str | None) -> Selector | None:
    """Read `env=prod,tier in (web,db),!old`; None and nothing mean no selection; Malformed."""
    if text is None or not text.strip():
        return None
    _check_length("labelSelector", text)
    expressions = [_expression(term.strip()) for term in _split(text)]
    try:
        return Selector.model_validate({"matchExpressions": expressions})
    except ValidationError as exc:
        raise Malformed(
            f"labelSelector is not valid: {exc.errors()[0]['msg']}", code="invalid_selector"
        ) from exc


def parse_field_selector(text: str | None) -> Document | None:
    """Read `metadata.name=web,spec.vlan!=110`, compared as text; Malformed.

    Fields are those of the document; a field that isn't there equals the empty text.
    """
    if text is None or not text.strip():
        return None
    _check_length("fieldSelector", text)
    terms: list[tuple[tuple[str, ...], bool, str]] = []
    for part in text.split(","):
        match = _FIELD.fullmatch(part)
        path = tuple(match[1].split(".")) if match else ()
        if not match or path[0] not in ("metadata", "spec", "status") or "" in path:
            raise Malformed(
                f"fieldSelector {part[:80]!r} must be like metadata.name=web or spec.vlan!=110",
                code="invalid_selector",
            )
        terms.append((path, match[2] != "!=", match[3].strip()))

    def matches(document: Mapping[str, Any]) -> bool:
        return all((_text_at(document, path) == value) is equal for path, equal, value in terms)

    return matches


def _split(text: str) -> list[str]:
    """Split at the commas that stand outside of brackets."""
    terms, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and not depth:
            terms.append(text[start:position])
            start = position + 1
    return [*terms, text[start:]]


def _expression(term: str) -> dict[str, Any]:
    for pattern, operator in _TERMS:
        match = pattern.fullmatch(term)
        if not match:
            continue
        found = match.groupdict()
        expression: dict[str, Any] = {"key": found["key"], "operator": operator}
        if found.get("values") is not None:
            expression["values"] = [value.strip() for value in found["values"].split(",")]
        elif found.get("value") is not None:
            expression["values"] = [found["value"].strip()]
        return expression
    raise Malformed(
        f"labelSelector has no term like {term[:80]!r}; use key=value, key!=value, "
        "key in (a,b), key notin (a,b), key or !key",
        code="invalid_selector",
    )


def _text_at(document: Mapping[str, Any], path: tuple[str, ...]) -> str:
    value: Any = document
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""


def _check_length(name: str, text: str) -> None:
    if len(text) > _LONGEST:
        raise Malformed(f"{name} is longer than {_LONGEST} characters", code="invalid_selector")
