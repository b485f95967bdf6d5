"""The site's certificates: joining the federation, its own CA, its own leaf.

The FSM signs one thing for a site: the site's CA, for a key that is made here and never leaves.
With it the SDSP issues its own certificate and those of its nodes, so a site that is cut off goes
on renewing both for as long as its CA lives.

    DATA/pki/authority     the site's CA
    DATA/pki/server        the SDSP's own certificate
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from shared.clock import Clock
from shared.enrolment.joining import join
from shared.errors import Conflict, HanseError, Malformed
from shared.http.peer import PeerClient
from shared.model.inventory import Site
from shared.pki.authority import Authority, registered_names
from shared.pki.certificates import certificates_from_pem, serial_of, validity_of
from shared.pki.credentials import Credentials, CredentialsDirectory
from shared.pki.csr import create_csr
from shared.pki.identity import SpiffeId
from shared.pki.jointoken import JoinKind, JoinToken
from shared.pki.keys import PrivateKey, generate_key
from shared.pki.names import HostNames, parse_host_names
from shared.pki.rotation import Due, due, spread_of

log = logging.getLogger(__name__)

JOIN: Final = "/enroll/v1/join"
RENEW: Final = "/enroll/v1/renew"


@dataclass(frozen=True, slots=True)
class SiteCredentials:
    """Where a site's credentials lie."""

    authority: CredentialsDirectory
    server: CredentialsDirectory

    @classmethod
    def beneath(cls, data: Path) -> "SiteCredentials":
        pki = data / "pki"
        return cls(CredentialsDirectory(pki / "authority"), CredentialsDirectory(pki / "server"))


async def join_federation(
    credentials: SiteCredentials, server: str, token_text: str, *, clock: Clock
) -> str:
    """Trade a join token for the site's CA, issue the SDSP's certificate; return the site's name.

    Conflict (`already_joined`) if there are credentials of another site; else raises as join()
    does.  Nothing is written before the FSM has answered.
    """
    token = JoinToken.parse(token_text)
    token.check_kind(JoinKind.SDSP)
    _check_same_site(credentials, token.site, clock=clock)
    key = generate_key()
    joined = await join(server, token, path=JOIN, body={"csr": create_csr(key)})
    authority = _authority_of(key, joined.answer)
    credentials.authority.write(authority)
    issue_own(credentials, clock=clock)
    return token.site


async def renew_authority(
    credentials: SiteCredentials, upstream: PeerClient, *, clock: Clock
) -> Authority:
    """Have the FSM sign a new key for the site's CA, and issue the SDSP's certificate anew."""
    key = generate_key()
    answer = (await upstream.post(RENEW, {"csr": create_csr(key)})).json()
    if not isinstance(answer, dict):
        raise Malformed("the FSM's answer to the renewal is not a JSON object")
    renewed = _authority_of(key, answer)
    # A root that the site doesn't know yet comes with what vouches for it, not with a certificate.
    known = credentials.authority.load_public()[1]
    credentials.authority.write(renewed.trusting([each for each in renewed.roots if each in known]))
    issue_own(credentials, clock=clock)
    return Authority(credentials.authority.load(), clock=clock)


def issue_own(credentials: SiteCredentials, *, clock: Clock) -> Credentials:
    """Issue the SDSP's own certificate from the site's CA, for all names the CA may vouch for."""
    authority = Authority(credentials.authority.load(), clock=clock)
    assert authority.site is not None, "the FSM signs sites' CAs only for sites"
    names = registered_names(authority.credentials.certificate)
    key = generate_key()
    chain = authority.issue_leaf(
        create_csr(key),
        SpiffeId.sdsp(authority.trust_domain, authority.site),
        dns_names=names.dns,
        ip_addresses=[str(address) for address in names.addresses],
    )
    own = Credentials(key, chain, authority.credentials.roots)
    credentials.server.write(own)
    return own


def is_due(credentials: Credentials, *, now: datetime) -> bool:
    """Return whether it is time for a successor."""
    certificate = credentials.certificate
    spread = spread_of(serial_of(certificate))
    return due(validity_of(certificate), now=now, spread=spread) is not Due.NOTHING


def make_ready(credentials: SiteCredentials, *, clock: Clock) -> None:
    """Issue the SDSP's certificate if a join that was cut short left it out, or it is due.

    An old one that can't be replaced now does for the beginning.
    """
    if credentials.server.exists() and not is_due(credentials.server.load(), now=clock.now()):
        return
    try:
        issue_own(credentials, clock=clock)
    except HanseError as exc:
        if not credentials.server.exists():
            raise
        log.warning("the SDSP's certificate is due, will retry", extra={"code": exc.code})


def names_of(site: Site) -> HostNames:
    """Return the names that a Site registers, as the FSM does; Invalid if one is none."""
    host = urlsplit(site.endpoint or "").hostname
    dns: list[str] = []
    addresses: list[str] = []
    for name in (*site.server_names, *([host] if host else [])):
        (addresses if _is_address(name) else dns).append(name)
    return parse_host_names(dns, addresses)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _authority_of(key: PrivateKey, answer: Any) -> Credentials:
    try:
        chain, roots = str(answer["chain"]), str(answer["roots"])
    except (KeyError, TypeError) as exc:
        raise Malformed("the FSM's answer lacks the chain or the roots") from exc
    return Credentials(key, certificates_from_pem(chain), certificates_from_pem(roots))


def _check_same_site(credentials: SiteCredentials, site: str, *, clock: Clock) -> None:
    if not credentials.authority.exists():
        return
    joined_as = Authority(credentials.authority.load(), clock=clock).site
    if joined_as != site:
        raise Conflict(
            f"this SDSP is that of site {joined_as} already; give site {site} a folder of its own",
            code="already_joined",
        )
