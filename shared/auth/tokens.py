"""JSON Web Tokens: made and read here only, with python-jose.

A key's id leads to one key and one algorithm, ES256; what a token says of its own algorithm, key
or key's address counts for nothing.  A token names one server as its audience and lives for
hours, not days.  Times are compared here, by the clock that is handed in.
"""

import hashlib
import json
import os
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from jose import jwk, jws
from jose.exceptions import JOSEError

from shared.clock import Clock
from shared.errors import Invalid, Unauthenticated
from shared.failpoints import failpoint
from shared.pki.keys import generate_key, key_from_pem, key_to_pem

ALGORITHM: Final = "ES256"
LONGEST: Final = 8 * 1024

# How far the clocks of a site and its FSM may differ.
LEEWAY: Final = timedelta(seconds=60)

# Tokens whose signatures are known to be good; one has some hundred bytes.
REMEMBERED: Final = 4096

_TEXTS: Final = ("iss", "aud", "sub", "jti")
_TIMES: Final = ("iat", "exp")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key in PEM form; its id follows from it, so that it can't name another one."""

    pem: str

    @property
    def id(self) -> str:
        return hashlib.sha256(self.public_pem.encode("ascii")).hexdigest()[:16]

    @property
    def public_pem(self) -> str:
        public: bytes = jwk.construct(self.pem, ALGORITHM).public_key().to_pem()
        return public.decode("ascii")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says: who, by which name, in which roles and tenants (None: all)."""

    subject: str
    display_name: str
    roles: tuple[str, ...]
    tenants: frozenset[str] | None
    expires_at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class IssuedToken:
    text: str
    expires_at: datetime


class TokenIssuer:
    def __init__(
        self, key: SigningKey, *, issuer: str, audience: str, lifetime: timedelta, clock: Clock
    ) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience
        self._lifetime = lifetime
        self._clock = clock

    def issue(
        self,
        subject: str,
        *,
        display_name: str,
        roles: Sequence[str],
        tenants: frozenset[str] | None = None,
    ) -> IssuedToken:
        """Return a token for one identity; it can't be taken back before it expires."""
        # Whole seconds: what is promised to the caller is what the token says.
        now = self._clock.now().replace(microsecond=0)
        expires_at = now + self._lifetime
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "name": display_name,
            "roles": list(roles),
            "iat": int(now.timestamp()),
            "exp": int(expires_at.timestamp()),
            "jti": secrets.token_hex(16),
        }
        if tenants is not None:
            claims["tenants"] = sorted(tenants)
        text = jws.sign(claims, self._key.pem, headers={"kid": self._key.id}, algorithm=ALGORITHM)
        return IssuedToken(text, expires_at)


class TokenVerifier:
    def __init__(
        self, keys: Mapping[str, str], *, issuer: str, audience: str, clock: Clock
    ) -> None:
        """`keys` maps each key's id to its public half in PEM form."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._known: OrderedDict[str, tuple[Claims, datetime]] = OrderedDict()

    def verify(self, token: str) -> Claims:
        """Return what the token says; Unauthenticated (`invalid_token`, `token_expired`).

        A signature is checked once, the times each time.  While a token is among the last that
        were seen, what it says is the same object.
        """
        found = self._known.get(token)
        if found is None:
            found = self._read(token)
        claims, begins_at = found
        now = self._clock.now()
        if now >= claims.expires_at:
            self._known.pop(token, None)
            raise Unauthenticated("the token has expired; log in again", code="token_expired")
        if now < begins_at:
            raise _refused("it is from the future; compare the clocks")
        self._known[token] = found
        self._known.move_to_end(token)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return claims

    def _read(self, token: str) -> tuple[Claims, datetime]:
        """Return what a token of ours says, and from when on it counts."""
        claims = self._signed_claims(token)
        if claims["iss"] != self._issuer or claims["aud"] != self._audience:
            raise _refused("it is meant for another server")
        begins_at = _moment(claims["iat"]) - LEEWAY
        said = Claims(
            subject=claims["sub"],
            display_name=str(claims.get("name") or claims["sub"]),
            roles=tuple(_texts(claims.get("roles", []))),
            tenants=frozenset(_texts(claims["tenants"])) if "tenants" in claims else None,
            expires_at=_moment(claims["exp"]) + LEEWAY,
            id=claims["jti"],
        )
        return said, begins_at

    def _signed_claims(self, token: str) -> dict[str, Any]:
        if len(token) > LONGEST or token.count(".") != 2 or not token.isascii():
            raise _refused("it has not the form of a token")
        try:
            header = jws.get_unverified_header(token)
            key = self._keys.get(str(header.get("kid")))
            if key is None or header.get("alg") != ALGORITHM or "crit" in header:
                raise _refused("its key is not one of ours")
            claims = json.loads(jws.verify(token, key, algorithms=ALGORITHM))
        except (JOSEError, ValueError, RecursionError) as exc:
            raise _refused("its signature is not good") from exc
        if not isinstance(claims, dict):
            raise _refused("it has no claims")
        for name in _TEXTS:
            if not isinstance(claims.get(name), str) or not claims[name]:
                raise _refused(f"the claim {name} is missing")
        for name in _TIMES:
            if not _is_time(claims.get(name)):
                raise _refused(f"the claim {name} is missing")
        return claims


def load_signing_key(path: Path) -> SigningKey:
    """Read a signing key, or make one with mode 0600 if there is none yet.

    Invalid (`key_exposed`) if others may read the file, (`invalid_key`) if it holds no P-256 key.
    """
    if not path.exists():
        _create(path)
    if path.stat().st_mode & 0o077:
        raise Invalid(
            f"others may read {path}: every token could be forged. If nobody has, run "
            f"chmod 600 {path}; else delete it, and everybody logs in again",
            code="key_exposed",
        )
    pem = path.read_text("ascii", errors="replace")
    key_from_pem(pem)
    return SigningKey(pem)


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Complete before it has its name: a process that is killed leaves no half key behind.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key_to_pem(generate_key()))
        file.flush()
        os.fsync(file.fileno())
    failpoint("token_key.synced")
    draft.replace(path)
    failpoint("token_key.replaced")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _is_time(value: Any) -> bool:
    # Beyond year 9999 datetime can't follow, and nobody means it.
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 253402300800


def _texts(value: Any) -> Sequence[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _refused("its roles or tenants are not lists of names")
    return value


def _refused(reason: str) -> Unauthenticated:
    return Unauthenticated(f"the token is not accepted: {reason}", code="invalid_token")
