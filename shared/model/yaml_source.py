"""Read YAML as its version 1.2 says, without what makes YAML dangerous.

PyYAML's C parser yields events; it follows YAML 1.1 only in what plain scalars mean, and that is
decided here, by the core schema (YAML 1.2.2, section 10.3.2): `yes`, `on`, `1_000`, `12:30:00`
and `2027-03-31` are text.  Anchors, aliases, tags, merge keys and duplicate keys are refused, so
a document is never larger than its text.  Composing from events, not by PyYAML's recursive
composer, lets the reader stop at the first level that is too deep.
"""

import math
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

import yaml
from yaml._yaml import CParser

from shared.model.source import (
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_INTEGER,
    MAX_VALUES,
    Faults,
    GiveUp,
    Path,
    Place,
    Source,
    check_size,
    check_text,
)

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
# Python refuses to read integers of thousands of digits; none of ours has more than 19.
_MAX_DIGITS: Final = 100
_MARKER: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)

Scalar = str | int | float | bool | None


def resolve_plain(text: str) -> Scalar:
    """Return what an unquoted scalar means; ValueError for a number that is too large."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise ValueError("this number is too large")
        number = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if not -MAX_INTEGER <= number <= MAX_INTEGER:
            raise ValueError("this number is too large")
        return number
    if _FLOAT.fullmatch(text):
        real = math.inf if text[-1] in "fFnN" else float(text)
        if not math.isfinite(real):
            raise ValueError("this is no finite number")
        return real
    return text


def read_yaml(text: str, faults: Faults) -> Iterator[Source]:
    """Yield the documents of a YAML text; empty ones are left out.

    What is wrong goes to `faults`.  A mistake in the syntax, or too deep a document, hides what
    comes after it.
    """
    _check_sizes(text, faults)
    parser = CParser(text)
    try:
        yield from _Reader(parser, faults).documents()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        problem = " ".join(part for part in (exc.problem, exc.context) if part)
        faults.add(
            "malformed", f"this is not YAML: {problem}", line=mark.line + 1 if mark else None
        )
    except yaml.YAMLError as exc:
        faults.add("malformed", f"this is not YAML: {str(exc).splitlines()[0]}")


def _check_sizes(text: str, faults: Faults) -> None:
    """GiveUp if one of the documents is too large, before any is read."""
    if len(text) * 4 <= MAX_DOCUMENT_BYTES:
        return
    # Three dashes at the beginning of a line can't be anything else, even in a block of text.
    starts = [0, *(found.start() for found in _MARKER.finditer(text)), len(text)]
    for start, end in pairwise(starts):
        check_size(len(text[start:end].encode()), text, start, faults)


class _Reader:
    """Composes one text's events into Sources."""

    def __init__(self, parser: CParser, faults: Faults) -> None:
        self._parser = parser
        self._faults = faults
        self._refused: set[Path] = set()
        self._values = 0

    def documents(self) -> Iterator[Source]:
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            self._check_directives(event)
            self._refused = set()
            self._values = 0
            root = self._next()
            if self._is_empty(root):
                continue
            data, place = self._node(root, (), _line_of(root))
            yield Source(data, _always(place), frozenset(self._refused))

    def _next(self) -> yaml.Event:
        event = self._parser.get_event()
        assert event is not None  # only after the stream's end
        return event

    def _check_directives(self, event: yaml.DocumentStartEvent) -> None:
        line = _line_of(event)
        if event.version not in (None, (1, 2)):
            self._faults.add(
                "yaml_version", "documents are YAML 1.2; take the %YAML line out", line=line
            )
        if event.tags:
            self._faults.add("tag", "tags are not taken; take the %TAG line out", line=line)

    def _is_empty(self, event: yaml.Event) -> bool:
        return (
            isinstance(event, yaml.ScalarEvent)
            and event.value == ""
            and not event.style
            and event.anchor is None
            and event.tag is None
        )

    def _node(self, event: yaml.Event, path: Path, line: int) -> tuple[Any, Place]:
        """Return the value that begins with `event`, and its place; the key's line counts."""
        self._values += 1
        if self._values > MAX_VALUES:
            self._refuse("too_large", f"this holds more than {MAX_VALUES} values", (), event)
            raise GiveUp
        if isinstance(event, yaml.AliasEvent):
            self._refuse("alias", "aliases are not taken; write the value out", path, event)
            return None, Place(line)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.anchor is not None:
            self._refuse("alias", f"take the anchor &{event.anchor[:80]} out", path, event)
        if event.tag is not None:
            self._refuse("tag", f"take the tag {event.tag[:80]} out", path, event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path, line)
        if len(path) >= MAX_DEPTH:
            self._refuse("too_deep", f"this is nested deeper than {MAX_DEPTH} levels", (), event)
            raise GiveUp
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, line)
        return self._mapping(path, line)

    def _scalar(self, event: yaml.ScalarEvent, path: Path, line: int) -> tuple[Scalar, Place]:
        text: str = event.value
        if event.style:
            if not check_text(text, path, line, self._faults):
                self._refused.add(path)
            return text, Place(line)
        try:
            value = resolve_plain(text)
        except ValueError as exc:
            self._refuse("invalid_value", str(exc), path, event)
            return None, Place(line, text)
        return value, Place(line, None if isinstance(value, str) else text)

    def _sequence(self, path: Path, line: int) -> tuple[list[Any], Place]:
        items: list[Any] = []
        place = Place(line, None, {})
        assert place.parts is not None
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            index = len(items)
            item, place.parts[index] = self._node(event, (*path, index), _line_of(event))
            items.append(item)
        return items, place

    def _mapping(self, path: Path, line: int) -> tuple[dict[str, Any], Place]:
        result: dict[str, Any] = {}
        place = Place(line, None, {})
        assert place.parts is not None
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, path)
            key_line = _line_of(event)
            inner = (*path, "?" if key is None else key)
            value, value_place = self._node(self._next(), inner, key_line)
            if key is None:
                continue
            if key in result:
                sentence = f"this key stands twice here; first in line {place.parts[key].line}"
                self._faults.add("duplicate_key", sentence, path=inner, line=key_line)
                continue
            result[key], place.parts[key] = value, value_place
        return result, place

    def _key(self, event: yaml.Event, path: Path) -> str | None:
        """Return a mapping's key, or None, with a fault, if what stands there is none."""
        line = _line_of(event)
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event, (*path, "?"), line)
            if not isinstance(event, yaml.AliasEvent):
                self._faults.add("invalid_value", "a key is text, no list or mapping", line=line)
            return None
        if event.value == "<<" and not event.style:
            self._refuse("merge_key", "merge keys are not taken; write the fields out", path, event)
            return None
        before = len(self._faults.found)
        key, place = self._node(event, (*path, "?"), line)
        if isinstance(key, str):
            return key
        if len(self._faults.found) == before:
            code = "null" if key is None else "invalid_value"
            sentence = f'a key is text; quote it ("{place.text}")'
            self._faults.add(code, sentence, path=path, line=line)
        return None

    def _refuse(self, code: str, message: str, path: Path, event: yaml.Event) -> None:
        self._refused.add(path)
        self._faults.add(code, message, path=path, line=_line_of(event))


def _always(place: Place) -> Callable[[], Place]:
    return lambda: place


def _line_of(event: yaml.Event) -> int:
    assert event.start_mark is not None  # the parser's events have one
    return int(event.start_mark.line) + 1
