"""What nodes are told of trust: roots, what is revoked above them, the site's CA of now."""

from collections.abc import Iterable, Mapping
from typing import Any

from shared.enrolment.revocations import Revoked
from shared.pki.certificates import Certificate, certificates_to_pem, serial_of
from shared.pki.credentials import Credentials
from shared.pki.identity import TrustDomain, site_host


def trust_of(
    own: Credentials,
    revoked: Mapping[str, Revoked],
    links: Iterable[Certificate],
    *,
    site: str,
    trust_domain: TrustDomain,
) -> dict[str, Any]:
    """Return the `trust` of the node feed, as dsn.upstream.frames reads it.

    Of all that is revoked a node needs what may stand above it or answer it: this site's SDSP, its
    CA, the issuing CA.  `authority` is the CA from which its next certificate will come.
    """
    host = site_host(site, trust_domain)
    concerned = {f"spiffe://{host}", f"spiffe://{host}/sdsp", f"spiffe://{trust_domain}"}
    return {
        "roots": certificates_to_pem(own.roots),
        "links": certificates_to_pem(links),
        "authority": serial_of(own.chain[1]),
        "revoked": {
            serial: each.not_after.isoformat()
            for serial, each in sorted(revoked.items())
            if each.identity in concerned
        },
    }
