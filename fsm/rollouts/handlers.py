"""HTTP routes by which people roll a change out; Rollouts are read like every other object."""

from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, Field

from fsm.feed.item import ROLLOUT
from fsm.rollouts.drafts import Wish
from fsm.rollouts.service import Asked, Rollouts
from shared.access.permissions import Permission
from shared.access.reach import reach_of
from shared.errors import Invalid
from shared.http.body import Body, aside, read_body
from shared.http.request import caller_of, expected_revision, is_dry_run, only_parameters
from shared.http.response import json_response, object_response
from shared.http.routes import Routes
from shared.ids import Key
from shared.model.base import Duration, Envelope, Name
from shared.model.documents import envelope_type, parse_value
from shared.model.rollout import PATIENCE
from shared.model.selectors import Selector
from shared.objects import parameters
from shared.objects.call import call_of
from shared.objects.keys import READER

ROLLOUTS: Final = web.AppKey("rollouts", Rollouts)

routes = Routes("/api/v1", tag="rollouts")

_MOST_WAVES: Final = 100
_ANSWER: Final[type[Envelope[Any]]] = envelope_type(ROLLOUT)
_PLACE: Final = (parameters.TENANT,)


class Start(Body):
    """A change, and how it goes site by site."""

    object: dict[str, Any] = Field(description="The document of the policy as it is to be.")
    order: tuple[Selector, ...] = Field(
        (),
        max_length=_MOST_WAVES,
        description="Waves of sites, by their labels; sites that none selects are the last wave.",
    )
    max_failures: int = Field(
        0, alias="maxFailures", ge=0, description="How many sites may fail before it stops."
    )
    patience: Duration = Field(
        PATIENCE, description="How long a site may take until it counts as failed."
    )
    name: Name | None = Field(
        None, description="The rollout's; left out, the policy's with its generation."
    )
    reason: str | None = Field(None, max_length=2000, description="Kept in the audit trail.")


class Steer(Body):
    """Why a rollout is halted or taken back."""

    reason: str = Field(min_length=1, max_length=2000, description="Kept in the audit trail.")


class Resume(Steer):
    """Why a rollout goes on."""

    max_failures: int | None = Field(
        None, alias="maxFailures", ge=0, description="How many sites may fail from now on."
    )


class Progress(BaseModel):
    """A rollout, and how each site stands in it."""

    rollout: dict[str, Any] = Field(description="The Rollout.")
    waves: list[dict[str, Any]] = Field(
        description="Per wave: wave (from 0), selector (null: all other sites), and sites with "
        "word (waits, pending, done, failed, paused, absent; after the end reached), code and "
        "reachedAt."
    )
    failed: int = Field(description="How many sites count as failed.")
    waitsFor: list[str] = Field(  # noqa: N815 - its name in JSON
        description="Sites without whose word the next wave doesn't begin."
    )


@routes.post(
    "/rollouts/start",
    permission=Permission.WRITE_ROLLOUT,
    body=Start,
    answer=_ANSWER,
    status=201,
    parameters=(parameters.DRY_RUN, parameters.IF_MATCH, parameters.REQUEST_ID),
)
async def start(request: web.Request) -> web.Response:
    """Write a change of policy that goes site by site, and return its Rollout.

    Needs the permission to write the policy, too.  If-Match is the policy's revision.
    """
    only_parameters(request, "dryRun")
    body = await read_body(request, Start)
    envelope = await aside(request, _parse, body.object)
    asked = Asked(
        Wish(body.order, body.max_failures, body.patience, body.name),
        reason=body.reason,
        expected=expected_revision(request),
        dry_run=is_dry_run(request),
    )
    rollout = await request.app[ROLLOUTS].start(call_of(request), envelope, asked)
    return object_response(rollout, status=201)


@routes.post(
    "/rollouts/{name}/pause",
    permission=Permission.WRITE_ROLLOUT,
    body=Steer,
    answer=_ANSWER,
    parameters=_PLACE,
)
async def pause(request: web.Request) -> web.Response:
    """Halt a rollout: sites that have the change keep it, and no further site gets it."""
    only_parameters(request, "tenant")
    body = await read_body(request, Steer)
    service = request.app[ROLLOUTS]
    return object_response(await service.pause(call_of(request), _key(request), reason=body.reason))


@routes.post(
    "/rollouts/{name}/resume",
    permission=Permission.WRITE_ROLLOUT,
    body=Resume,
    answer=_ANSWER,
    parameters=_PLACE,
)
async def resume(request: web.Request) -> web.Response:
    """Let a paused or stopped rollout go on.

    409 `rollout_failing` if more sites fail still than may.
    """
    only_parameters(request, "tenant")
    body = await read_body(request, Resume)
    resumed = await request.app[ROLLOUTS].resume(
        call_of(request), _key(request), reason=body.reason, max_failures=body.max_failures
    )
    return object_response(resumed)


@routes.post(
    "/rollouts/{name}/abort",
    permission=Permission.WRITE_ROLLOUT,
    body=Steer,
    answer=_ANSWER,
    parameters=_PLACE,
)
async def abort(request: web.Request) -> web.Response:
    """End a rollout and write the version before as a new one: sites that were reached get it.

    Needs the permission to write the policy, too.
    """
    only_parameters(request, "tenant")
    body = await read_body(request, Steer)
    service = request.app[ROLLOUTS]
    return object_response(await service.abort(call_of(request), _key(request), reason=body.reason))


@routes.get(
    "/rollouts/{name}/progress",
    permission=Permission.READ_STATUS,
    answer=Progress,
    parameters=_PLACE,
)
async def progress(request: web.Request) -> web.Response:
    """Tell how each site stands in a rollout.  Needs the permission to read Rollouts, too."""
    only_parameters(request, "tenant")
    key = _key(request)
    # Who may not see the rollout learns nothing of it here either.
    await request.app[READER].get(call_of(request), key)
    reach = reach_of(caller_of(request), Permission.READ_STATUS)
    return json_response(await request.app[ROLLOUTS].progress(key, reach))


def _key(request: web.Request) -> Key:
    return parameters.key_of(request, ROLLOUT, "fsm")


def _parse(document: dict[str, Any]) -> Envelope[Any]:
    envelope, faults = parse_value(document, prefix="object")
    if envelope is None or faults:
        message = faults[0].message if len(faults) == 1 else f"{len(faults)} faults"
        raise Invalid(f"the document is not valid: {message}", fields=faults)
    return envelope
