"""Distinguished names: compared, and taken apart.

A directory spells one group's name in several ways (case, spaces, escapes), depending on who wrote
it where.  Names that are to be compared are brought into one form first.
"""

import re
import unicodedata
from typing import Final

Assertion = tuple[str, str]
"""An attribute's type, in lower case, and its value as the directory spells it."""

_PAIR: Final = re.compile(r"\\([0-9A-Fa-f]{2})")
_SPACES: Final = re.compile(r"\s+")
_SPECIAL: Final = re.compile(r'([,+"\\<>;=])')


def normalised_dn(dn: str) -> str:
    """Return the form in which two spellings of a DN are equal; ValueError if it isn't one.

    Values are compared as caseIgnoreMatch does (RFC 4517, section 4.2.11; RFC 4518): without case,
    with single spaces.
    """
    rdns = []
    for rdn in parse_dn(dn):
        parts = sorted((kind, folded(value)) for kind, value in rdn)
        rdns.append("+".join(f"{kind}={_SPECIAL.sub(_escaped, value)}" for kind, value in parts))
    return ",".join(rdns)


def parse_dn(dn: str) -> list[list[Assertion]]:
    """Return a DN's parts from the leaf on (RFC 4514, section 3); ValueError if it isn't one."""
    return [[_assertion(part) for part in _split(rdn, "+")] for rdn in _split(dn, ",")]


def folded(value: str) -> str:
    """Return a value in the form in which its spellings are equal."""
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", value).casefold()).strip()


def _split(text: str, separator: str) -> list[str]:
    """Split at the separators that aren't escaped."""
    parts, start, index = [], 0, 0
    while index < len(text):
        if text[index] == "\\":
            index += 2
            continue
        if text[index] == separator:
            parts.append(text[start:index])
            start = index + 1
        index += 1
    return [*parts, text[start:]]


def _assertion(text: str) -> Assertion:
    kind, sign, value = text.partition("=")
    kind = kind.strip().lower()
    if not sign or not kind or "\\" in kind:
        raise ValueError(f"{text!r} is no part of a DN")
    # A space at the end may be escaped, and is then part of the value.
    value = value.lstrip(" ")
    stripped = value.rstrip(" ")
    if stripped.endswith("\\") and len(stripped) < len(value):
        stripped += " "
    return kind, _unescaped(stripped)


def _unescaped(text: str) -> str:
    octets = bytearray()
    index = 0
    while index < len(text):
        if text[index] != "\\":
            octets += text[index].encode()
            index += 1
        elif pair := _PAIR.match(text, index):
            octets.append(int(pair[1], 16))
            index += 3
        elif index + 1 < len(text):
            octets += text[index + 1].encode()
            index += 2
        else:
            raise ValueError(f"{text!r} ends in the middle of an escape")
    return octets.decode()


def _escaped(match: re.Match[str]) -> str:
    return f"\\{match[1]}"
