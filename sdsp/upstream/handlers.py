"""HTTP routes by which people cut the site off from its FSM for a planned time, and let it back."""

from typing import Final

from aiohttp import web
from pydantic import Field

from sdsp.upstream.detachment import Detachment
from shared.access.permissions import Permission
from shared.http.body import Body, read_body
from shared.http.request import only_parameters
from shared.http.response import json_response
from shared.http.routes import Routes
from shared.ids import SITE
from shared.model.base import Time
from shared.objects.call import call_of
from shared.objects.keys import TRAIL
from shared.objects.permitted import check_common

DETACHMENT: Final = web.AppKey("detachment", Detachment)

routes = Routes("/api/v1/upstream", tag="site")


class Detach(Body):
    """Until when the site opens no connection to its FSM, and why."""

    until: Time = Field(description="When it connects again by itself.")
    reason: str = Field(
        min_length=1, max_length=2000, description="Audited, and told to the FSM beforehand."
    )


class Attach(Body):
    """Why the site connects again before the time."""

    reason: str = Field(min_length=1, max_length=2000, description="Kept in the audit trail.")


@routes.post("/detachment", permission=Permission.DETACH, body=Detach)
async def detach(request: web.Request) -> web.Response:
    """Cut the site off from its FSM until a time; it says so upwards first.

    The site goes on with all that it has: its people, policy, nodes and their certificates.
    """
    only_parameters(request)
    check_common(request, Permission.DETACH, scope=SITE)
    body = await read_body(request, Detach)
    detached = await request.app[DETACHMENT].detach(
        call_of(request), request.app[TRAIL], until=body.until, reason=body.reason
    )
    return json_response(detached.to_json())


@routes.post("/attachment", permission=Permission.DETACH, body=Attach)
async def attach(request: web.Request) -> web.Response:
    """Let a detached site connect again before the time."""
    only_parameters(request)
    check_common(request, Permission.DETACH, scope=SITE)
    body = await read_body(request, Attach)
    await request.app[DETACHMENT].attach(call_of(request), request.app[TRAIL], reason=body.reason)
    return json_response({})
