"""Who is calling: the one type that every permission check and every filter reads.

A Caller is made in one place (shared.http.authentication) from a bearer token or a client
certificate.  What it may do is settled there too, as grants, so that roles which come from other
sources later (role bindings, directory groups) change nothing behind it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from shared.pki.peer import PeerIdentity


class CallerKind(StrEnum):
    PERSON = "person"
    SERVICE_ACCOUNT = "serviceAccount"
    COMPONENT = "component"


Labels = Callable[[Mapping[str, str]], bool]
"""Says whether an object with such labels is meant."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A role held within some tenants and scopes, on objects with some labels; None means all.

    `labels` is what `selector`, its canonical text, means: equal texts mean the same.  `binding`
    is the name of the RoleBinding that gave the role, empty if none did; both names are what the
    audit trail says of why a call was permitted.
    """

    role: str
    permissions: frozenset[str]
    tenants: frozenset[str] | None = None
    scopes: frozenset[str] | None = None
    selector: str | None = None
    labels: Labels | None = field(default=None, compare=False)
    binding: str = ""

    @property
    def authority(self) -> str:
        """Why something was permitted, for the audit trail."""
        return f"role {self.role} by {self.binding}" if self.binding else f"role {self.role}"


@dataclass(frozen=True, slots=True)
class Caller:
    """One authenticated identity, for the time of one request or one stream.

    `identity` is unique and stable (`user:admin`, `serviceaccount:common/ci`, `spiffe://…`) and is
    what the audit trail keeps; `peer` is the component whose certificate the connection shows: the
    caller itself, or the one that passes a person's token on.  `expires_at` ends open streams;
    `address` is the source address without a port.  `session` is the login that the token belongs
    to; `credential` says with what the caller proved himself: a token's id or a certificate's
    serial.  `is_emergency` marks the break-glass account, and all that it does.
    """

    kind: CallerKind
    identity: str
    display_name: str
    address: str | None = None
    grants: tuple[Grant, ...] = ()
    peer: PeerIdentity | None = None
    expires_at: datetime | None = None
    session: str | None = None
    credential: str | None = None
    is_emergency: bool = False

    @property
    def tenants(self) -> frozenset[str] | None:
        """The tenants in which any grant holds; None means all."""
        return union_of(grant.tenants for grant in self.grants)

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(sorted({grant.role for grant in self.grants}))


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom RoleBindings may mean: a person with his groups, or a service account.

    `name` is the user name, or a service account's `TENANT/NAME`.
    """

    kind: CallerKind
    name: str
    groups: frozenset[str] = frozenset()


class GrantSource(Protocol):
    """Knows the roles and bindings of now, in memory."""

    @property
    def generation(self) -> int:
        """Counts the changes; what was worked out from an older one must be worked out anew."""
        ...

    def grants_of(self, subject: Subject) -> tuple[Grant, ...]:
        """Return what a subject holds now, equal ones once, in the order of bindings' names.

        Empty for an account that is disabled or is no more.
        """
        ...


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
        credential=peer.serials[0],
    )
