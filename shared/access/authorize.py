"""May this caller do that, there?  Pure: values in, a decision out.

The caller is seen through a protocol, since this package stands beside shared.auth, not above it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from shared.access.permissions import Permission


class Granted(Protocol):
    """A set of permissions within some tenants and scopes; None means all of them."""

    @property
    def permissions(self) -> frozenset[str]: ...

    @property
    def tenants(self) -> frozenset[str] | None: ...

    @property
    def scopes(self) -> frozenset[str] | None: ...


class Holder(Protocol):
    @property
    def grants(self) -> Sequence[Granted]: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it is allowed; `reason` says what is missing, in words for a person."""

    allowed: bool
    reason: str = ""


ALLOWED: Final = Decision(allowed=True)


def authorize(
    caller: Holder, permission: Permission, *, tenant: str | None = None, scope: str | None = None
) -> Decision:
    """Decide about one tenant and scope; None asks whether it is allowed anywhere at all."""
    for grant in caller.grants:
        if (
            permission in grant.permissions
            and _covers(grant.tenants, tenant)
            and _covers(grant.scopes, scope)
        ):
            return ALLOWED
    where = "".join(
        f" in {word} {name}" for word, name in (("tenant", tenant), ("scope", scope)) if name
    )
    return Decision(allowed=False, reason=f"this needs the permission {permission.value}{where}")


def visible_tenants(caller: Holder, permissions: Iterable[Permission]) -> frozenset[str] | None:
    """Return the tenants in which the caller holds any of `permissions`; None means all."""
    wanted = frozenset(permissions)
    tenants: frozenset[str] = frozenset()
    for grant in caller.grants:
        if wanted & grant.permissions:
            if grant.tenants is None:
                return None
            tenants |= grant.tenants
    return tenants


def _covers(granted: frozenset[str] | None, asked: str | None) -> bool:
    return granted is None or asked is None or asked in granted
