"""Who is at the other end of a TLS connection, judged after the handshake.

OpenSSL has by then built a chain to a trusted root and enforced dates, path lengths and name
constraints.  That is not enough: any CA that the root vouches for, and any leaf, would pass.  So
this looks at the chain that OpenSSL verified and asks for

* exactly one URI in a leaf that is itself no CA, naming a component of this trust domain;
* the issuer for that component, and only it: an FSM's leaf directly beneath the issuing CA, an
  SDSP's and a node's beneath their own site's CA, that directly beneath the issuing CA;
* a role, site and node that this route or this client expects;
* no certificate of the chain revoked, so that revoking a site's CA revokes all that it issued.

Identity comes from nothing else: no host name, no address, no header.
"""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.errors import Forbidden, Invalid, Unauthenticated
from shared.pki.certificates import (
    Certificate,
    certificate_from_der,
    expires_first,
    is_authority,
    serial_of,
    thumbprint_of,
    uris_of,
)
from shared.pki.identity import Expectation, SpiffeId, TrustDomain, site_host

Revoked = Callable[[str], bool]
"""Says whether the certificate with a serial number (lower-case hex) is revoked.  It is asked at
each handshake and again for open connections, so it must answer at once, from memory."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """A verified component.

    `serials` are those of its whole chain but the root, the leaf's first; `expires_at` is when
    the first of them expires; `thumbprint` is the leaf's `x5t#S256` (RFC 8705 §3.1).
    """

    id: SpiffeId
    serials: tuple[str, ...]
    expires_at: datetime
    thumbprint: str

    def recheck(self, *, revoked: Revoked, now: datetime) -> None:
        """Raise Unauthenticated (`certificate_revoked`, `certificate_expired`) if it is so by now.

        For connections that stay open: end one of which this says so.  A peer that renews its
        certificate connects anew before the old one expires.
        """
        _check_revoked(self.id, self.serials, revoked)
        if now >= self.expires_at:
            raise Unauthenticated(
                f"the certificate of {self.id} has expired since it connected",
                code="certificate_expired",
            )

    def is_revoked(self, revoked: Revoked) -> bool:
        """Return whether any certificate of the chain counts no longer."""
        return any(revoked(serial) for serial in self.serials)


def has_certificate(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> bool:
    """Return whether the peer showed a certificate: a component, not a person."""
    return ssl_object.getpeercert(binary_form=True) is not None


def peer_identity(
    ssl_object: ssl.SSLObject | ssl.SSLSocket,
    *,
    trust_domain: TrustDomain,
    revoked: Revoked,
    expected: Sequence[Expectation] | None = None,
) -> PeerIdentity:
    """Return who is at the other end of a connection whose handshake is done.

    `ssl_object` comes from a context of shared.pki.tls.  `expected` None takes any component; the
    caller then checks `Expectation.check(identity.id)` itself.

    Raises Unauthenticated (`no_certificate`, `wrong_identity`, `wrong_issuer`,
    `certificate_revoked`) or Forbidden (`wrong_identity`) if a good certificate is another's.
    """
    return identify_chain(
        verified_chain(ssl_object), trust_domain=trust_domain, revoked=revoked, expected=expected
    )


def identify_chain(
    chain: Sequence[Certificate],
    *,
    trust_domain: TrustDomain,
    revoked: Revoked,
    expected: Sequence[Expectation] | None = None,
) -> PeerIdentity:
    """Judge a chain, leaf first and root last, that OpenSSL has verified.  Raises as above."""
    try:
        identity = _identity_of(chain[0], trust_domain)
        _check_issuer(identity, [uris_of(each) for each in chain[1:]])
    except Invalid as exc:
        raise Unauthenticated(exc.message, code=exc.code) from exc
    below_root = chain[:-1]
    serials = tuple(serial_of(each) for each in below_root)
    _check_revoked(identity, serials, revoked)
    if expected is not None and not any(each.is_met_by(identity) for each in expected):
        wanted = " or ".join(str(each) for each in expected)
        raise Forbidden(f"{wanted} is expected here, not {identity}", code="wrong_identity")
    return PeerIdentity(identity, serials, expires_first(below_root), thumbprint_of(chain[0]))


def verified_chain(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> tuple[Certificate, ...]:
    """Return the chain that OpenSSL verified, leaf first, root last.

    Raises Unauthenticated (`no_certificate`) if the peer showed none, and (`wrong_issuer`) for a
    resumed session, which has none: our contexts issue no tickets, so that each connection is
    judged by the roots and revocations of now.
    """
    if not has_certificate(ssl_object):
        raise Unauthenticated(
            "a component's certificate is needed here; none was shown", code="no_certificate"
        )
    # The method became public in Python 3.13; 3.10 to 3.12 have it on the object beneath.
    source: Any = ssl_object
    if not hasattr(source, "get_verified_chain"):
        source = source._sslobj  # noqa: SLF001 - see above
    found = source.get_verified_chain()
    if not found:
        raise Unauthenticated(
            "the connection resumes an older one; connect without resumption", code="wrong_issuer"
        )
    return tuple(certificate_from_der(_der(each)) for each in found)


def _der(certificate: Any) -> bytes:
    if isinstance(certificate, bytes):
        return certificate
    return ssl.PEM_cert_to_DER_cert(certificate.public_bytes())


def _identity_of(leaf: Certificate, trust_domain: TrustDomain) -> SpiffeId:
    uris = uris_of(leaf)
    if len(uris) != 1:
        raise Invalid(
            f"a component's certificate has exactly one URI, this has {len(uris)}",
            code="wrong_identity",
        )
    if is_authority(leaf):
        raise Invalid("a CA's certificate identifies no component", code="wrong_identity")
    return SpiffeId.parse(uris[0], trust_domain)


def _check_issuer(identity: SpiffeId, above: Sequence[list[str]]) -> None:
    """Compare the URIs of the CAs above a leaf with those that must stand there.

    A CA's own URI can be relied on: only the root issues beneath itself, only the issuing CA
    issues sites' CAs, and a site's CA, of path length 0, none.
    """
    federation = [f"spiffe://{identity.trust_domain}"]
    wanted = [federation, federation]
    if identity.site is not None:
        wanted.insert(0, [f"spiffe://{site_host(identity.site, identity.trust_domain)}"])
    if list(above) != wanted:
        whose = f"the CA of site {identity.site}" if identity.site else "the FSM's issuing CA"
        raise Invalid(
            f"the certificate of {identity} is not issued by {whose}", code="wrong_issuer"
        )


def _check_revoked(identity: SpiffeId, serials: Sequence[str], revoked: Revoked) -> None:
    for serial in serials:
        if revoked(serial):
            what = "certificate" if serial == serials[0] else "CA"
            raise Unauthenticated(
                f"the {what} of {identity} (serial {serial}) is revoked; join again",
                code="certificate_revoked",
            )
