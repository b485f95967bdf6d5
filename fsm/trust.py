"""The FSM's keys and certificates, and how each is made from the one above.

DATA/pki/root      the federation's root; its key may be taken offline
DATA/pki/issuing   the CA that signs sites' CAs and the FSM's own certificate
DATA/pki/server    that certificate
DATA/pki/next-root the root to come, while it is exchanged; DATA/root-links.pem vouches for it

A root is exchanged in three steps, each of which leaves the folder in a state that says which it
is.  It is announced: both are trusted, and everything is still issued beneath the old one.  It is
taken into use: the issuing CA is made anew beneath it.  The old one is dropped.  In between,
everybody has time to follow (fsm.exchange).

Several FSM processes may share the folder: each step is taken by one of them, once.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from fsm.sites.names import host_names
from shared.clock import Clock
from shared.errors import Conflict, NotFound
from shared.failpoints import failpoint
from shared.pki.alone import alone_in
from shared.pki.authority import (
    Authority,
    create_issuing,
    create_link,
    create_root,
    trust_domain_of,
)
from shared.pki.certificates import (
    Certificate,
    certificates_from_pem,
    certificates_to_pem,
    fingerprint_of,
    is_signed_by,
)
from shared.pki.credentials import Credentials, CredentialsDirectory
from shared.pki.csr import create_csr
from shared.pki.identity import SpiffeId, TrustDomain
from shared.pki.keys import generate_key

_NAMES: Final = ("root", "issuing", "server", "next-root")
ROOT_FILE: Final = "root.pem"
LINKS_FILE: Final = "root-links.pem"


class Phase(StrEnum):
    """How far the exchange of the root is."""

    NONE = "none"
    ANNOUNCED = "announced"
    IN_USE = "in use"


@dataclass(frozen=True, slots=True)
class FSMCredentials:
    """Where the FSM's credentials lie."""

    root: CredentialsDirectory
    issuing: CredentialsDirectory
    server: CredentialsDirectory
    next_root: CredentialsDirectory

    @classmethod
    def beneath(cls, data: Path) -> "FSMCredentials":
        return cls(*(CredentialsDirectory(data / "pki" / name) for name in _NAMES))

    def roots(self) -> tuple[Certificate, ...]:
        """Return the roots that are trusted now, first the one that the FSM's chain ends in."""
        chain, roots = self.issuing.load_public()
        return tuple(sorted(roots, key=lambda each: not is_signed_by(chain[-1], each)))

    def links(self) -> tuple[Certificate, ...]:
        """Return what vouches for roots that came after others."""
        file = self._links_file()
        return certificates_from_pem(file.read_text("ascii")) if file.exists() else ()

    def phase(self) -> Phase:
        if not self.next_root.exists():
            return Phase.NONE
        chain, roots = self.issuing.load_public()
        coming = self.next_root.load_public()[0][0]
        if coming not in roots:
            # Whoever made it was killed before it was trusted: it is announced once more.
            return Phase.NONE
        return Phase.IN_USE if is_signed_by(chain[-1], coming) else Phase.ANNOUNCED

    def tell_roots(self) -> None:
        """Write the roots of now where people find them."""
        file = self.folder.parent / ROOT_FILE
        draft = file.with_name(f".{ROOT_FILE}")
        draft.write_text(certificates_to_pem(self.roots()), "ascii")
        draft.replace(file)

    @property
    def folder(self) -> Path:
        """What holds all of them: whoever takes a step of an exchange holds it alone."""
        return self.root.path.parent

    def _links_file(self) -> Path:
        return self.folder.parent / LINKS_FILE

    def write_links(self, links: Sequence[Certificate]) -> None:
        draft = self._links_file().with_name(f".{LINKS_FILE}")
        draft.write_text(certificates_to_pem(links), "ascii")
        draft.replace(self._links_file())


def has_key(directory: CredentialsDirectory) -> bool:
    return (directory.path / "current" / "key.pem").exists()


def announce_root(credentials: FSMCredentials, *, clock: Clock) -> None:
    """Make the root to come, vouched for by the one of now, and trust both.

    What a first try that was cut short has made already is kept.  NotFound (`root_key_offline`).
    """
    with alone_in(credentials.folder):
        _announce_root(credentials, clock=clock)


def _announce_root(credentials: FSMCredentials, *, clock: Clock) -> None:
    if credentials.phase() is Phase.IN_USE:
        return
    old = _with_key(credentials.root)
    if not credentials.next_root.exists():
        domain = trust_domain_of(old.certificate)
        credentials.next_root.write(create_root(domain, clock=clock))
    failpoint("fsm.exchange.made")
    coming = credentials.next_root.load_public()[0][0]
    links = credentials.links()
    if not any(each.public_key() == coming.public_key() for each in links):
        credentials.write_links([*links, create_link(old, coming, clock=clock)])
    failpoint("fsm.exchange.linked")
    issuing = credentials.issuing.load()
    if coming not in issuing.roots:
        credentials.issuing.write(issuing.trusting([*issuing.roots, coming]))
    credentials.tell_roots()


