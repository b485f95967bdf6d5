"""Who is calling: the one type that every permission check and every filter reads.

A Caller is made in one place (shared.http.authentication) from a bearer token or a client
certificate.  What it may do is settled there too, as grants, so that roles which come from other
sources later (role bindings, directory groups) change nothing behind it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.pki.peer import PeerIdentity


class CallerKind(StrEnum):
    PERSON = "person"
    SERVICE_ACCOUNT = "serviceAccount"
    COMPONENT = "component"


@dataclass(frozen=True, slots=True)
class Grant:
    """A role held within some tenants and scopes; None means all of them."""

    role: str
    permissions: frozenset[str]
    tenants: frozenset[str] | None = None
    scopes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """One authenticated identity, for the time of one request or one stream.

    `identity` is unique and stable (`user:admin`, `spiffe://…`) and is what the audit trail keeps;
    `peer` is the component whose certificate the connection shows: the caller itself, or the one
    that passes a person's token on.  `expires_at` ends open streams; `address` is the source
    address without a port.
    """

    kind: CallerKind
    identity: str
    display_name: str
    address: str | None = None
    grants: tuple[Grant, ...] = ()
    peer: PeerIdentity | None = None
    expires_at: datetime | None = None

    @property
    def tenants(self) -> frozenset[str] | None:
        """The tenants in which any grant holds; None means all."""
        return union_of(grant.tenants for grant in self.grants)

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(sorted({grant.role for grant in self.grants}))


def union_of(sets: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    """Unite sets of which None is the set of all."""
    united: frozenset[str] = frozenset()
    for each in sets:
        if each is None:
            return None
        united |= each
    return united


def component_caller(peer: PeerIdentity, *, address: str | None = None) -> Caller:
    """Return the caller that a verified certificate stands for; it holds no grants."""
    names = (peer.id.role.value, peer.id.site, peer.id.node)
    return Caller(
        kind=CallerKind.COMPONENT,
        identity=str(peer.id),
        display_name=" ".join(name for name in names if name),
        address=address,
        peer=peer,
        expires_at=peer.expires_at,
    )
