"""Certificate authorities: what they issue, to whom, and for how long.

    root               20 years, path length 2; its key may be offline
      issuing CA       4 years, path length 1; the FSM's daily key
        FSM            1 day
        site's CA      1 year, path length 0, constrained to the site's names; the SDSP's key
          SDSP, nodes  1 day

An issuer is renewed at half of its life, so what it issues fits into what is left of it: a site's
year into the issuing CA's last two.  Nothing outlives its issuer.

The site's constraints are critical: a URI's host is exactly the site's, DNS names and addresses
are the registered ones, and a type of which nothing is permitted is excluded whole.  OpenSSL
enforces them against a stolen site key (RFC 5280 §4.2.1.10); shared.pki.peer checks the rest.
A permitted DNS name permits the names below it too, so a site must not register one that is above
the FSM's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.clock import Clock
from shared.errors import Invalid, Unavailable
from shared.ids import parse_dns_label
from shared.pki.certificates import Certificate, uris_of
from shared.pki.credentials import Credentials
from shared.pki.csr import key_of_csr
from shared.pki.identity import Role, SpiffeId, TrustDomain, parse_trust_domain, site_host
from shared.pki.keys import PublicKey, generate_key, is_accepted
from shared.pki.names import HostNames, parse_host_names

ROOT_LIFE: Final = timedelta(days=20 * 365)
ISSUING_LIFE: Final = timedelta(days=4 * 365)
SITE_LIFE: Final = timedelta(days=365)
LEAF_LIFE: Final = timedelta(days=1)

# A guess at how far the clocks of hosts without NTP differ on the day they join.
BACKDATED: Final = timedelta(minutes=5)

_ROLE_TITLES: Final = {Role.FSM: "FSM", Role.SDSP: "SDSP", Role.NODE: "node"}


class Authority:
    """The FSM's issuing CA, or a site's CA; which of them, its certificate says."""

    def __init__(self, credentials: Credentials, *, clock: Clock) -> None:
        """Raises Invalid (`not_an_authority`) for credentials of anything else."""
        self.credentials = credentials
        self.trust_domain = trust_domain_of(credentials.chain[-1])
        self.site = _site_of(credentials, self.trust_domain)
        self._clock = clock

    def issue_site_intermediate(
        self,
        csr: str,
        site: str,
        *,
        dns_names: Iterable[str] = (),
        ip_addresses: Iterable[str] = (),
    ) -> tuple[Certificate, ...]:
        """Return a site's CA certificate for the key in `csr` (PEM), and the chain above it.

        The names are those registered for the site: all that its leaves may ever carry.
        Raises Invalid (`invalid_csr`, `invalid_name`, `invalid_address`, `wrong_issuer`), and
        Unavailable (`issuer_expired`).
        """
        if self.site is not None:
            raise Invalid("a site's CA issues no other CA", code="wrong_issuer")
        host = site_host(parse_dns_label(site), self.trust_domain)
        constraints = _constraints(host, parse_host_names(dns_names, ip_addresses))
        return self._issue(
            _Order(key_of_csr(csr), f"Hanse site CA {site}", SITE_LIFE, f"spiffe://{host}", 0),
            constraints,
        )

    def issue_leaf(
        self,
        csr: str,
        identity: SpiffeId,
        *,
        dns_names: Iterable[str] = (),
        ip_addresses: Iterable[str] = (),
        life: timedelta = LEAF_LIFE,
    ) -> tuple[Certificate, ...]:
        """Return a component's certificate for the key in `csr` (PEM), and the chain above it.

        Raises Invalid (`invalid_csr`, `invalid_name`, `invalid_address`; `wrong_issuer` if this
        is not the CA for that component; `name_not_registered` if the site's CA may not vouch
        for a name), and Unavailable (`issuer_expired`).
        """
        if identity.trust_domain != self.trust_domain or identity.site != self.site:
            whose = f"the CA of site {self.site}" if self.site else "the FSM's issuing CA"
            raise Invalid(f"{whose} issues nothing for {identity}", code="wrong_issuer")
        names = parse_host_names(dns_names, ip_addresses)
        self._check_registered(names)
        title = f"Hanse {_ROLE_TITLES[identity.role]}"
        return self._issue(_Order(key_of_csr(csr), title, life, str(identity), None, names))

    def _issue(
        self, order: "_Order", constraints: x509.NameConstraints | None = None
    ) -> tuple[Certificate, ...]:
        now = self._clock.now()
        issuer = self.credentials.certificate
        builder = _builder(order, now=now, issuer=issuer)
        if constraints is not None:
            builder = builder.add_extension(constraints, critical=True)
        return (builder.sign(self.credentials.key, SHA256()), *self.credentials.chain)

    def _check_registered(self, names: HostNames) -> None:
        """Refuse early, and in words, what every verifier would refuse."""
        if self.site is None:
            return
        registered = registered_names(self.credentials.certificate)
        for name in names.dns:
            if not any(name == each or name.endswith(f".{each}") for each in registered.dns):
                raise _not_registered(name, self.site)
        for address in names.addresses:
            if address not in registered.addresses:
                raise _not_registered(str(address), self.site)


def create_root(trust_domain: TrustDomain, *, clock: Clock) -> Credentials:
    """Make a key and a self-signed root for it, which trusts itself."""
    parse_trust_domain(trust_domain)
    key = generate_key()
    order = _Order(
        key.public_key(), "Hanse root", ROOT_LIFE, f"spiffe://{trust_domain}", path_length=2
    )
    root = _builder(order, now=clock.now()).sign(key, SHA256())
    return Credentials(key, (root,), (root,))


def create_link(old: Credentials, new: Certificate, *, clock: Clock) -> Certificate:
    """Sign a new root's key with an old root's: shared.pki.links says what for."""
    key = new.public_key()
    if not is_accepted(key):
        raise Invalid("the new root's key is not an ECDSA key on P-256", code="invalid_key")
    domain = trust_domain_of(old.certificate)
    order = _Order(
        cast("PublicKey", key), "Hanse root", ROOT_LIFE, f"spiffe://{domain}", path_length=2
    )
    return _builder(order, now=clock.now(), issuer=old.certificate).sign(old.key, SHA256())


def create_issuing(root: Credentials, *, clock: Clock) -> Credentials:
    """Make a key and an issuing CA for it beneath `root`: all that a root's key is needed for."""
    issuer = root.certificate
    key = generate_key()
    uri = f"spiffe://{trust_domain_of(issuer)}"
    order = _Order(key.public_key(), "Hanse issuing CA", ISSUING_LIFE, uri, path_length=1)
    issuing = _builder(order, now=clock.now(), issuer=issuer).sign(root.key, SHA256())
    return Credentials(key, (issuing,), root.roots)


