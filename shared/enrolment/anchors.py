"""The roots and the issuing CA that the FSM publishes, as objects that the feed carries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from shared.ids import COMMON, FEDERATION, Key
from shared.pki.certificates import (
    Certificate,
    certificates_from_pem,
    certificates_to_pem,
    serial_of,
)
from shared.store.contract import Draft, Selection, Stored

KIND: Final = "TrustAnchor"
ANCHORS: Final = Selection(kinds=frozenset({KIND}), scopes=frozenset({FEDERATION}))

State = Literal["current", "next", "leaving"]


@dataclass(frozen=True, slots=True)
class Anchors:
    """What is published: roots, the issuing CA of now, and links that vouch for new roots."""

    roots: tuple[Certificate, ...]
    issuing: Certificate | None
    links: tuple[Certificate, ...]

    @property
    def issuing_serial(self) -> str | None:
        return serial_of(self.issuing) if self.issuing else None

    @classmethod
    def of(cls, stored: Iterable[Stored]) -> Self:
        roots: list[Certificate] = []
        links: list[Certificate] = []
        issuing: Certificate | None = None
        for each in stored:
            (certificate,) = certificates_from_pem(each.spec["certificate"])
            if each.spec["role"] == "root":
                roots.append(certificate)
                links += certificates_from_pem(each.spec["link"]) if "link" in each.spec else ()
            elif each.spec["state"] == "current":
                issuing = certificate
        return cls(tuple(roots), issuing, tuple(links))


def anchor(
    certificate: Certificate,
    role: Literal["root", "issuing"],
    state: State,
    links: Sequence[Certificate] = (),
) -> Draft:
    """Return the object that publishes a root or an issuing CA."""
    spec: dict[str, Any] = {
        "role": role,
        "state": state,
        "certificate": certificates_to_pem([certificate]),
    }
    own = [each for each in links if each.public_key() == certificate.public_key()]
    if own:
        spec["link"] = certificates_to_pem(own)
    return Draft(key=Key(KIND, COMMON, FEDERATION, serial_of(certificate)), spec=spec)
