"""Routes by which somebody asks what he may do, and by which role and binding."""

from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, Field

from shared.access.authorize import authorize, may_somewhere
from shared.access.permissions import Permission
from shared.auth.identity import Grant
from shared.errors import Malformed
from shared.http.request import caller_of, only_parameters, text
from shared.http.response import json_response
from shared.http.routes import AUTHENTICATED, Parameter, Routes
from shared.ids import COMMON, Key
from shared.model.kinds import KINDS, PLURALS
from shared.model.schema import suggestion
from shared.model.verbs import EVERY, READ_ONLY_KINDS, SPECIAL_VERBS, VERBS
from shared.objects.keys import OBJECTS
from shared.objects.rights import may_read

routes = Routes("/api/v1", tag="session")

_VERB: Final = Parameter("verb", f"One of {', '.join(VERBS)}.", required=True)
_KIND: Final = Parameter(
    "kind", "A kind, its plural, status, audit or metrics; of a special verb left out."
)
_TENANT: Final = Parameter("tenant", "In which tenant; common if left out.")
_SCOPE: Final = Parameter("scope", "In which scope; federation or site if left out.")
_NAME: Final = Parameter("name", "To this very object, whose labels count.")


class MayI(BaseModel):
    """Whether the caller may do something, and why."""

    allowed: bool = Field(description="Whether it is allowed.")
    permission: str = Field(description="What was asked about.")
    tenant: str = Field(description="In which tenant.")
    scope: str = Field(description="In which scope.")
    name: str | None = Field(description="To which object.")
    role: str | None = Field(description="The role that permits it.")
    binding: str | None = Field(description="The RoleBinding that gave it, if one did.")
    reason: str | None = Field(description="What is missing.")


class HeldGrant(BaseModel):
    """Permissions held in some tenants and scopes; null means all."""

    role: str = Field(description="By this role.")
    binding: str | None = Field(description="Given by this RoleBinding, if by one.")
    permissions: list[str] = Field(description="What is allowed.")
    tenants: list[str] | None = Field(description="In these tenants.")
    scopes: list[str] | None = Field(description="In these scopes.")
    selector: str | None = Field(description="On objects with such labels: [key, operator, values]")


class HeldGrants(BaseModel):
    """All that the caller holds."""

    items: list[HeldGrant] = Field(description="In the order of the bindings' names.")


@routes.get(
    "/can-i",
    permission=AUTHENTICATED,
    answer=MayI,
    parameters=(_VERB, _KIND, _TENANT, _SCOPE, _NAME),
)
async def can_i(request: web.Request) -> web.Response:
    """Tell whether one may do something.

    Without a name the question is about no object, so that a role on objects with certain labels
    doesn't answer it.
    """
    only_parameters(request, "verb", "kind", "tenant", "scope", "name")
    caller, objects = caller_of(request), request.app[OBJECTS]
    kind = text(request, "kind")
    permission = _permission(text(request, "verb") or "", kind)
    tenant = text(request, "tenant") or COMMON
    scope = text(request, "scope") or objects.default_scope
    name, labels = text(request, "name"), None
    if name is not None:
        of = permission.partition(":")[2]
        if of not in KINDS:
            raise Malformed(f"{permission} is not about objects of a kind; leave the name out")
        stored = await objects.find(Key(of, tenant, scope, name))
        # What he may not see answers as what isn't there.
        if stored is not None and may_read(caller, stored.key, stored.labels):
            labels = stored.labels
    decision = authorize(caller, permission, tenant=tenant, scope=scope, labels=labels)
    reason = decision.reason or None
    if reason and may_somewhere(caller, permission, tenant=tenant, scope=scope):
        reason = f"{reason}; you hold it for objects with certain labels: give a name"
    grant = decision.grant
    return json_response(
        {
            "allowed": decision.allowed,
            "permission": permission.value,
            "tenant": tenant,
            "scope": scope,
            "name": name,
            "role": grant.role if grant else None,
            "binding": grant.binding or None if grant else None,
            "reason": reason,
        }
    )


@routes.get("/permissions", permission=AUTHENTICATED, answer=HeldGrants)
async def permissions(request: web.Request) -> web.Response:
    """List all that one may do, by which role and binding, where and on what."""
    only_parameters(request)
    return json_response({"items": [held(each) for each in caller_of(request).grants]})


def held(grant: Grant) -> dict[str, Any]:
    """Return a grant as answers show it."""
    return {
        "role": grant.role,
        "binding": grant.binding or None,
        "permissions": sorted(grant.permissions),
        "tenants": None if grant.tenants is None else sorted(grant.tenants),
        "scopes": None if grant.scopes is None else sorted(grant.scopes),
        "selector": grant.selector,
    }


def _permission(verb: str, kind: str | None) -> Permission:
    """Return what a verb and a kind, or its plural, mean together; Malformed."""
    if verb not in VERBS:
        raise Malformed(
            f"there is no verb {verb[:80]!r}{suggestion(verb, VERBS)}; the verbs are "
            f"{', '.join(VERBS)}",
            code="unknown_verb",
        )
    if verb in SPECIAL_VERBS:
        if kind not in (None, EVERY):
            raise Malformed(f"{verb} concerns no one kind; leave the kind out")
        return Permission(verb)
    if kind is None:
        raise Malformed(f"{verb} what? give a kind")
    found = PLURALS[kind].name if kind in PLURALS else _by_lower().get(kind.lower(), kind)
    try:
        return Permission(f"{verb}:{found}")
    except ValueError:
        known = (*KINDS, *READ_ONLY_KINDS)
        raise Malformed(
            f"nothing can be {'read' if verb == 'read' else 'written'} of kind "
            f"{kind[:80]!r}{suggestion(kind, known)}",
            code="unknown_kind",
        ) from None


def _by_lower() -> dict[str, str]:
    return {each.lower(): each for each in (*KINDS, *READ_ONLY_KINDS)}
