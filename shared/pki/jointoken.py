"""Join tokens: how a component that has no certificate yet is trusted once, and trusts.

    hanse-join-1.KIND.SITE.NAME.SECRET.ROOT.CHECK

KIND is `sdsp` or `node`, NAME the node's (an SDSP's is its site's), SECRET 256 random bits, ROOT
the SHA-256 of the federation's root certificate (both base64url), CHECK the first six bytes of
the SHA-256 of the text before it, which finds a slip in copying and secures nothing.

The server keeps only the hash of the token, taken over all that it says: a token with another
kind or name is another token, and unknown.  The joiner fetches the root over a connection that it
doesn't trust, compares it with ROOT, connects anew to the component it expects beneath that root,
and only then sends the token.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

from shared.errors import Invalid, Unauthenticated
from shared.ids import parse_dns_label
from shared.pki.authority import trust_domain_of
from shared.pki.certificates import Certificate, certificates_from_pem, fingerprint_of
from shared.pki.identity import Expectation, Role, SpiffeId, TrustDomain
from shared.pki.tls import ServerCheck

PREFIX: Final = "hanse-join-1"
SECRET_BYTES: Final = 32
TOKEN_LENGTH: Final = 300


class JoinKind(StrEnum):
    SDSP = "sdsp"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class JoinToken:
    """One permission to join, as the joiner holds it.  `secret` stays out of its repr."""

    kind: JoinKind
    site: str
    name: str
    root: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def create(
        cls,
        kind: JoinKind,
        *,
        site: str,
        name: str,
        root: Certificate,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> Self:
        """Return a new token; for an SDSP `name` is `site`.  Invalid (`invalid_name`) else."""
        parse_dns_label(site)
        parse_dns_label(name)
        if kind is JoinKind.SDSP and name != site:
            raise Invalid(f"the SDSP of site {site} is named {site} too", code="invalid_name")
        return cls(kind, site, name, fingerprint_of(root), entropy(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the token in a line of text; Invalid (`join_token_invalid`) says what is wrong."""
        text = text.strip()
        parts = text.split(".")
        if parts[0] != PREFIX or len(text) > TOKEN_LENGTH:
            raise _invalid(f"this is no join token: one begins with {PREFIX}")
        if len(parts) != 7:
            raise _invalid("the join token is cut off or has too much: copy the whole line")
        if not hmac.compare_digest(_check(parts[:-1]).encode(), parts[-1].encode()):
            raise _invalid("the join token was changed in copying: copy the whole line again")
        _, kind, site, name, secret, root, _ = parts
        if kind not in set(JoinKind):
            raise _invalid(
                f"the join token is for a {kind[:20]!r}, which this version doesn't know"
            )
        token = cls(
            JoinKind(kind),
            parse_dns_label(site),
            parse_dns_label(name),
            _decode(root),
            _decode(secret),
        )
        if token.kind is JoinKind.SDSP and token.name != token.site:
            raise _invalid("the join token contradicts itself: ask for a new one")
        return token

    def __str__(self) -> str:
        parts = [PREFIX, self.kind, self.site, self.name, _encode(self.secret), _encode(self.root)]
        return ".".join([*parts, _check(parts)])

    @property
    def hash(self) -> str:
        """The SHA-256 (hex) over all that the token says: what the server keeps and looks up."""
        return hashlib.sha256(str(self).encode("ascii")).hexdigest()

    def check_kind(self, kind: JoinKind) -> None:
        """Raise Invalid (`join_token_kind`) unless the token is for a component of `kind`."""
        if self.kind is not kind:
            raise Invalid(
                f"this join token is for {_article(self.kind)}, not for {_article(kind)}",
                code="join_token_kind",
            )

    def server_check(self, root: Certificate) -> ServerCheck:
        """Return what the joiner asks of the server to which it will send the token.

        An SDSP joins at the FSM, a node at the SDSP of its site.  A joiner knows of no
        revocations yet.
        """
        role = Role.FSM if self.kind is JoinKind.SDSP else Role.SDSP
        site = None if self.kind is JoinKind.SDSP else self.site
        return ServerCheck(
            trust_domain_of(root), (Expectation(role, site),), revoked=lambda _serial: False
        )

    def identity(self, trust_domain: TrustDomain) -> SpiffeId:
        """Return who the joiner will be."""
        if self.kind is JoinKind.SDSP:
            return SpiffeId.sdsp(trust_domain, self.site)
        return SpiffeId.of_node(trust_domain, self.site, self.name)


def is_hash_of(stored: str, token: JoinToken) -> bool:
    """Compare a stored hash with a token's, in a time that says nothing of where they differ."""
    return hmac.compare_digest(stored.encode(), token.hash.encode())


def check_root(pem: str, fingerprint: bytes) -> Certificate:
    """Return the root in `pem` whose SHA-256 is `fingerprint` (32 bytes).

    There are several while a CA is exchanged.  Raises Unauthenticated (`wrong_root`) if it is not
    among them, Invalid (`invalid_certificate`) if `pem` holds none.
    """
    for certificate in certificates_from_pem(pem):
        if hmac.compare_digest(fingerprint_of(certificate), fingerprint):
            return certificate
    raise Unauthenticated(
        "the server's root certificate is not the one that the join token names: this is another "
        "federation's server, or somebody between; nothing was sent",
        code="wrong_root",
    )


def _check(parts: list[str]) -> str:
    return _encode(hashlib.sha256(".".join(parts).encode()).digest()[:6])


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise _invalid("the join token can't be read: copy the whole line again") from exc
    # Re-encoding finds the spellings that decode to the same bytes.
    if len(data) != SECRET_BYTES or _encode(data) != text:
        raise _invalid("the join token can't be read: copy the whole line again")
    return data


def _article(kind: JoinKind) -> str:
    return "an SDSP" if kind is JoinKind.SDSP else "a node"


def _invalid(message: str) -> Invalid:
    return Invalid(message, code="join_token_invalid")
