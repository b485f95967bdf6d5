"""Who a component is: one URI, after SPIFFE.

`spiffe://TRUST-DOMAIN/fsm`, `spiffe://SITE.TRUST-DOMAIN/sdsp`, `spiffe://SITE.TRUST-DOMAIN/node/NAME`.
Each site is a host of its own because X.509 name constraints see nothing of a URI but its host
(RFC 5280 §4.2.1.10).  The text is compared whole and parsed strictly: a port, a user or an
escape could let OpenSSL and us see different hosts in the same URI.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType, Self

from shared.errors import Forbidden, Invalid
from shared.ids import DNS_LABEL_PATTERN, parse_dns_label

TrustDomain = NewType("TrustDomain", str)
"""The federation's name among all others: a lower-case DNS name such as `hanse.example`."""

# A site is a label before it, and the two together must be a DNS name of at most 253 characters.
TRUST_DOMAIN_LENGTH: Final = 253 - 64

_TRUST_DOMAIN = re.compile(rf"{DNS_LABEL_PATTERN}(\.{DNS_LABEL_PATTERN})*")
_SITE_PATH = re.compile(rf"sdsp|node/({DNS_LABEL_PATTERN})")


class Role(StrEnum):
    FSM = "fsm"
    SDSP = "sdsp"
    NODE = "node"


def parse_trust_domain(text: str) -> TrustDomain:
    """Return `text` if it may name a trust domain; else Invalid."""
    if len(text) > TRUST_DOMAIN_LENGTH or not _TRUST_DOMAIN.fullmatch(text):
        raise Invalid(
            f"{text[:80]!r} is no trust domain: use a lower-case DNS name such as hanse.example, "
            f"at most {TRUST_DOMAIN_LENGTH} characters",
            code="invalid_name",
        )
    return TrustDomain(text)


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """One component.  `site` is None for the FSM only, `node` for all but nodes."""

    trust_domain: TrustDomain
    role: Role
    site: str | None = None
    node: str | None = None

    def __post_init__(self) -> None:
        if (self.site is None) != (self.role is Role.FSM):
            raise Invalid("an SDSP and a node have a site, an FSM has none", code="wrong_identity")
        if (self.node is None) == (self.role is Role.NODE):
            raise Invalid("a node has a name, nothing else has", code="wrong_identity")
        if self.site is not None:
            parse_dns_label(self.site)
        if self.node is not None:
            parse_dns_label(self.node)

    def __str__(self) -> str:
        if self.site is None:
            return f"spiffe://{self.trust_domain}/fsm"
        host = site_host(self.site, self.trust_domain)
        path = "sdsp" if self.node is None else f"node/{self.node}"
        return f"spiffe://{host}/{path}"

    @classmethod
    def fsm(cls, trust_domain: TrustDomain) -> Self:
        return cls(trust_domain, Role.FSM)

    @classmethod
    def sdsp(cls, trust_domain: TrustDomain, site: str) -> Self:
        return cls(trust_domain, Role.SDSP, site)

    @classmethod
    def of_node(cls, trust_domain: TrustDomain, site: str, node: str) -> Self:
        return cls(trust_domain, Role.NODE, site, node)

    @classmethod
    def parse(cls, text: str, trust_domain: TrustDomain) -> Self:
        """Return the component that `text` names in `trust_domain`; else Invalid.

        The trust domain must be known beforehand: `spiffe://sfo.hanse.example/fsm` would
        otherwise name the FSM of a trust domain that a site could call its own.
        """
        if text == f"spiffe://{trust_domain}/fsm":
            return cls(trust_domain, Role.FSM)
        host, slash, path = text.removeprefix("spiffe://").partition("/")
        site = host.removesuffix(f".{trust_domain}")
        match = _SITE_PATH.fullmatch(path)
        if not text.startswith("spiffe://") or site == host or not slash or match is None:
            raise _foreign(text, trust_domain)
        if not re.fullmatch(DNS_LABEL_PATTERN, site):
            raise _foreign(text, trust_domain)
        node = match.group(1)
        return cls(trust_domain, Role.SDSP if node is None else Role.NODE, site, node)


@dataclass(frozen=True, slots=True)
class Expectation:
    """Who may stand at the other end: a role, and if given the one site and the one node."""

    role: Role
    site: str | None = None
    node: str | None = None

    def __str__(self) -> str:
        if self.role is Role.FSM:
            return "the FSM"
        what = f"node {self.node}" if self.node else ("a node" if self.role is Role.NODE else "")
        what = what or "the SDSP"
        return f"{what} of site {self.site}" if self.site else f"{what} of any site"

    def is_met_by(self, identity: SpiffeId) -> bool:
        return (
            identity.role is self.role
            and self.site in (None, identity.site)
            and self.node in (None, identity.node)
        )

    def check(self, identity: SpiffeId) -> None:
        """Raise Forbidden (`wrong_identity`) unless `identity` is one that is expected."""
        if not self.is_met_by(identity):
            raise Forbidden(f"{self} is expected here, not {identity}", code="wrong_identity")


def site_host(site: str, trust_domain: TrustDomain) -> str:
    """Return the host under which a site's components are named, and which constrains its CA."""
    return f"{site}.{trust_domain}"


def _foreign(text: str, trust_domain: TrustDomain) -> Invalid:
    return Invalid(
        f"{text[:200]!r} names no component of {trust_domain}: that would be "
        f"spiffe://{trust_domain}/fsm, spiffe://SITE.{trust_domain}/sdsp or "
        f"spiffe://SITE.{trust_domain}/node/NAME",
        code="wrong_identity",
    )
