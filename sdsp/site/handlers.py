"""HTTP routes by which a site is asked about itself."""

from typing import Annotated, Final

from aiohttp import web
from pydantic import BeforeValidator, Field

from sdsp.site.service import SiteView, parse_packet
from sdsp.site.sight import Sight
from sdsp.upstream.apply import Inbound
from shared.access.permissions import Permission
from shared.access.reach import reach_of
from shared.algebra.cidrs import parse_address
from shared.errors import FieldError, Invalid
from shared.http.body import Body, read_body
from shared.http.rates import CallKind
from shared.http.request import caller_of, flag, only_parameters, text
from shared.http.response import json_response
from shared.http.routes import Parameter, Routes
from shared.ids import COMMON, FEDERATION, Key
from shared.model.traffic import PORT_PROTOCOLS, parse_protocol
from shared.objects.call import call_of
from shared.objects.keys import TRAIL

SITE_VIEW: Final = web.AppKey("site_view", SiteView)
INBOUND: Final = web.AppKey("inbound", Inbound)


DEFAULT_SOURCE_PORT: Final = 49152

routes = Routes("/api/v1", tag="site")

_NODE = Parameter("node", "The node whose view is asked for; left out: the site's.")
_STAGED = Parameter("staged", "Count staged policies as enforced.", {"type": "boolean"})


class Flow(Body):
    """One connection's first packet."""

    from_: str = Field(alias="from", description="The source address.")
    to: str = Field(description="The destination address.")
    protocol: Annotated[int | str, BeforeValidator(parse_protocol)] = Field(
        description="A name, or a number from 0 to 255."
    )
    port: int | None = Field(None, ge=0, le=65535, description="With tcp, udp and sctp.")
    source_port: int = Field(DEFAULT_SOURCE_PORT, ge=0, le=65535, alias="sourcePort")
    node: str | None = Field(None, description="The node that is to judge it.")
    staged: bool = Field(False, description="Count staged policies as enforced.")


class HeldKey(Body):
    """A held object."""

    kind: str = Field(description="Its kind.")
    name: str = Field(description="Its name.")
    tenant: str = Field(COMMON, description="Its tenant.")
    scope: str = Field(FEDERATION, description="Its scope: federation or region/NAME.")


class Drop(Body):
    """Which held objects are let go, and why."""

    keys: list[HeldKey] = Field(min_length=1, max_length=10_000)
    reason: str = Field(min_length=1, max_length=2000, description="Kept in the audit trail.")


@routes.get("/status", permission=Permission.READ_STATUS)
async def status(request: web.Request) -> web.Response:
    """Tell how the site stands: the FSM, each policy, each node, what is held."""
    only_parameters(request)
    sight = _sight_of(request, Permission.READ_STATUS)
    return json_response(await request.app[SITE_VIEW].status(sight))


@routes.get(
    "/resolve",
    permission=Permission.TRACE,
    parameters=(_NODE, _STAGED),
    counts_as=CallKind.QUERIES,
)
async def resolve(request: web.Request) -> web.Response:
    """Return the rules that the site, or one of its nodes, makes of policy."""
    only_parameters(request, "node", "staged")
    found = await request.app[SITE_VIEW].resolve(
        text(request, "node"),
        staged=flag(request, "staged"),
        sight=_sight_of(request, Permission.TRACE),
    )
    return json_response(found)


@routes.post("/trace", permission=Permission.TRACE, body=Flow, counts_as=CallKind.QUERIES)
async def trace(request: web.Request) -> web.Response:
    """Judge one flow, and tell every rule that was looked at.

    Without a node, `views` has a judgement of each node with an end of the flow and `outcome` what
    becomes of it: it passes only if all of them allow.
    """
    flow = await read_body(request, Flow)
    protocol = flow.protocol
    if protocol == "any" or not isinstance(protocol, int):
        raise _fault("protocol", "a flow has one protocol, not any")
    if (protocol in PORT_PROTOCOLS) != (flow.port is not None):
        needs = "needs a port" if flow.port is None else "has no ports"
        raise _fault("port", f"protocol {protocol} {needs}")
    packet = parse_packet(
        _address("from", flow.from_),
        _address("to", flow.to),
        protocol,
        flow.port or 0,
        flow.source_port if protocol in PORT_PROTOCOLS else 0,
    )
    sight = _sight_of(request, Permission.TRACE)
    told = await request.app[SITE_VIEW].trace(packet, flow.node, staged=flow.staged, sight=sight)
    return json_response(told)


@routes.get("/held", permission=Permission.READ_STATUS)
async def held(request: web.Request) -> web.Response:
    """List what is still enforced although the FSM has it no longer."""
    only_parameters(request)
    sees = _sight_of(request, Permission.READ_STATUS).reach.sees
    return json_response({"items": list(await request.app[INBOUND].held(sees))})


@routes.post("/held/drop", permission=Permission.CONFIRM, body=Drop)
async def drop(request: web.Request) -> web.Response:
    """Let held objects go, all of those named or none."""
    body = await read_body(request, Drop)
    keys = [Key(each.kind, each.tenant, each.scope, each.name) for each in body.keys]
    audit = request.app[TRAIL].record(
        call_of(request),
        "held.drop",
        reason=body.reason,
        diff={"dropped": [str(key) for key in keys]},
        permission=Permission.CONFIRM,
    )
    sees = _sight_of(request, Permission.CONFIRM).reach.sees
    dropped = await request.app[INBOUND].drop_held(keys, audit=audit, sees=sees)
    return json_response({"dropped": dropped})


def _sight_of(request: web.Request, permission: Permission) -> Sight:
    """Return how far the caller sees by a permission."""
    return Sight(reach_of(caller_of(request), permission))


def _address(field: str, given: str) -> tuple[int, int]:
    try:
        return parse_address(given)
    except ValueError as exc:
        raise _fault(field, f"{given[:80]!r} is no IP address") from exc


def _fault(path: str, message: str) -> Invalid:
    fault = FieldError(path, "invalid_value", message)
    return Invalid(message, code="invalid_value", fields=[fault])
