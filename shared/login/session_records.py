"""A login as it is kept, and the refresh token that prolongs it.

A refresh token is opaque: `hanse_rt_SESSION_FAMILY_SECRET`.  The family is the same in all tokens
of one login, the secret is new in each; only hashes of both are kept.  So a token with the right
family and a secret that is not the latest one was once given out, and is used again, while one
with a wrong family was never given out: the first ends the login, the second nothing.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from shared.auth.tokens import LEEWAY

SESSIONS: Final = "sessions"
ENDED: Final = "endedlogins"
"""Records of what counts no longer although it hasn't expired, for processes that remember it:
`session:ID`, `token:ID`, `program:ID`; and of sessions whose facts have changed."""

GRACE: Final = timedelta(seconds=60)
"""The token that was used last may be used again for so long, as long as nobody has used the one
that was given for it: whoever lost the answer asks again.  A client that gives up on an answer
does so within 30 seconds (shared.http.peer)."""

_PREFIX: Final = "hanse_rt"
_FORM: Final = re.compile(r"hanse_rt_([0-9a-f]{32})_([0-9a-f]{32})_([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class RefreshToken:
    session: str
    family: str = field(repr=False)
    secret: str = field(repr=False)

    @classmethod
    def first(cls, session: str) -> "RefreshToken":
        return cls(session, secrets.token_hex(16), secrets.token_hex(32))

    @classmethod
    def parse(cls, text: str) -> "RefreshToken | None":
        found = _FORM.fullmatch(text)
        return cls(*found.groups()) if found else None

    @property
    def text(self) -> str:
        return f"{_PREFIX}_{self.session}_{self.family}_{self.secret}"

    def next(self) -> "RefreshToken":
        return replace(self, secret=secrets.token_hex(32))


@dataclass(frozen=True, slots=True)
class Session:
    """One login of a person.

    `roles` come with the account itself, `groups` from the provider.  It ends at `expires_at`
    whatever happens.  `latest` and `previous` are hashes of refresh tokens' secrets, `family` of
    what they share; `rotated_at` is when the previous one was first used.  `store` is the
    incarnation of the store: a login isn't brought back by a restore.
    """

    id: str
    identity: str
    username: str
    display_name: str
    provider: str
    groups: frozenset[str]
    roles: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    store: str
    address: str | None = None
    is_emergency: bool = False
    family: str = field(default="", repr=False)
    latest: str = field(default="", repr=False)
    previous: str | None = field(default=None, repr=False)
    rotated_at: datetime | None = None
    renewed_at: datetime | None = None

    def judge(self, token: RefreshToken, *, now: datetime) -> Literal["good", "reused", "forged"]:
        """Say what a refresh token for this session is worth."""
        if not hmac.compare_digest(self.family, digest(token.family)):
            return "forged"
        hashed = digest(token.secret)
        if hmac.compare_digest(self.latest, hashed):
            return "good"
        if (
            self.previous is not None
            and hmac.compare_digest(self.previous, hashed)
            and self.rotated_at is not None
            and -LEEWAY <= now - self.rotated_at <= GRACE
        ):
            return "good"
        return "reused"

    def rotated(self, used: RefreshToken, given: RefreshToken, *, now: datetime) -> "Session":
        """Return the session once a token was used and another given."""
        hashed = digest(used.secret)
        if hashed != self.latest:
            # Asked again: the grace isn't prolonged, and what was given first counts no longer.
            return replace(self, latest=digest(given.secret), renewed_at=now)
        return replace(
            self, latest=digest(given.secret), previous=hashed, rotated_at=now, renewed_at=now
        )

    def to_record(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "username": self.username,
            "displayName": self.display_name,
            "provider": self.provider,
            "groups": sorted(self.groups),
            "roles": list(self.roles),
            "createdAt": self.created_at.isoformat(),
            "expiresAt": self.expires_at.isoformat(),
            "store": self.store,
            "address": self.address,
            "emergency": self.is_emergency,
            "family": self.family,
            "latest": self.latest,
            "previous": self.previous,
            "rotatedAt": _text(self.rotated_at),
            "renewedAt": _text(self.renewed_at),
        }

    @classmethod
    def from_record(cls, name: str, record: Mapping[str, Any]) -> "Session":
        return cls(
            id=name,
            identity=record["identity"],
            username=record["username"],
            display_name=record["displayName"],
            provider=record["provider"],
            groups=frozenset(record["groups"]),
            roles=tuple(record["roles"]),
            created_at=datetime.fromisoformat(record["createdAt"]),
            expires_at=datetime.fromisoformat(record["expiresAt"]),
            store=record["store"],
            address=record["address"],
            is_emergency=record["emergency"],
            family=record["family"],
            latest=record["latest"],
            previous=record["previous"],
            rotated_at=_moment(record["rotatedAt"]),
            renewed_at=_moment(record["renewedAt"]),
        )


def digest(secret: str) -> str:
    """Return what is kept of a secret of 128 bits or more: no salt, nobody can guess it."""
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def same_person(identity: str) -> str:
    """Return what is equal for all spellings of a person's identity.

    Whether Kim and kim are one is each server's setting; who is out must not stay by spelling.
    """
    return identity.casefold()


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
