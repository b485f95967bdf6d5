"""Policies in YAML: `filters: [{header: {targets: …}, terms: […]}]`, with includes."""

from collections.abc import Mapping
from typing import Any

from shared.cli.importing.aerleon.definitions import yaml_sources
from shared.cli.importing.aerleon.model import Filter, Platform, Term, Word
from shared.cli.importing.aerleon.text import MOST_INCLUDES, Open
from shared.errors import FieldError
from shared.model.source import Path, Source


def read_yaml_policy(
    text: str, *, file: str, open_include: Open, faults: list[FieldError]
) -> list[Filter]:
    """Return the filters of a policy; what is wrong goes to `faults`."""
    found: list[Filter] = []
    for source in yaml_sources(text, file, faults):
        reader = _Reader(source, file, open_include, faults)
        data = source.data
        filters = data.get("filters") if isinstance(data, dict) else None
        if not isinstance(filters, list):
            reader.fault((), "a policy is a mapping with a list of filters")
            continue
        for index, each in enumerate(filters):
            one = reader.filter(each, ("filters", index))
            if one is not None:
                found.append(one)
    return found


class _Reader:
    def __init__(
        self, source: Source, file: str, open_include: Open, faults: list[FieldError]
    ) -> None:
        self._source = source
        self._file = file
        self._open = open_include
        self._faults = faults

    def fault(self, path: Path, sentence: str) -> None:
        self._faults.append(
            FieldError("", "invalid_policy", sentence, file=self._file, line=self._line(path))
        )

    def filter(self, data: Any, path: Path) -> Filter | None:
        header = data.get("header") if isinstance(data, dict) else None
        targets = header.get("targets") if isinstance(header, dict) else None
        if not isinstance(targets, dict) or not isinstance(header, dict):
            self.fault(
                path, "a filter needs a header with targets; a filter's own include isn't read"
            )
            return None
        result = Filter(self._file, self._line(path))
        for name, options in targets.items():
            line = self._line((*path, "header", "targets", name))
            words = tuple(each.text for each in self._words(options, line))
            result.platforms.append(Platform(name, words, line))
        for keyword, value in header.items():
            if keyword != "targets":
                line = self._line((*path, "header", keyword))
                result.header[keyword] = self._words(value, line)
        result.terms = self.terms(data.get("terms"), (*path, "terms"), MOST_INCLUDES)
        return result

    def terms(self, data: Any, path: Path, depth: int) -> list[Term]:
        if not isinstance(data, list):
            self.fault(path, "terms must be a list")
            return []
        found: list[Term] = []
        for index, each in enumerate(data):
            place = (*path, index)
            if isinstance(each, dict) and "include" in each:
                found += self._included(each["include"], place, depth)
            elif isinstance(each, dict) and isinstance(each.get("name"), str):
                found.append(self._term(each, place))
            else:
                self.fault(place, "a term needs a name")
        return found

    def _term(self, data: Mapping[str, Any], path: Path) -> Term:
        term = Term(data["name"], self._file, self._line(path))
        for keyword, value in data.items():
            if keyword == "name":
                continue
            line = self._line((*path, keyword))
            term.fields[keyword] = self._words(value, line) or [Word("", line)]
        return term

    def _included(self, name: Any, path: Path, depth: int) -> list[Term]:
        if not depth:
            self.fault(path, f"includes are nested deeper than {MOST_INCLUDES}")
            return []
        text = self._open(str(name), self._file, self._line(path))
        found: list[Term] = []
        for source in [] if text is None else yaml_sources(text, str(name), self._faults):
            inner = _Reader(source, str(name), self._open, self._faults)
            data = source.data
            found += inner.terms(
                data.get("terms") if isinstance(data, dict) else None, ("terms",), depth - 1
            )
        return found

    def _words(self, value: Any, line: int) -> list[Word]:
        """Return a value's words, as the classic form has them: split at spaces."""
        if isinstance(value, list):
            return [word for each in value for word in self._words(each, line)]
        if isinstance(value, bool):
            return [Word("true" if value else "false", line)]
        if isinstance(value, dict):
            return [Word(f"{key}={inner}", line) for key, inner in value.items()]
        return [Word(each, line) for each in ("" if value is None else str(value)).split()]

    def _line(self, path: Path) -> int:
        return self._source.place().at(path).line
