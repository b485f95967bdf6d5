"""Names and numbers that must not be mixed up, and how they are parsed."""

import re
from typing import Final, NamedTuple, NewType

from shared.errors import Invalid

Revision = NewType("Revision", int)
"""A store's count of committed transactions; 0 is before the first."""

Generation = NewType("Generation", int)
"""How many times an object's spec, or a node's configuration, has changed."""

Incarnation = NewType("Incarnation", str)
"""Identifies one life of a store: new when it is created or restored."""

NAME_PATTERN: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
NAME_LENGTH: Final = 253
DNS_LABEL_PATTERN: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"

COMMON: Final = "common"
"""The tenant of everything that says no other."""

FEDERATION: Final = "federation"
SITE: Final = "site"

_NAME = re.compile(NAME_PATTERN)
_DNS_LABEL = re.compile(DNS_LABEL_PATTERN)


class Key(NamedTuple):
    """What makes an object that object: no two share one in a store."""

    kind: str
    tenant: str
    scope: str
    name: str

    def __str__(self) -> str:
        tenant = "" if self.tenant == COMMON else f" of tenant {self.tenant}"
        return f"{self.kind} {self.name}{tenant} ({self.scope})"


def parse_name(text: str) -> str:
    """Return `text` if it is an object's name; else Invalid, saying what a name is."""
    if len(text) > NAME_LENGTH or not _NAME.fullmatch(text):
        raise Invalid(
            f"{text[:80]!r} is no name: use letters, digits, '-', '_' and '.', "
            f"beginning and ending with a letter or digit, at most {NAME_LENGTH} characters",
            code="invalid_name",
        )
    return text


def parse_dns_label(text: str) -> str:
    """Return `text` if it may name a Site or a Node; else Invalid."""
    if not _DNS_LABEL.fullmatch(text):
        raise Invalid(
            f"{text[:80]!r} can't name a site or node: use a lower-case DNS label "
            "(a-z, 0-9 and '-', at most 63 characters)",
            code="invalid_name",
        )
    return text
