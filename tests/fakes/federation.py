"""A whole federation's certificates, made by the real authorities."""

from collections.abc import Iterable

from shared.clock import Clock, SystemClock
from shared.pki.authority import Authority, create_issuing, create_root
from shared.pki.credentials import Credentials
from shared.pki.csr import create_csr
from shared.pki.identity import SpiffeId, TrustDomain
from shared.pki.keys import generate_key

TRUST_DOMAIN = TrustDomain("hanse.example")
LOOPBACK = ("127.0.0.1", "::1")


class Federation:
    """A root, an issuing CA, and the credentials of whoever a test asks for.

    What is on the wire is judged by OpenSSL at the machine's own time, so the clock is real
    unless a test wants certificates from another time.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.root = create_root(TRUST_DOMAIN, clock=self.clock)
        self.roots = self.root.roots
        self.issuing = create_issuing(self.root, clock=self.clock)
        self.authority = Authority(self.issuing, clock=self.clock)

    def fsm(self, *, dns_names: Iterable[str] = ("fsm.hanse.example", "localhost")) -> Credentials:
        return self.leaf(self.authority, SpiffeId.fsm(TRUST_DOMAIN), dns_names, LOOPBACK)

    def site(
        self,
        name: str,
        *,
        dns_names: Iterable[str] = ("localhost",),
        ip_addresses: Iterable[str] = LOOPBACK,
    ) -> Authority:
        """Return the CA of a site that registered these names."""
        key = generate_key()
        chain = self.authority.issue_site_intermediate(
            create_csr(key), name, dns_names=dns_names, ip_addresses=ip_addresses
        )
        return Authority(Credentials(key, chain, self.roots), clock=self.clock)

    def sdsp(self, site: Authority) -> Credentials:
        assert site.site is not None
        return self.leaf(site, SpiffeId.sdsp(TRUST_DOMAIN, site.site), (), LOOPBACK)

    def node(self, site: Authority, name: str = "node-1") -> Credentials:
        assert site.site is not None
        return self.leaf(site, SpiffeId.of_node(TRUST_DOMAIN, site.site, name))

    def leaf(
        self,
        authority: Authority,
        identity: SpiffeId,
        dns_names: Iterable[str] = (),
        ip_addresses: Iterable[str] = (),
    ) -> Credentials:
        key = generate_key()
        chain = authority.issue_leaf(
            create_csr(key), identity, dns_names=dns_names, ip_addresses=ip_addresses
        )
        return Credentials(key, chain, authority.credentials.roots)
