"""JSON Web Tokens: made and read here only, with python-jose.

A key's id leads to one key and one algorithm, ES256; what a token says of its own algorithm, key
or key's address counts for nothing.  A token names one server as its issuer and audience, and the
login (`sid`) that it belongs to; who that is, and what he may do, is not said in it.  It lives for
minutes.  Times are compared here, by the clock that is handed in.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from jose import jwk, jws
from jose.exceptions import JOSEError

from shared.clock import Clock
from shared.errors import Unauthenticated
from shared.pki.keys import generate_key, key_to_pem

ALGORITHM: Final = "ES256"
TYPE: Final = "at+jwt"
"""RFC 9068 §2.1: no token that was made for something else is taken for one of these."""

LONGEST: Final = 8 * 1024

# How far the clocks of two servers may differ.
LEEWAY: Final = timedelta(seconds=60)

_TEXTS: Final = ("iss", "aud", "sub", "sid", "jti")
_TIMES: Final = ("iat", "exp")


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """The public half of a signing key.

    Its id follows from it, so that it can't name another one (RFC 7638 in spirit, over PEM).
    """

    public_pem: str
    id: str = field(init=False)
    # python-jose reads PEM anew for each token otherwise.
    _read: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.public_pem.encode("ascii")).hexdigest()
        object.__setattr__(self, "id", digest[:16])
        object.__setattr__(self, "_read", jwk.construct(self.public_pem, ALGORITHM))

    def payload(self, token: str) -> bytes:
        """Return what a token says if this key signed it; JOSEError."""
        said: bytes = jws.verify(token, self._read, algorithms=[ALGORITHM])
        return said


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key in PEM form, with its public half."""

    pem: str = field(repr=False)
    public: VerificationKey = field(init=False)
    _read: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        read = jwk.construct(self.pem, ALGORITHM)
        public: bytes = read.public_key().to_pem()
        object.__setattr__(self, "_read", read)
        object.__setattr__(self, "public", VerificationKey(public.decode("ascii")))

    @classmethod
    def generate(cls) -> "SigningKey":
        return cls(key_to_pem(generate_key()))

    @property
    def id(self) -> str:
        return self.public.id

    @property
    def public_pem(self) -> str:
        return self.public.public_pem

    def sign(self, claims: dict[str, Any], *, kind: str = TYPE) -> str:
        """Return what is said, signed; `kind` is the type that stands in its header."""
        headers = {"kid": self.id, "typ": kind}
        text: str = jws.sign(claims, self._read, headers=headers, algorithm=ALGORITHM)
        return text


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says: whom it stands for, in which login, and its own id.

    `expires_at` is when it stops counting, leeway included.
    """

    subject: str
    session: str
    id: str
    key: str
    begins_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class IssuedToken:
    text: str = field(repr=False)
    id: str
    expires_at: datetime


class TokenIssuer:
    """Makes the tokens of one server, which is both their issuer and their audience."""

    def __init__(self, server: str, *, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    def issue(
        self, key: SigningKey, *, subject: str, session: str, lifetime: timedelta
    ) -> IssuedToken:
        """Return a token of one login, signed with a key of this server."""
        # Whole seconds: what is promised to the caller is what the token says.
        now = self._clock.now().replace(microsecond=0)
        expires_at = (now + lifetime).replace(microsecond=0)
        token_id = secrets.token_hex(16)
        claims = {
            "iss": self._server,
            "aud": self._server,
            "sub": subject,
            "sid": session,
            "jti": token_id,
            "iat": int(now.timestamp()),
            "exp": int(expires_at.timestamp()),
        }
        return IssuedToken(key.sign(claims), token_id, expires_at)


class TokenVerifier:
    """Reads the tokens that are meant for one server."""

    def __init__(self, server: str, *, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    def verify(self, token: str, key: VerificationKey) -> Claims:
        """Return what a token says; Unauthenticated (`invalid_token`, `token_expired`).

        `key` is the one that key_id_of() names.
        """
        claims = signed_claims(token, key, texts=_TEXTS)
        if claims["iss"] != self._server or claims["aud"] != self._server:
            raise refused("it is meant for another server")
        said = Claims(
            subject=claims["sub"],
            session=claims["sid"],
            id=claims["jti"],
            key=key.id,
            begins_at=moment_of(claims["iat"]) - LEEWAY,
            expires_at=moment_of(claims["exp"]) + LEEWAY,
        )
        self.check_times(said)
        return said

    def check_times(self, claims: Claims) -> None:
        """Raise Unauthenticated unless a token that was good once is so now."""
        now = self._clock.now()
        if now >= claims.expires_at:
            raise expired()
        if now < claims.begins_at:
            raise from_the_future()


def key_id_of(token: str, *, kind: str = TYPE) -> str:
    """Return the id of the key that a token names; Unauthenticated (`invalid_token`).

    `kind` is what it must have been made for.  Nothing else of what its header says counts.
    """
    if len(token) > LONGEST or token.count(".") != 2 or not token.isascii():
        raise refused("it has not the form of a token")
    try:
        header = jws.get_unverified_header(token)
    except (JOSEError, ValueError, RecursionError) as exc:
        raise refused("it has not the form of a token") from exc
    name = header.get("kid")
    if (
        not isinstance(name, str)
        or header.get("alg") != ALGORITHM
        or header.get("typ") != kind
        or "crit" in header
    ):
        raise unknown_key()
    return name


def expired() -> Unauthenticated:
    return Unauthenticated("the token has expired; log in again", code="token_expired")


def refused(reason: str) -> Unauthenticated:
    return Unauthenticated(f"the token is not accepted: {reason}", code="invalid_token")


def from_the_future() -> Unauthenticated:
    return refused("it is from the future; compare the clocks")


def unknown_key() -> Unauthenticated:
    return refused("its key is not one of ours")


def signed_claims(token: str, key: VerificationKey, *, texts: Sequence[str]) -> dict[str, Any]:
    """Return what a token says, with all of `texts` and the times; Unauthenticated."""
    try:
        claims = json.loads(key.payload(token))
    except (JOSEError, ValueError, RecursionError) as exc:
        raise refused("its signature is not good") from exc
    if not isinstance(claims, dict):
        raise refused("it has no claims")
    for name in texts:
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise refused(f"the claim {name} is missing")
    for name in _TIMES:
        if not _is_time(claims.get(name)):
            raise refused(f"the claim {name} is missing")
    return claims


def moment_of(seconds: float) -> datetime:
    """Return the time that a claim says."""
    return datetime.fromtimestamp(seconds, UTC)


def _is_time(value: Any) -> bool:
    # Beyond year 9999 datetime can't follow, and nobody means it; leeway is added to it.
    return isinstance(value, int) and not isinstance(value, bool) and 60 < value < 253402300000
