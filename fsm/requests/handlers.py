"""HTTP routes of change requests: what sites send, and what people decide."""

from typing import Any, Final, Literal

from aiohttp import web
from pydantic import Field

from fsm.requests.decide import ChangeRequests, Ruling
from fsm.requests.receive import KIND, ReceiveRequests, RequestBody
from fsm.sites.handlers import site_of
from shared.access.permissions import Permission
from shared.access.reach import reach_of
from shared.feed.follow import FEED
from shared.http.body import Body, read_body
from shared.http.request import caller_of, expected_revision, is_dry_run, only_parameters
from shared.http.response import json_response, object_response
from shared.http.routes import PEER, Routes
from shared.ids import Revision
from shared.model.base import Envelope
from shared.model.documents import envelope_type
from shared.objects import parameters
from shared.objects.call import call_of
from shared.pki.identity import Role

RECEIVE: Final = web.AppKey("receive_requests", ReceiveRequests)
REQUESTS: Final = web.AppKey("change_requests", ChangeRequests)

# A document has at most 1 MiB, and a request little more than one.
LIMIT: Final = 2 * 1024 * 1024

feed_routes = Routes(FEED, tag="feed")
routes = Routes("/api/v1", tag="changerequests")

_REQUEST: Final[type[Envelope[Any]]] = envelope_type(KIND)


class Decide(Body):
    """What becomes of a site's wish, and why."""

    decision: Literal["accept", "refuse"] = Field(
        description="accept writes what is asked for into the target."
    )
    reason: str = Field(
        min_length=1, max_length=2000, description="The site is told, and it is audited."
    )
    target_revision: int | None = Field(
        None,
        alias="targetRevision",
        ge=1,
        description="The target's revision as it was looked at; needed if it has changed since "
        "the site asked.",
    )


@feed_routes.post("/changerequests", permission=PEER, peer=Role.SDSP, body=RequestBody)
async def receive(request: web.Request) -> web.Response:
    """Ask for a change of what the calling site inherits, as a person there decided.

    The same request, by its name, counts once; `withdrawn` takes it back.
    """
    only_parameters(request)
    body = await read_body(request, RequestBody, limit=LIMIT)
    found = await request.app[RECEIVE].receive(call_of(request), site_of(request), body)
    return json_response({"name": found.key.name, "state": found.spec.get("state", "open")})


@routes.post(
    "/changerequests/{name}/decision",
    permission=Permission.DECIDE,
    body=Decide,
    answer=_REQUEST,
    parameters=(
        parameters.TENANT,
        parameters.IF_MATCH,
        parameters.DRY_RUN,
        parameters.REQUEST_ID,
    ),
)
async def decide(request: web.Request) -> web.Response:
    """Accept or refuse a site's change request; return it as it is then.

    To accept one also needs the permission to write its target.  409 `base_moved` if the target
    has changed since the site asked, and `targetRevision` doesn't say that this was seen.
    """
    only_parameters(request, "tenant", "dryRun")
    body = await read_body(request, Decide)
    seen = None if body.target_revision is None else Revision(body.target_revision)
    state: Literal["accepted", "refused"] = "accepted" if body.decision == "accept" else "refused"
    found = await request.app[REQUESTS].rule(
        call_of(request),
        parameters.key_of(request, KIND, "fsm"),
        Ruling(state, body.reason, seen),
        sees=reach_of(caller_of(request), Permission.DECIDE).sees,
        expected=expected_revision(request),
        dry_run=is_dry_run(request),
    )
    return object_response(found)
