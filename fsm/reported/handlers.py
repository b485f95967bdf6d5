"""HTTP routes over what sites have reported of their conflicts and exceptions."""

from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, Field

from fsm.reported.service import About, Reported
from shared.access.permissions import Permission
from shared.access.reach import reach_of
from shared.http.request import caller_of, flag, only_parameters, text
from shared.http.response import json_response
from shared.http.routes import Parameter, Routes
from shared.objects import parameters

REPORTED: Final = web.AppKey("reported", Reported)

routes = Routes("/api/v1", tag="sites")

_SITE: Final = Parameter("site", "Only this site's.")


class SitesConflicts(BaseModel):
    """What sites and the federation disagree on, as the sites tell it."""

    items: list[dict[str, Any]] = Field(
        description="The most pressing first: site, name, tenant, type, target, urgency, state, "
        "since, deadline, until and request; of settled ones how and at."
    )
    sites: list[dict[str, Any]] = Field(
        description="Per site that tells of conflicts: asOf, the revision that they are of, "
        "pending (it has taken over more since), counts, reportedAt."
    )


class SitesExceptions(BaseModel):
    """The exceptions that sites make to inherited objects."""

    items: list[dict[str, Any]] = Field(
        description="Per exception: site, type, target, name, tenant, scope, reason, expiresAt."
    )


@routes.get(
    "/conflicts",
    permission=Permission.READ_CONFLICT,
    answer=SitesConflicts,
    parameters=(
        _SITE,
        parameters.ANY_TENANT,
        Parameter("all", "Those that are settled, too.", {"type": "boolean"}),
    ),
)
async def conflicts(request: web.Request) -> web.Response:
    """List all sites' conflicts, as each site reported them last.

    Names, codes and times only: what the versions say is shown and decided at the site.
    """
    only_parameters(request, "site", "tenant", "all")
    found = await request.app[REPORTED].conflicts(
        reach_of(caller_of(request), Permission.READ_CONFLICT),
        site=text(request, "site"),
        tenant=text(request, "tenant"),
        settled=flag(request, "all"),
    )
    return json_response(found)


@routes.get(
    "/exceptions",
    permission=Permission.READ_OVERRIDE,
    answer=SitesExceptions,
    parameters=(
        _SITE,
        Parameter("kind", "Only those to objects of this kind."),
        Parameter("name", "Only those to objects of this name."),
        Parameter("tenant", "Only those to objects of this tenant."),
    ),
)
async def exceptions(request: web.Request) -> web.Response:
    """List which sites make an exception to which object, why and until when."""
    only_parameters(request, "site", "kind", "name", "tenant")
    about = About(*(text(request, name) for name in ("site", "kind", "name", "tenant")))
    reach = reach_of(caller_of(request), Permission.READ_OVERRIDE)
    return json_response(await request.app[REPORTED].exceptions(reach, about))