def take_root_into_use(credentials: FSMCredentials, *, clock: Clock) -> bool:
    """Make the issuing CA anew beneath the root to come; return whether that was left to do.

    NotFound (`root_key_offline`).
    """
    with alone_in(credentials.folder):
        if credentials.phase() is not Phase.ANNOUNCED:
            return False
        coming = _with_key(credentials.next_root)
        roots = credentials.issuing.load_public()[1]
        credentials.issuing.write(create_issuing(coming, clock=clock).trusting(roots))
        credentials.tell_roots()
        return True


def drop_old_root(credentials: FSMCredentials) -> None:
    """Trust only the root that came; the old one's folder is deleted, its key with it."""
    with alone_in(credentials.folder):
        # Another process may have done it meanwhile.
        if credentials.phase() is Phase.IN_USE:
            _drop_old_root(credentials)


def _drop_old_root(credentials: FSMCredentials) -> None:
    coming = credentials.next_root.load_public()[0][0]
    credentials.issuing.write(credentials.issuing.load().trusting([coming]))
    failpoint("fsm.exchange.dropped")
    if credentials.root.path.exists():
        shutil.rmtree(credentials.root.path)
    failpoint("fsm.exchange.deleted")
    credentials.next_root.path.rename(credentials.root.path)
    credentials.tell_roots()


def _with_key(directory: CredentialsDirectory) -> Credentials:
    if not has_key(directory):
        raise NotFound(
            f"the root's key is not in {directory.path}; bring it back for a moment, as "
            f"{directory.path / 'current' / 'key.pem'} with mode 0600",
            code="root_key_offline",
        )
    return directory.load()


def create_trust(
    credentials: FSMCredentials,
    trust_domain: TrustDomain,
    server_names: Sequence[str],
    *,
    clock: Clock,
) -> Certificate:
    """Make a root, the issuing CA and the FSM's certificate; return the root.

    What a first try that was cut short has made already is kept.  Conflict
    (`other_trust_domain`) if that is for another trust domain; Invalid for a name.
    """
    host_names(list(server_names))
    if not credentials.root.exists():
        credentials.root.write(create_root(trust_domain, clock=clock))
    if not credentials.issuing.exists():
        issue_issuing(credentials, clock=clock)
    existing = Authority(credentials.issuing.load(), clock=clock).trust_domain
    if existing != trust_domain:
        raise Conflict(
            f"{credentials.root.path.parent} holds the keys of {existing}; give "
            f"{trust_domain} a folder of its own",
            code="other_trust_domain",
        )
    issue_own(credentials, server_names, clock=clock)
    return credentials.roots()[0]


def issue_issuing(
    credentials: FSMCredentials, *, clock: Clock, after: Certificate | None = None
) -> None:
    """Make a new issuing CA beneath the root in use; NotFound (`root_key_offline`).

    With `after` only if that is still the one of now.
    """
    with alone_in(credentials.folder):
        if after is None or credentials.issuing.load_public()[0][0] == after:
            _issue_issuing(credentials, clock=clock)


def _issue_issuing(credentials: FSMCredentials, *, clock: Clock) -> None:
    in_use = credentials.root
    if credentials.phase() is Phase.IN_USE:
        in_use = credentials.next_root
    issuing = create_issuing(_with_key(in_use), clock=clock)
    if credentials.issuing.exists():
        # While the root is exchanged, both are trusted.
        issuing = issuing.trusting(credentials.issuing.load_public()[1])
    credentials.issuing.write(issuing)


def issue_own(
    credentials: FSMCredentials, server_names: Sequence[str], *, clock: Clock
) -> Credentials:
    """Issue the FSM's own certificate from its issuing CA; Invalid for a name."""
    authority = Authority(credentials.issuing.load(), clock=clock)
    names = host_names(list(server_names))
    key = generate_key()
    chain = authority.issue_leaf(
        create_csr(key),
        SpiffeId.fsm(authority.trust_domain),
        dns_names=names.dns,
        ip_addresses=[str(address) for address in names.addresses],
    )
    own = Credentials(key, chain, authority.credentials.roots)
    credentials.server.write(own)
    return own


def fingerprint_text(root: Certificate) -> str:
    """Return a root's SHA-256 as people compare it: pairs of hexadecimal digits."""
    return fingerprint_of(root).hex(":").upper()
