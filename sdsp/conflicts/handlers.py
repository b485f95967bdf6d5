"""HTTP routes by which people settle conflicts; they are read like every other object."""

from typing import Any, Final

from aiohttp import web
from pydantic import Field

from sdsp.conflicts.asking import Asking
from sdsp.conflicts.cases import Sees
from sdsp.conflicts.decide import Decisions, Verdict
from sdsp.conflicts.impact import Impacts
from sdsp.conflicts.standing import KIND
from sdsp.conflicts.undo import Undoings
from shared.access.permissions import Permission
from shared.access.reach import reach_of
from shared.errors import Forbidden
from shared.http.body import Body, read_body
from shared.http.rates import CallKind
from shared.http.request import caller_of, expected_revision, only_parameters
from shared.http.response import json_response, object_response
from shared.http.routes import Routes
from shared.ids import Key
from shared.model.base import Envelope, Time
from shared.model.documents import envelope_type
from shared.model.override import ProposalName
from shared.objects import parameters
from shared.objects.call import call_of
from shared.policy.ways.asking import NAME as ASK

ASKING: Final = web.AppKey("asking", Asking)
DECISIONS: Final = web.AppKey("decisions", Decisions)
IMPACTS: Final = web.AppKey("impacts", Impacts)
UNDOINGS: Final = web.AppKey("undoings", Undoings)

routes = Routes("/api/v1", tag="conflicts")


class Decide(Body):
    """How a conflict is settled, and why."""

    proposal: ProposalName = Field(description="One of those that the conflict offers.")
    reason: str = Field(min_length=1, max_length=2000, description="Kept in the audit trail.")
    expires_at: Time | None = Field(
        None, alias="expiresAt", description="When an exception that is kept ends by itself."
    )
    digest: str | None = Field(
        None, description="The proposal's as it was shown; refused if it writes something else now."
    )


class Defer(Body):
    """Until when a conflict is put off, and why."""

    until: Time = Field(description="When it is open again.")
    reason: str = Field(min_length=1, max_length=2000, description="Kept in the audit trail.")


class Undo(Body):
    """Why a decision is taken back."""

    reason: str = Field(min_length=1, max_length=2000, description="Kept in the audit trail.")


_CONFLICT: Final[type[Envelope[Any]]] = envelope_type(KIND)
_PLACE: Final = (parameters.TENANT,)
_SEEN: Final = (*_PLACE, parameters.IF_MATCH)


@routes.post(
    "/conflicts/{name}/decision",
    permission=Permission.DECIDE,
    body=Decide,
    answer=_CONFLICT,
    parameters=(*_SEEN, parameters.REQUEST_ID),
)
async def decide(request: web.Request) -> web.Response:
    """Settle a conflict by one of its proposals; return it as it is then.

    `askFederation` settles nothing yet: the conflict waits for the federation's answer.
    """
    only_parameters(request, "tenant")
    body = await read_body(request, Decide)
    verdict = Verdict(body.proposal, body.reason, body.expires_at, body.digest)
    is_question = verdict.proposal == ASK
    take = request.app[ASKING].ask if is_question else request.app[DECISIONS].decide
    decided = await take(
        call_of(request),
        _key(request),
        verdict,
        sees=_sees(request),
        expected=expected_revision(request),
    )
    return object_response(decided)


@routes.post(
    "/conflicts/{name}/deferral",
    permission=Permission.DECIDE,
    body=Defer,
    answer=_CONFLICT,
    parameters=(*_SEEN, parameters.REQUEST_ID),
)
async def defer(request: web.Request) -> web.Response:
    """Put a conflict off; it is open again at the time that is given."""
    only_parameters(request, "tenant")
    body = await read_body(request, Defer)
    deferred = await request.app[DECISIONS].defer(
        call_of(request),
        _key(request),
        until=body.until,
        reason=body.reason,
        sees=_sees(request),
        expected=expected_revision(request),
    )
    return object_response(deferred)


@routes.post(
    "/conflicts/{name}/undo",
    permission=Permission.DECIDE,
    body=Undo,
    answer=_CONFLICT,
    parameters=(*_SEEN, parameters.REQUEST_ID),
)
async def undo(request: web.Request) -> web.Response:
    """Take the decision on a conflict back: the site's objects stand as before it."""
    only_parameters(request, "tenant")
    body = await read_body(request, Undo)
    reopened = await request.app[UNDOINGS].undo(
        call_of(request),
        _key(request),
        reason=body.reason,
        sees=_sees(request),
        expected=expected_revision(request),
    )
    return object_response(reopened)


@routes.get(
    "/conflicts/{name}/impact",
    permission=Permission.DECIDE,
    parameters=_PLACE,
    counts_as=CallKind.QUERIES,
)
async def impact(request: web.Request) -> web.Response:
    """Tell what each proposal of a conflict writes, and what it would change at the site now.

    One that isn't offered after all says why (`notOffered`).  As of `hanse compare`: packets newly
    allowed and denied, with networks, workloads and nodes, the objects that depend on it, and the
    observed flows of a past window whose verdict would change (`flows`: null where none are
    recorded, `unreadable` says why they can't be told).  They may be anybody's: it takes the
    permission in all tenants.
    """
    only_parameters(request, "tenant")
    if not reach_of(caller_of(request), Permission.DECIDE).is_whole:
        raise Forbidden("an impact tells of every tenant's packets: it takes decide in all of them")
    found = await request.app[IMPACTS].of(_key(request), sees=_sees(request))
    return json_response({"proposals": found})


def _key(request: web.Request) -> Key:
    return parameters.key_of(request, KIND, "sdsp")


def _sees(request: web.Request) -> Sees:
    return reach_of(caller_of(request), Permission.DECIDE).sees
