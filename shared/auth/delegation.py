"""Tokens by which the FSM asks one site one question in a person's name.

Such a token names the person and the groups of his that count at sites, but no permission: what he
may do there, the site knows by itself.  It is good for reading, at one site, over a connection
with the FSM's very certificate (RFC 8705 §3.1, `cnf`), for a question with one hash, until shortly
after its deadline.  Whoever gets hold of it can do nothing with it that the FSM wouldn't.

It is of a type of its own: no server takes it for a login's, nor a login's token for one of these.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared.auth.identity import CallerKind
from shared.auth.tokens import (
    LEEWAY,
    LONGEST,
    SigningKey,
    VerificationKey,
    expired,
    from_the_future,
    key_id_of,
    moment_of,
    refused,
    signed_claims,
)
from shared.clock import Clock
from shared.errors import TooLarge

TYPE: Final = "hanse-question+jwt"

GRACE: Final = timedelta(seconds=60)
"""How long a token counts after its question's deadline: two clocks may differ."""

LONGEST_DEADLINE: Final = timedelta(minutes=5)

_TEXTS: Final = ("iss", "aud", "sub", "jti", "scope", "kind", "qh")
_READ_ONLY: Final = "read"
_ASKING: Final = frozenset({CallerKind.PERSON, CallerKind.SERVICE_ACCOUNT})


@dataclass(frozen=True, slots=True)
class Asker:
    """In whose name something is asked.

    `name` is the user name, or a service account's `TENANT/NAME`; `groups` are those of his
    groups that mean something at sites.
    """

    kind: CallerKind
    identity: str
    name: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Binding:
    """What a token is bound to: who signs it, the site, the certificate and the question.

    `issuer` and `audience` are identities of components, `thumbprint` is the `x5t#S256` of the
    certificate over whose connection the token comes, `question` a hash as of hash_of().
    """

    issuer: str
    audience: str
    thumbprint: str
    question: str


@dataclass(frozen=True, slots=True)
class Delegated:
    """A good token: in whose name, its id, and until when it counts."""

    asker: Asker
    id: str
    issued_at: datetime
    expires_at: datetime


def hash_of(question: bytes) -> str:
    """Return what a token is bound to of a question: the SHA-256 of its very bytes, base64url."""
    return base64.urlsafe_b64encode(hashlib.sha256(question).digest()).rstrip(b"=").decode("ascii")


def lifetime_of(deadline: timedelta) -> timedelta:
    """Return how long the token of a question with this deadline lives."""
    return min(deadline, LONGEST_DEADLINE) + GRACE


def delegate(
    key: SigningKey, asker: Asker, binding: Binding, *, deadline: timedelta, clock: Clock
) -> str:
    """Return a token in somebody's name; TooLarge if he is in too many groups for one."""
    now = clock.now().replace(microsecond=0)
    claims = {
        "iss": binding.issuer,
        "aud": binding.audience,
        "sub": asker.identity,
        "kind": asker.kind.value,
        "name": asker.name,
        "groups": sorted(asker.groups),
        "act": {"sub": binding.issuer},
        "scope": _READ_ONLY,
        "cnf": {"x5t#S256": binding.thumbprint},
        "qh": binding.question,
        "jti": secrets.token_hex(16),
        "iat": int(now.timestamp()),
        "exp": int((now + lifetime_of(deadline)).timestamp()),
    }
    token = key.sign(claims, kind=TYPE)
    if len(token) > LONGEST:
        raise TooLarge(
            f"{asker.identity} is in too many groups that roles at sites are bound to: bind the "
            "roles to fewer"
        )
    return token


def key_id_in(token: str) -> str:
    """Return the id of the key that a token names; Unauthenticated (`invalid_token`)."""
    return key_id_of(token, kind=TYPE)


def read_delegation(
    token: str, key: VerificationKey, binding: Binding, *, clock: Clock
) -> Delegated:
    """Return in whose name a token is; Unauthenticated (`invalid_token`, `token_expired`).

    `key` is the one that key_id_in() names, of the issuer that `binding` names.
    """
    claims = signed_claims(token, key, texts=_TEXTS)
    _check_binding(claims, binding)
    issued_at, expires_at = moment_of(claims["iat"]), moment_of(claims["exp"])
    if expires_at - issued_at > lifetime_of(LONGEST_DEADLINE):
        raise refused("it lives longer than any question takes")
    now = clock.now()
    if now >= expires_at:
        raise expired()
    if now < issued_at - LEEWAY:
        raise from_the_future()
    return Delegated(_asker_in(claims), claims["jti"], issued_at, expires_at)


def _check_binding(claims: Mapping[str, Any], binding: Binding) -> None:
    if claims["iss"] != binding.issuer or claims["aud"] != binding.audience:
        raise refused("it is meant for another server")
    if claims.get("act") != {"sub": binding.issuer}:
        raise refused("it doesn't say that the FSM asks")
    if claims["scope"] != _READ_ONLY:
        raise refused("it is not for reading only")
    bound = claims.get("cnf")
    shown = bound.get("x5t#S256") if isinstance(bound, Mapping) else None
    if not isinstance(shown, str) or not _same(shown, binding.thumbprint):
        raise refused("it is bound to another certificate than this connection's")
    if not _same(claims["qh"], binding.question):
        raise refused("it is bound to another question")


def _asker_in(claims: Mapping[str, Any]) -> Asker:
    groups: Sequence[Any] = claims.get("groups", ())
    name = claims.get("name")
    if not isinstance(groups, list) or not all(isinstance(each, str) for each in groups):
        raise refused("its groups can't be read")
    if claims["kind"] not in _ASKING or not isinstance(name, str) or not name:
        raise refused("it names nobody who may ask")
    return Asker(CallerKind(claims["kind"]), claims["sub"], name, frozenset(groups))


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
