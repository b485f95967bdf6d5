"""Whom a person's client talks to: roots, and who must stand at the other end.

Whoever is asked for a password must be known first.  A server is known by its identity in the
federation (`spiffe://hanse.example/fsm`) if the client was told which to expect, as a saved
context does; then its address doesn't matter, as through a tunnel.  Without that, the certificate
must also be made for the host that was asked for: a site's stolen key can then not stand in for
the FSM, since a site's CA can't vouch for the FSM's host.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from yarl import URL

from shared.enrolment.joining import ROOT_PATH
from shared.errors import Invalid, Unreachable
from shared.http.peer import PeerClient
from shared.pki.authority import trust_domain_of
from shared.pki.certificates import (
    Certificate,
    certificates_from_pem,
    certificates_to_pem,
    fingerprint_of,
)
from shared.pki.identity import Expectation, Role, SpiffeId
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

    With `identity` the server must be that component; without, the FSM or an SDSP whose
    certificate is made for the host that is called.
    """
    expected = _SERVERS if identity is None else (Expectation(identity.role, identity.site),)
    context = visitor_context(
        roots,
        # People hear of no revocations; certificates live for a day.
        check=ServerCheck(trust_domain_of(roots[0]), expected, revoked=_never),
    )
    if identity is None:
        context.hostname_checks_common_name = False
        context.check_hostname = True
    return context


async def identify(server: str, roots: Sequence[Certificate]) -> SpiffeId:
    """Return who answers at `server`, whatever its certificate says of hosts; Unreachable.

    Nothing secret is sent.
    """
    check = _Recorder(trust_domain_of(roots[0]), _SERVERS, revoked=_never)
    client = PeerClient([server], tls=visitor_context(roots, check=check))
    try:
        await client.get("/livez")
    finally:
        await client.close()
    return check.found[-1].id


async def is_made_for_host(server: str, roots: Sequence[Certificate], who: SpiffeId) -> bool:
    """Return whether the certificate of `who`, that answers at `server`, is for that host."""
    context = person_context(roots, identity=who)
    context.hostname_checks_common_name = False
    context.check_hostname = True
    client = PeerClient([server], tls=context)
    try:
        await client.get("/livez")
    except Unreachable as exc:
        if exc.code != "wrong_host":
            raise
        return False
    finally:
        await client.close()
    return True


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
    return False


@dataclass(frozen=True, slots=True)
class _Recorder(ServerCheck):
    """Remembers whom it let pass."""

    found: list[PeerIdentity] = field(default_factory=list)

    def identify(self, ssl_object: ssl.SSLObject) -> PeerIdentity:
        # Named out: a class with slots has no `super()` without arguments in Python 3.11.
        identity = ServerCheck.identify(self, ssl_object)
        self.found.append(identity)
        return identity