def trust_domain_of(authority: Certificate) -> TrustDomain:
    """Return the trust domain that a root or an issuing CA stands for; else Invalid."""
    uris = uris_of(authority)
    if len(uris) != 1 or not uris[0].startswith("spiffe://"):
        raise Invalid("the certificate is not that of a Hanse CA", code="not_an_authority")
    return parse_trust_domain(uris[0].removeprefix("spiffe://"))


def registered_names(site_authority: Certificate) -> HostNames:
    """Return the DNS names and addresses that a site's CA may vouch for."""
    try:
        found = site_authority.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return HostNames()
    permitted = [each.value for each in found.value.permitted_subtrees or [] if _is_host(each)]
    return parse_host_names(
        [each for each in permitted if isinstance(each, str)],
        [
            str(each.network_address)
            for each in permitted
            if isinstance(each, IPv4Network | IPv6Network)
        ],
    )


@dataclass(frozen=True, slots=True)
class _Order:
    """What a certificate is to say.  `path_length` None: it is no CA."""

    key: PublicKey
    title: str
    life: timedelta
    uri: str
    path_length: int | None
    names: HostNames = field(default_factory=HostNames)


def _builder(
    order: _Order, *, now: datetime, issuer: Certificate | None = None
) -> x509.CertificateBuilder:
    """Return a certificate that lacks only its signature; without issuer it is self-signed."""
    subject_key = x509.SubjectKeyIdentifier.from_public_key(order.key)
    subject = _subject(order, subject_key)
    expires = now + order.life
    if issuer is None:
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(order.key)
    else:
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
            issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        )
        if now >= issuer.not_valid_after_utc:
            raise Unavailable(
                f"the CA that issues this expired on {issuer.not_valid_after_utc:%Y-%m-%d %H:%M} "
                "UTC; renew it first",
                code="issuer_expired",
            )
        expires = min(expires, issuer.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(order.key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(expires)
        .add_extension(subject_key, critical=False)
        .add_extension(issuer_key, critical=False)
        .add_extension(_alternative_names(order), critical=False)
        .add_extension(_key_usage(is_authority=order.path_length is not None), critical=True)
        .add_extension(
            x509.BasicConstraints(ca=order.path_length is not None, path_length=order.path_length),
            critical=True,
        )
    )
    if order.path_length is not None:
        return builder
    # Every component is a server to those below it and a client of those above.
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)


def _subject(order: _Order, subject_key: x509.SubjectKeyIdentifier) -> x509.Name:
    # For people who read certificates.  CAs differ by their key's first digits, so that logs and
    # chain building tell an exchanged CA from the one before; the space keeps the text from
    # being taken for a host's name.
    title = order.title
    if order.path_length is not None:
        # A common name has at most 64 characters (RFC 5280, ub-common-name).
        title = f"{title[:55]} {subject_key.digest.hex()[:8]}"
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])


def _alternative_names(order: _Order) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            x509.UniformResourceIdentifier(order.uri),
            *(x509.DNSName(name) for name in order.names.dns),
            *(x509.IPAddress(address) for address in order.names.addresses),
        ]
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _constraints(host: str, names: HostNames) -> x509.NameConstraints:
    permitted: list[x509.GeneralName] = [x509.UniformResourceIdentifier(host)]
    permitted += [x509.DNSName(name) for name in names.dns]
    permitted += [x509.IPAddress(ip_network(address)) for address in names.addresses]
    excluded: list[x509.GeneralName] = []
    if not names.dns:
        excluded.append(x509.DNSName(""))
    for version, everything in ((4, "0.0.0.0/0"), (6, "::/0")):
        if not any(address.version == version for address in names.addresses):
            excluded.append(x509.IPAddress(ip_network(everything)))
    return x509.NameConstraints(permitted, excluded or None)


def _site_of(credentials: Credentials, trust_domain: TrustDomain) -> str | None:
    """Return the site of a site's CA, None for the issuing CA."""
    host = trust_domain_of(credentials.certificate)
    if len(credentials.chain) == 1:
        return None
    site = host.removesuffix(f".{trust_domain}")
    if len(credentials.chain) != 2 or site == host:
        raise Invalid("the credentials are not those of a Hanse CA", code="not_an_authority")
    return parse_dns_label(site)


def _is_host(name: x509.GeneralName) -> bool:
    return isinstance(name, x509.DNSName | x509.IPAddress)


def _not_registered(name: str, site: str) -> Invalid:
    return Invalid(
        f"{name} is not registered for site {site}; register it with the FSM first, "
        "then renew the site's CA",
        code="name_not_registered",
    )
