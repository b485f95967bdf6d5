"""The signed word that a position is the latest: how old a copy is, whoever stood between.

    {"iss": SERVER, "incarnation": I, "revision": R, "digest": D, "at": TIME}

as a statement (shared.auth.statements) of the kind `bookmark+jwt`.  It is the same for all who
follow, so it says nothing of their views.  `at` is when the server last read its store: a server
that has lost its database goes on saying when that was.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.auth.statements import read_statement, sign_statement, signer_of
from shared.auth.tokens import SigningKey, VerificationKey
from shared.errors import Malformed

KIND: Final = "bookmark+jwt"


@dataclass(frozen=True, slots=True)
class Latest:
    """What a server says: that this was its latest, and when."""

    incarnation: str
    revision: int
    digest: str
    at: datetime


class BookmarkSigner:
    """Signs for one server; what many followers are told is signed once."""

    def __init__(self, server: str, key: Callable[[], SigningKey | None]) -> None:
        """`key` returns the server's key of now, None while it has none."""
        self._server = server
        self._key = key
        self._last: tuple[Latest, str] | None = None

    def sign(self, latest: Latest) -> str | None:
        """Return a server's signed word; None while it has no key to give it with."""
        if self._last is not None and self._last[0] == latest:
            return self._last[1]
        key = self._key()
        if key is None:
            return None
        said = {
            "iss": self._server,
            "incarnation": latest.incarnation,
            "revision": latest.revision,
            "digest": latest.digest,
            "at": latest.at.isoformat(),
        }
        self._last = latest, sign_statement(key, KIND, said)
        return self._last[1]


def read_signed(text: str, server: str, keys: Mapping[str, VerificationKey]) -> Latest | None:
    """Return what a server says by one of its keys; None if the key isn't known (yet).

    Malformed (`bad_signature`) if it is anything else than its word.
    """
    key = keys.get(signer_of(text, KIND))
    if key is None:
        return None
    said = read_statement(text, key)
    if said.get("iss") != server:
        raise _bad("it is another server's")
    return _latest(said)


def _latest(said: Mapping[str, Any]) -> Latest:
    incarnation, revision, digest = (
        said.get(each) for each in ("incarnation", "revision", "digest")
    )
    try:
        at = datetime.fromisoformat(str(said.get("at")))
    except ValueError as exc:
        raise _bad("it says no time") from exc
    if (
        not isinstance(incarnation, str)
        or not isinstance(digest, str)
        or not isinstance(revision, int)
        or isinstance(revision, bool)
        or at.tzinfo is None
    ):
        raise _bad("it says no position")
    return Latest(incarnation, revision, digest, at)


def _bad(reason: str) -> Malformed:
    return Malformed(f"a signed bookmark is not believed: {reason}", code="bad_signature")
