"""Read JSON (RFC 8259) strictly, and find out where things stand only when somebody asks.

The standard library's parser is fast and knows no places, and faults are rare.  So a text is
parsed first; only where something is to be reported is it scanned again for paths and lines.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Final, NoReturn

from shared.model.source import (
    CONTROL,
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_VALUES,
    Faults,
    GiveUp,
    Part,
    Path,
    Place,
    Source,
    check_size,
    check_text,
)

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_TOKEN: Final = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[][{},:]|[^][{},:"\s]+)', re.DOTALL)


def read_json(text: str, faults: Faults) -> Iterator[Source]:
    """Yield the documents of a text: one JSON value, or several after each other."""
    hook = _Hook()
    decoder = json.JSONDecoder(object_pairs_hook=hook, parse_constant=_no_constant)
    position = _skip_space(text, 0)
    while position < len(text):
        start = position
        try:
            data, position = decoder.raw_decode(text, position)
        except RecursionError:
            _Scan(text, start, len(text)).report(faults)
            return
        except json.JSONDecodeError as exc:
            sentence = f"this is not JSON: {exc.msg} (column {exc.colno})"
            faults.add("malformed", sentence, line=exc.lineno)
            return
        except ValueError as exc:  # NaN and its like, integers of thousands of digits
            line = text.count("\n", 0, position) + 1
            faults.add("malformed", f"this is not JSON: {exc}", line=line)
            return
        check_size(position - start, text, start, faults)
        scan = _Scan(text, start, position)
        refused: frozenset[Path] = frozenset()
        try:
            is_sound = _is_sound(data) and not hook.duplicates
        except OverflowError as exc:
            line = text.count("\n", 0, start) + 1
            faults.add("too_large", f"this holds more than {MAX_VALUES} values", line=line)
            raise GiveUp from exc
        if not is_sound:
            refused = scan.report(faults)
            hook.duplicates = False
        yield Source(data, scan.place, refused)
        position = _skip_space(text, position)


class _Hook:
    """Makes an object's members a dict, and remembers that one stood twice."""

    def __init__(self) -> None:
        self.duplicates = False

    def __call__(self, members: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(members)
        if len(result) < len(members):
            self.duplicates = True
            result = dict(reversed(members))  # the first counts, as in YAML
        return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _skip_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    assert found is not None  # it also matches nothing
    return found.end()


def _is_sound(data: Any) -> bool:
    """Say whether nothing in `data` is too deep, too large, or a control character.

    OverflowError if there are too many values in it.
    """
    level = [data]
    values = 0
    for depth in range(MAX_DEPTH + 1):
        values += len(level)
        if values > MAX_VALUES:
            raise OverflowError
        if not all(map(_is_sound_value, level)):
            return False
        containers = [value for value in level if isinstance(value, dict | list)]
        if containers and depth == MAX_DEPTH:
            return False
        level = [inner for each in containers for inner in _inner(each)]
        if not level:
            return True
    return False


def _inner(container: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _is_sound_value(value: Any) -> bool:
    if isinstance(value, str):
        return CONTROL.search(value) is None
    if isinstance(value, dict):
        return CONTROL.search("".join(value)) is None
    return not (isinstance(value, int | float) and _number_fault(value))


def _number_fault(value: float) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "this is no finite number"
    if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        return "this number is too large"
    return None


class _Scan:
    """Walks one JSON value that the parser took, for places and for faults."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self._text = text
        self._start = start
        self._end = end

    def place(self) -> Place:
        return self._place

    @cached_property
    def _place(self) -> Place:
        return _Walk(self._text, self._start, self._end, Faults()).value((), None)

    def report(self, faults: Faults) -> frozenset[Path]:
        """Add what is wrong in the value; return the paths of it."""
        walk = _Walk(self._text, self._start, self._end, faults)
        walk.value((), None)
        return frozenset(walk.refused)


class _Walk:
    def __init__(self, text: str, start: int, end: int, faults: Faults) -> None:
        self.refused: set[Path] = set()
        self._text = text
        self._end = end
        self._faults = faults
        self._position = start
        self._line = text.count("\n", 0, start) + 1
        self._current = ""
        self._advance()

    def value(self, path: Path, line: int | None) -> Place:
        """Read one value; `line` is its key's, which counts as its own."""
        line = line or self._line
        word = self._current
        if word not in ("{", "["):
            self._check_scalar(word, path, line)
            self._advance()
            return Place(line, None if word[0] == '"' else word)
        if len(path) >= MAX_DEPTH:
            sentence = f"this is nested deeper than {MAX_DEPTH} levels"
            self._faults.add("too_deep", sentence, line=line)
            raise GiveUp
        parts: dict[Part, Place] = {}
        self._advance()
        if word == "{":
            self._members(parts, path)
        else:
            self._items(parts, path)
        self._advance()
        return Place(line, None, parts)

    def _members(self, parts: dict[Part, Place], path: Path) -> None:
        while self._current != "}":
            key, line = str(json.loads(self._current)), self._line
            inner = (*path, key)
            check_text(key, inner, line, self._faults)
            self._advance()
            self._advance()  # the colon
            place = self.value(inner, line)
            if key in parts:
                sentence = f"this key stands twice here; first in line {parts[key].line}"
                self._faults.add("duplicate_key", sentence, path=inner, line=line)
            else:
                parts[key] = place
            self._skip_comma()

    def _items(self, parts: dict[Part, Place], path: Path) -> None:
        while self._current != "]":
            index = len(parts)
            parts[index] = self.value((*path, index), None)
            self._skip_comma()

    def _check_scalar(self, word: str, path: Path, line: int) -> None:
        value = json.loads(word)
        sound = True
        if isinstance(value, str):
            sound = check_text(value, path, line, self._faults)
        elif isinstance(value, int | float) and (sentence := _number_fault(value)):
            self._faults.add("invalid_value", sentence, path=path, line=line)
            sound = False
        if not sound:
            self.refused.add(path)

    def _skip_comma(self) -> None:
        if self._current == ",":
            self._advance()

    def _advance(self) -> None:
        found = _TOKEN.match(self._text, self._position, self._end)
        if found is None:
            self._current = ""
            return
        self._line += self._text.count("\n", self._position, found.start(1))
        self._position = found.end()
        self._current = found[1]
