"""Policies in the classic form, `.pol`: `header { target:: … }`, `term NAME { keyword:: … }`."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from shared.cli.importing.aerleon.model import Filter, Platform, Term, Word
from shared.errors import FieldError

# Aerleon itself follows includes five deep.
MOST_INCLUDES: Final = 5

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\f]+)|(?P<newline>\n)|(?P<comment>\#[^\n]*)
    |(?P<string>"(?:[^"\\]|\\.)*")|(?P<mark>[{}]|::)|(?P<word>(?:[^\s{}"#:]|:(?!:))+)""",
    re.VERBOSE,
)

Open = Callable[[str, str, int], str | None]
"""Reads an include: its name, and the file and line that ask for it; None if that is a fault."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    file: str
    line: int


class _Stop(Exception):
    """The rest can't be understood; the fault says why."""


def read_policy(
    text: str, *, file: str, open_include: Open, faults: list[FieldError]
) -> list[Filter]:
    """Return the filters of a policy; what is wrong goes to `faults`."""
    lines = list(_lines(text, file, open_include, faults, MOST_INCLUDES))
    parser = _Parser(list(_tokens(lines, faults)), faults, file)
    return parser.filters()


def _lines(
    text: str, file: str, open_include: Open, faults: list[FieldError], depth: int
) -> Iterator[tuple[str, str, int]]:
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if len(words) < 2 or words[0] != "#include":
            yield line, file, number
            continue
        if not depth:
            sentence = f"includes are nested deeper than {MOST_INCLUDES}"
            faults.append(FieldError("", "too_deep", sentence, file=file, line=number))
            continue
        name = words[1].strip("'\"")
        inner = open_include(name, file, number)
        if inner is not None:
            yield from _lines(inner, name, open_include, faults, depth - 1)


def _tokens(lines: list[tuple[str, str, int]], faults: list[FieldError]) -> Iterator[_Token]:
    text = "".join(f"{line}\n" for line, _, _ in lines)
    index = position = 0
    while position < len(text):
        _, file, number = lines[index]
        found = _TOKEN.match(text, position)
        if found is None:
            sentence = f"{text[position]!r} isn't understood; a quote that doesn't close?"
            faults.append(FieldError("", "invalid_policy", sentence, file=file, line=number))
            return
        kind = str(found.lastgroup)
        if kind in ("string", "mark", "word"):
            yield _Token(kind, found[0], file, number)
        index += found[0].count("\n")
        position = found.end()


class _Parser:
    def __init__(self, tokens: list[_Token], faults: list[FieldError], file: str) -> None:
        self._tokens = tokens
        self._faults = faults
        self._file = file
        self._at = 0

    def filters(self) -> list[Filter]:
        found: list[Filter] = []
        try:
            while self._at < len(self._tokens):
                token = self._take("header or term")
                if token.text == "header":
                    found.append(self._header(token))
                elif token.text == "term":
                    term = self._term()
                    if not found:
                        self._fail("a term stands before any header", token)
                    found[-1].terms.append(term)
                else:
                    self._fail(f"{token.text!r} is neither header nor term", token)
        except _Stop:
            pass
        return found

    def _header(self, token: _Token) -> Filter:
        result = Filter(token.file, token.line)
        for keyword, words in self._block():
            if keyword.text == "target":
                if not words:
                    self._fail("a target has no platform", keyword)
                options = tuple(each.text for each in words[1:])
                result.platforms.append(Platform(words[0].text, options, keyword.line))
            else:
                result.header.setdefault(keyword.text, []).extend(words)
        return result

    def _term(self) -> Term:
        name = self._take("a term's name")
        if name.kind != "word":
            self._fail("a term needs a name", name)
        term = Term(name.text, name.file, name.line)
        for keyword, words in self._block():
            # One without words still says something: `option::` alone is no option left out.
            given = words or [Word("", keyword.line)]
            term.fields.setdefault(keyword.text, []).extend(given)
        return term

    def _block(self) -> Iterator[tuple[_Token, list[Word]]]:
        opening = self._take("{")
        if opening.text != "{":
            self._fail(f"{{ is missing before {opening.text!r}", opening)
        while True:
            token = self._take("}")
            if token.kind == "mark" and token.text == "}":
                return
            if token.kind != "word" or not self._is("::"):
                self._fail(f"{token.text!r} is no keyword: write KEYWORD:: VALUE", token)
            self._at += 1
            words: list[Word] = []
            while self._at < len(self._tokens):
                value = self._tokens[self._at]
                if value.kind == "mark" or self._is("::", ahead=1):
                    break
                text = value.text[1:-1] if value.kind == "string" else value.text
                words.append(Word(text, value.line))
                self._at += 1
            yield token, words

    def _is(self, mark: str, *, ahead: int = 0) -> bool:
        place = self._at + ahead
        return place < len(self._tokens) and self._tokens[place].text == mark

    def _take(self, wanted: str) -> _Token:
        if self._at >= len(self._tokens):
            last = self._tokens[-1] if self._tokens else _Token("word", "", self._file, 1)
            self._fail(f"the file ends where {wanted} is missing", last)
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _fail(self, sentence: str, token: _Token) -> None:
        self._faults.append(
            FieldError("", "invalid_policy", sentence, file=token.file, line=token.line)
        )
        raise _Stop
