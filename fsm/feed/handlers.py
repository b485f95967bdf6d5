"""HTTP routes of the feed: what an SDSP pulls, and what it says upwards."""

from functools import partial
from typing import Final

from aiohttp import web

from fsm.feed.acks import SiteVoices
from fsm.feed.hub import Hub
from fsm.feed.reports import Acknowledgement, Report
from fsm.feed.seals import SealBody, SiteSeals
from fsm.feed.select import subscription_key
from fsm.feed.service import Feed, Since
from fsm.sites.handlers import site_of
from shared.access.permissions import Permission
from shared.errors import Malformed
from shared.feed.follow import FEED as PREFIX
from shared.feed.wire import Position
from shared.http.body import read_body
from shared.http.ndjson import NDJSON, stream_lines, stream_parts
from shared.http.request import number, only_parameters, text
from shared.http.response import JSON_TYPE, json_response
from shared.http.routes import PEER, Parameter, Routes
from shared.model.subscription import Subscription
from shared.objects.call import call_of
from shared.objects.keys import TRAIL
from shared.pki.identity import Role

FEED: Final = web.AppKey("feed", Feed)
HUB: Final = web.AppKey("hub", Hub)
VOICES: Final = web.AppKey("site_voices", SiteVoices)
SEALS: Final = web.AppKey("site_seals", SiteSeals)

REPORT_LIMIT: Final = 8 * 1024 * 1024

routes = Routes(PREFIX, tag="feed")
seal_routes = Routes("/api/v1/audit", tag="audit")

_POSITION: Final = ("incarnation", "revision", "digest", "view")


@routes.put("/subscription", permission=PEER, peer=Role.SDSP, body=Subscription)
async def subscribe(request: web.Request) -> web.Response:
    """Say what the calling site wants beyond what it must have."""
    only_parameters(request)
    site = site_of(request)
    wishes = await read_body(request, Subscription)
    audit = request.app[TRAIL].record(
        call_of(request), "subscription.put", key=subscription_key(site)
    )
    await request.app[FEED].subscribe(site, wishes, audit=audit)
    return json_response({})


@routes.get(
    "/snapshot",
    permission=PEER,
    peer=Role.SDSP,
    parameters=(
        Parameter("page", "The `next` of the page before; with revision."),
        Parameter("revision", "The revision of the first page.", {"type": "integer"}),
        Parameter("since_incarnation", "Of the position that the site's copy has."),
        Parameter("since_revision", "Of that position.", {"type": "integer"}),
    ),
)
async def snapshot(request: web.Request) -> web.StreamResponse:
    """Return a page of all that the calling site is to have, pinned to one revision.

    With a position, also what it is to let go since.  410 `revision_compacted`: begin anew.
    """
    only_parameters(request, "page", "revision", "since_incarnation", "since_revision")
    incarnation = text(request, "since_incarnation")
    since_revision = number(request, "since_revision")
    if (incarnation is None) != (since_revision is None):
        raise Malformed("give since_incarnation and since_revision together")
    since = None
    if incarnation is not None and since_revision is not None:
        since = Since(incarnation, since_revision)
    parts = await request.app[FEED].parts(
        site_of(request),
        revision=number(request, "revision"),
        page=text(request, "page"),
        since=since,
    )
    return await stream_parts(request, parts, content_type=JSON_TYPE)


@routes.get(
    "/changes",
    permission=PEER,
    peer=Role.SDSP,
    media_type=NDJSON,
    parameters=tuple(
        Parameter(name, "Of the site's position.", required=True) for name in _POSITION
    ),
)
async def changes(request: web.Request) -> web.StreamResponse:
    """Stream what changes for the calling site, from its position on.

    410 `history_diverged`, `view_changed` or `revision_compacted`: list again.
    """
    only_parameters(request, *_POSITION)
    site, at = site_of(request), _position(request)
    hub, voices = request.app[HUB], request.app[VOICES]
    try:
        async with request.app[FEED].watching(site, at) as lines:
            return await stream_lines(request, lines)
    finally:
        if site not in hub.watched_sites:
            voices.left(site)


@routes.post("/acknowledgements", permission=PEER, peer=Role.SDSP, body=Acknowledgement)
async def acknowledge(request: web.Request) -> web.Response:
    """Say how far the calling site has applied what it was sent, and what it couldn't."""
    only_parameters(request)
    hub = request.app[HUB]
    said = await read_body(request, Acknowledgement)
    if said.position.revision > hub.position.revision:
        # Nobody has applied what isn't there yet; other processes may be ahead of this one.
        await hub.catch_up(said.position.revision)

    site = site_of(request)
    await request.app[VOICES].acknowledge(
        site,
        said,
        incarnation=hub.position.incarnation,
        revision_of=partial(hub.revision_at, site),
    )
    return json_response({})


@routes.post("/report", permission=PEER, peer=Role.SDSP, body=Report)
async def report(request: web.Request) -> web.Response:
    """Say how the calling site stands: names, codes and counts."""
    only_parameters(request)
    said = await read_body(request, Report, limit=REPORT_LIMIT)
    await request.app[VOICES].report(site_of(request), said)
    return json_response({})


@routes.post("/seal", permission=PEER, peer=Role.SDSP, body=SealBody)
async def seal(request: web.Request) -> web.Response:
    """Show the newest seal of the calling site's audit trail, for the FSM to keep."""
    only_parameters(request)
    said = await read_body(request, SealBody)
    await request.app[SEALS].keep(site_of(request), said)
    return json_response({})


@seal_routes.get("/seals", permission=Permission.READ_AUDIT)
async def site_seals(request: web.Request) -> web.Response:
    """Return the newest seal that each site has shown, to hold its audit trail against.

    `forks` are those that a later one contradicted.
    """
    only_parameters(request)
    found = await request.app[SEALS].all()
    return json_response({"items": [{"site": site, **found[site]} for site in sorted(found)]})


def _position(request: web.Request) -> Position:
    incarnation, digest, view = (text(request, name) for name in ("incarnation", "digest", "view"))
    revision = number(request, "revision")
    if incarnation is None or revision is None or digest is None or view is None:
        raise Malformed("give the whole position: incarnation, revision, digest and view")
    return Position(incarnation, revision, digest, view)
