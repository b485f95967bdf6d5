"""HTTP routes by which people ask sites something through the FSM."""

from typing import Final

from aiohttp import web
from pydantic import Field

from fsm.query.service import Asked, ImpactQueries
from shared.access.permissions import Permission
from shared.auth.delegation import LONGEST_DEADLINE
from shared.http.body import Body, aside, read_body
from shared.http.ndjson import NDJSON, stream_lines
from shared.http.rates import CallKind
from shared.http.request import caller_of, only_parameters
from shared.http.routes import TRANSACTION_LIMIT, Routes
from shared.objects.handlers import OperationBody, read_writes
from shared.objects.keys import OBJECTS
from shared.objects.selection import parse_label_selector
from shared.query.impact import MAX_BOXES

IMPACTS: Final = web.AppKey("draft_impacts", ImpactQueries)

routes = Routes("/api/v1", tag="query")


class ImpactBody(Body):
    """A draft, and which sites are asked about it."""

    operations: list[OperationBody] = Field(
        min_length=1,
        max_length=10_000,
        description="What would be written, as in a transaction; ifMatch means nothing here.",
    )
    sites: str | None = Field(
        None, description="A label selector: only these sites of those that it concerns."
    )
    deadline: float = Field(
        10.0,
        ge=0.1,
        le=LONGEST_DEADLINE.total_seconds(),
        description="Seconds; which site hasn't answered by then is missing.",
    )
    requireAllSites: bool = Field(  # noqa: N815 - its name in JSON
        False, description="End with an error if any site is missing."
    )
    maxBoxes: int = Field(  # noqa: N815 - its name in JSON
        MAX_BOXES, ge=0, le=MAX_BOXES, description="Boxes of packets, of each set and site."
    )
    force: bool = Field(False, description="As an apply with force would be judged.")


@routes.post(
    "/impact",
    permission=Permission.TRACE,
    body=ImpactBody,
    media_type=NDJSON,
    counts_as=CallKind.QUERIES,
)
async def impact(request: web.Request) -> web.StreamResponse:
    """Ask every site that a draft concerns what it would do there; nothing is written anywhere.

    JSON lines: `{"type": "begun", "base", "sites"}`, then for each site as it answers
    `{"type": "site", "site", "outcome", "seconds", "position", "current", "code", "message",
    "withheld", "impact"}`, with `outcome` one of ok, timeout, unreachable, denied, error;
    `{"type": "waiting", "sites"}` while nothing comes; at last `{"type": "end", "base", "asked",
    "answered", "partial", "missing", …}`, or `{"type": "error", "status", "code", "title"}`.
    A missing site makes the answer partial.  Each site judges by the roles that have flowed down
    to it, and tells of the tenants in which they give the permission trace.
    """
    only_parameters(request)
    body = await read_body(request, ImpactBody, limit=TRANSACTION_LIMIT)
    writes = await aside(request, read_writes, body.operations, request.app[OBJECTS])
    asked = Asked(
        writes=writes,
        sites=parse_label_selector(body.sites) if body.sites else None,
        deadline=body.deadline,
        require_all=body.requireAllSites,
        max_boxes=body.maxBoxes,
        force=body.force,
    )
    lines = await request.app[IMPACTS].lines(caller_of(request), asked)
    return await stream_lines(request, lines)
