"""May this caller do that, there, to an object with these labels?  Pure: values in, a decision out.

The caller is seen through a protocol, so that whoever holds grants can be asked about.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from shared.access.permissions import NEVER_OF_OBJECTS, Permission
from shared.auth.identity import Grant


class Holder(Protocol):
    @property
    def grants(self) -> Sequence[Grant]: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it is allowed, and by which grant; `reason` says what is missing, for a person."""

    allowed: bool
    reason: str = ""
    grant: Grant | None = None


Allows = Callable[[str, str, Mapping[str, str] | None], bool]
"""Whether somebody may, in a tenant and a scope, on an object with labels (None: on none)."""

# One entry for each set of grants and permission in use: a few for each role that people hold.
_REMEMBERED: Final = 4096


def authorize(
    caller: Holder,
    permission: Permission,
    *,
    tenant: str | None = None,
    scope: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> Decision:
    """Decide about an object by its tenant, scope and labels; without labels about no object.

    Without any of the three: whether it is allowed anywhere at all.  A scope is that very scope: a
    grant in `region/west` says nothing of regions within it.  A grant with a selector counts for
    objects that it matches, never where no object is concerned.
    """
    anywhere = tenant is None and scope is None and labels is None
    for grant in caller.grants:
        if (
            permission in grant.permissions
            and (grant.tenants is None or tenant is None or tenant in grant.tenants)
            and (grant.scopes is None or scope is None or scope in grant.scopes)
            and (
                grant.labels is None
                or (labels is not None and grant.labels(labels))
                or (anywhere and permission not in NEVER_OF_OBJECTS)
            )
        ):
            return Decision(True, grant=grant)
    return Decision(False, _missing(caller, permission, tenant, scope, labels))


def may_somewhere(caller: Holder, permission: Permission, *, tenant: str, scope: str) -> bool:
    """Return whether there may be objects in a tenant and scope on which it is allowed."""
    # A loop of its own: nearly everybody holds one grant, and this is asked of every call.
    for grant in caller.grants:
        if (
            permission in grant.permissions
            and (grant.tenants is None or tenant in grant.tenants)
            and (grant.scopes is None or scope in grant.scopes)
            and (grant.labels is None or permission not in NEVER_OF_OBJECTS)
        ):
            return True
    return False


def allows_of(caller: Holder, permission: Permission) -> Allows:
    """Return a quick answer to what authorize() decides, for many objects."""
    grants = holding(tuple(caller.grants), permission)
    if any(each.tenants is None and each.scopes is None and each.labels is None for each in grants):
        return lambda _tenant, _scope, _labels: True

    def sees(tenant: str, scope: str, labels: Mapping[str, str] | None) -> bool:
        for grant in grants:
            if (
                (grant.tenants is None or tenant in grant.tenants)
                and (grant.scopes is None or scope in grant.scopes)
                and (grant.labels is None or (labels is not None and grant.labels(labels)))
            ):
                return True
        return False

    return sees


@lru_cache(maxsize=_REMEMBERED)
def holding(grants: tuple[Grant, ...], permission: Permission) -> tuple[Grant, ...]:
    """Return the grants that can give a permission anywhere."""
    return tuple(
        grant
        for grant in grants
        if permission in grant.permissions
        and not (grant.labels is not None and permission in NEVER_OF_OBJECTS)
    )


def _missing(
    caller: Holder,
    permission: Permission,
    tenant: str | None,
    scope: str | None,
    labels: Mapping[str, str] | None,
) -> str:
    where = "".join(
        f" in {word} {name}" for word, name in (("tenant", tenant), ("scope", scope)) if name
    )
    reason = f"this needs the permission {permission.value}{where}"
    selected = [
        each.selector
        for each in caller.grants
        if permission in each.permissions and each.selector is not None
    ]
    if labels is not None and selected:
        reason += f"; you hold it for objects with certain labels only: {', '.join(selected)}"[:500]
    return reason
