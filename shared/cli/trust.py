"""Whom a person's client talks to: roots, and who must stand at the other end.

Whoever is asked for a password must be known first.  The FSM is known by its certificate, which
nobody else's key can make.  An SDSP's certificate says which site it is of, and whoever stole one
site's key could stand at any address: so it must be the site that the client was told to expect,
as a saved context does, or its certificate must be made for the host that is called, which a
site's CA can do for the site's own hosts only.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final

from yarl import URL

from shared.enrolment.joining import ROOT_PATH
from shared.errors import Forbidden, Invalid
from shared.http.peer import PeerClient
from shared.pki.authority import trust_domain_of
from shared.pki.certificates import (
    Certificate,
    certificates_from_pem,
    certificates_to_pem,
    fingerprint_of,
)
from shared.pki.identity import Expectation, Role, SpiffeId, TrustDomain
from shared.pki.links import accept_roots
from shared.pki.peer import PeerIdentity
from shared.pki.tls import ServerCheck, unverified_context_for_root_download, visitor_context

# People talk to these two; a node has no API for them.
_SERVERS: Final = (Expectation(Role.FSM), Expectation(Role.SDSP))


def server_url(text: str) -> str:
    """Return `https://HOST:PORT`; Invalid (`invalid_server`) if that isn't what `text` says."""
    try:
        url = URL(text if "://" in text else f"https://{text}")
        sound = url.scheme == "https" and bool(url.host) and url.path in ("", "/")
        sound = sound and url.user is None and not url.query_string and not url.fragment
    except ValueError:
        sound = False
    if not sound:
        raise Invalid(
            f"{text[:200]!r} is no server; write it as https://HOST:PORT", code="invalid_server"
        )
    return str(url.origin())


def read_roots(ca: str | Path) -> tuple[Certificate, ...]:
    """Return the root certificates of a PEM file, or of PEM text.

    Invalid (`invalid_certificate`, `not_an_authority`) unless they are one federation's.
    """
    if isinstance(ca, Path):
        try:
            ca = ca.read_text("ascii", errors="replace")
        except OSError as exc:
            raise Invalid(
                f"the CA file {ca} can't be read: {exc.strerror}", code="invalid_certificate"
            ) from exc
    roots = certificates_from_pem(ca)
    if len({trust_domain_of(each) for each in roots}) != 1:
        raise Invalid("the CA file has roots of several federations", code="invalid_certificate")
    return roots


def person_context(
    roots: Sequence[Certificate], *, identity: SpiffeId | None = None
) -> ssl.SSLContext:
    """Return the TLS context of a person's client.

    With `identity` the server must be that component; without, the FSM, or an SDSP whose
    certificate is made for the host that is called.
    """
    if identity is None:
        check: ServerCheck = _HostCheck(_domain(roots), _SERVERS, revoked=_never)
    else:
        expected = (Expectation(identity.role, identity.site),)
        check = ServerCheck(_domain(roots), expected, revoked=_never)
    return visitor_context(roots, check=check)


@dataclass(frozen=True, slots=True)
class Found:
    """Who answers somewhere, and whether that certificate vouches for the host."""

    id: SpiffeId
    is_made_for_host: bool


async def identify(server: str, roots: Sequence[Certificate]) -> Found:
    """Return who answers at `server`: the FSM or an SDSP; Unreachable if it is neither.

    Nothing secret is sent.
    """
    check = _Recorder(_domain(roots), _SERVERS, revoked=_never)
    client = PeerClient([server], tls=visitor_context(roots, check=check))
    try:
        await client.get("/livez")
    finally:
        await client.close()
    return check.found[-1]


async def offered_roots(server: str) -> str:
    """Return the PEM of the roots that `server` gives out, over a connection that proves nothing.

    A person must compare their fingerprints before anything relies on them.
    """
    client = PeerClient([server], tls=unverified_context_for_root_download())
    try:
        pem = (await client.get(ROOT_PATH)).body.decode("ascii", errors="replace")
    finally:
        await client.close()
    return certificates_to_pem(read_roots(pem))


def followed(ca: str, offered: str, links: str) -> str:
    """Return the PEM of the offered roots, each of which a root in `ca` vouches for.

    Unauthenticated (`unlinked_root`) if one isn't; Invalid if they can't be read.
    """
    vouching = certificates_from_pem(links) if links else ()
    return certificates_to_pem(accept_roots(read_roots(ca), read_roots(offered), vouching))


def fingerprints(roots: Sequence[Certificate]) -> list[str]:
    """Return the SHA-256 of each root, as `openssl x509 -fingerprint -sha256` writes it."""
    return [fingerprint_of(each).hex(":").upper() for each in roots]


def parse_fingerprint(text: str) -> bytes:
    """Read a SHA-256 with or without colons, in either case; Invalid (`invalid_fingerprint`)."""
    digits = text.strip().lower().removeprefix("sha256:").replace(":", "")
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise Invalid(
            f"{text[:120]!r} is no SHA-256: it has 64 hexadecimal digits",
            code="invalid_fingerprint",
        )
    return found


def _never(_serial: str) -> bool:
    # People hear of no revocations; certificates live for a day.
    return False


def _domain(roots: Sequence[Certificate]) -> TrustDomain:
    return trust_domain_of(roots[0])


def _is_made_for_host(ssl_object: ssl.SSLObject) -> bool:
    """Compare the certificate's names with the host that was called; we issue no wildcards."""
    host = (ssl_object.server_hostname or "").rstrip(".").lower()
    certificate: Any = ssl_object.getpeercert() or {}
    names = certificate.get("subjectAltName", ())
    try:
        address = ip_address(host)
    except ValueError:
        return ("DNS", host) in names
    return any(kind == "IP Address" and _is_address(text, address) for kind, text in names)


def _is_address(name: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return ip_address(name.strip()) == address
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class _HostCheck(ServerCheck):
    """Lets an SDSP pass only if its certificate is made for the host."""

    def identify(self, ssl_object: ssl.SSLObject) -> PeerIdentity:
        # Named out: a class with slots has no `super()` without arguments in Python 3.11.
        peer = ServerCheck.identify(self, ssl_object)
        if peer.id.role is not Role.FSM and not _is_made_for_host(ssl_object):
            raise Forbidden(
                f"{peer.id} answers, but its certificate is not made for this host; say that you "
                "expect it there",
                code="wrong_host",
            )
        return peer


@dataclass(frozen=True, slots=True)
class _Recorder(ServerCheck):
    """Remembers whom it let pass."""

    found: list[Found] = field(default_factory=list)

    def identify(self, ssl_object: ssl.SSLObject) -> PeerIdentity:
        peer = ServerCheck.identify(self, ssl_object)
        self.found.append(Found(peer.id, _is_made_for_host(ssl_object)))
        return peer
