"""Who may see and write which object; what one may not see is not there."""

from collections.abc import Mapping

from shared.access.authorize import Holder, authorize, holding, may_somewhere
from shared.access.permissions import reading, writing
from shared.auth.identity import Caller, union_of
from shared.errors import Forbidden, Invalid, NotFound
from shared.ids import Key
from shared.model.kinds import KINDS, Home, Kind


def kind_at(home: Home, name: str) -> Kind:
    """Return a kind that lives on this component; NotFound (`unknown_kind`) else."""
    kind = KINDS.get(name)
    if kind is None or home not in kind.lives_on:
        raise NotFound(f"there are no objects of kind {name[:80]!r} here", code="unknown_kind")
    return kind


def may_read(caller: Holder, key: Key, labels: Mapping[str, str]) -> bool:
    permission = reading(key.kind)
    return authorize(caller, permission, tenant=key.tenant, scope=key.scope, labels=labels).allowed


def check_read(caller: Caller, key: Key) -> None:
    """Raise Forbidden if the caller may read none of the kind, NotFound if none in such a place.

    Of the object itself, its labels may still say no: see may_read().
    """
    permission = reading(key.kind)
    if may_somewhere(caller, permission, tenant=key.tenant, scope=key.scope):
        return
    anywhere = authorize(caller, permission)
    if not anywhere.allowed:
        raise Forbidden(anywhere.reason)
    raise absent(key)


def check_write(caller: Caller, key: Key) -> None:
    """Raise NotFound if the caller may not even see objects in such a place, Forbidden if he may
    write none there.  Of the object itself, check_labels() has the last word.
    """
    kind = KINDS[key.kind]
    tenant, scope = key.tenant, key.scope
    if not may_somewhere(caller, writing(key.kind), tenant=tenant, scope=scope):
        read = reading(key.kind)
        seen = may_somewhere(caller, read, tenant=tenant, scope=scope)
        if authorize(caller, read).allowed and not seen:
            raise absent(key)
        decision = authorize(caller, writing(key.kind), tenant=tenant, scope=scope)
        raise Forbidden(decision.reason)
    if kind.written_by == "system":
        raise Forbidden(
            f"objects of kind {kind.name} are written by the system only", code="written_by_system"
        )


def check_labels(
    caller: Caller,
    key: Key,
    *,
    before: Mapping[str, str] | None,
    after: Mapping[str, str] | None,
) -> None:
    """Raise Forbidden unless the caller may write an object as it is, and as it will be.

    NotFound if he may not even see it as it is.  None: there is none.
    """
    for labels in (before, after):
        if labels is None:
            continue
        permission = writing(key.kind)
        decision = authorize(caller, permission, tenant=key.tenant, scope=key.scope, labels=labels)
        if not decision.allowed:
            if before is not None and not may_read(caller, key, before):
                raise absent(key)
            raise Forbidden(decision.reason)


def readable_tenants(caller: Caller, kinds: frozenset[str]) -> frozenset[str] | None:
    """Return the tenants in which there may be objects that he may read; None means all."""
    grants = tuple(caller.grants)
    return union_of(each.tenants for kind in kinds for each in holding(grants, reading(kind)))


def check_scope(home: Home, key: Key) -> None:
    """Raise Invalid (`scope_not_here`) unless objects of the kind may have such a scope here."""
    level, _, name = key.scope.partition("/")
    levels = KINDS[key.kind].scopes.get(home, ())
    if not levels:
        raise Invalid(f"objects of kind {key.kind} don't live here", code="scope_not_here")
    named = level in ("region", "group", "node")
    if level not in levels or named != bool(name):
        allowed = " or ".join(
            f"{each}/NAME" if each in ("region", "group", "node") else each for each in levels
        )
        raise Invalid(
            f"a {key.kind} can't have the scope {key.scope[:80]!r} here; it may be {allowed}",
            code="scope_not_here",
        )


def absent(key: Key, *, hint: str = "") -> NotFound:
    return NotFound(f"there is no {key}{hint}")
