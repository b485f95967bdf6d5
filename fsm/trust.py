"""The FSM's keys and certificates, and how each is made from the one above.

DATA/pki/root      the federation's root; its key may be taken offline
DATA/pki/issuing   the CA that signs sites' CAs and the FSM's own certificate
DATA/pki/server    that certificate
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fsm.sites.names import host_names
from shared.clock import Clock
from shared.errors import Conflict, NotFound
from shared.pki.authority import Authority, create_issuing, create_root
from shared.pki.certificates import Certificate, fingerprint_of
from shared.pki.credentials import Credentials, CredentialsDirectory
from shared.pki.csr import create_csr
from shared.pki.identity import SpiffeId, TrustDomain
from shared.pki.keys import generate_key


@dataclass(frozen=True, slots=True)
class FSMCredentials:
    """Where the FSM's credentials lie."""

    root: CredentialsDirectory
    issuing: CredentialsDirectory
    server: CredentialsDirectory

    @classmethod
    def beneath(cls, data: Path) -> "FSMCredentials":
        pki = data / "pki"
        return cls(*(CredentialsDirectory(pki / name) for name in ("root", "issuing", "server")))

    def has_root_key(self) -> bool:
        return (self.root.path / "current" / "key.pem").exists()

    def roots(self) -> tuple[Certificate, ...]:
        """Return the roots that are trusted now."""
        return self.issuing.load_public()[1]


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


def issue_issuing(credentials: FSMCredentials, *, clock: Clock) -> None:
    """Make a new issuing CA; NotFound (`root_key_offline`) without the root's key."""
    if not credentials.has_root_key():
        raise NotFound(
            f"the root's key is not in {credentials.root.path}; bring it back for a moment",
            code="root_key_offline",
        )
    credentials.issuing.write(create_issuing(credentials.root.load(), clock=clock))


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
