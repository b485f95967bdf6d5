"""HTTP routes for nodes: joining, the configuration stream, reports."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from sdsp.nodes.enroll import Enrolled, NodeEnrolment
from sdsp.nodes.feed import admitted_or_refuse, configuration_lines
from sdsp.nodes.publication import Publications
from sdsp.nodes.states import NodeStates
from shared.access.permissions import Permission
from shared.auth.identity import Caller, CallerKind
from shared.enrolment.handlers import JOIN_LIMIT
from shared.failpoints import pause
from shared.feed.knows import HEADER, abilities
from shared.http.authentication import address_of
from shared.http.body import Body, read_body
from shared.http.keys import CLOCK
from shared.http.ndjson import NDJSON, stream_lines
from shared.http.request import flag, only_parameters, peer_of, request_id, text, trace_id
from shared.http.response import json_response
from shared.http.routes import PEER, PUBLIC, Parameter, Routes
from shared.ids import SITE
from shared.objects.call import Call, call_of
from shared.objects.permitted import check_common
from shared.pki.csr import CSR_LENGTH
from shared.pki.identity import Role
from shared.pki.jointoken import TOKEN_LENGTH, JoinToken

ENROLMENT: Final = web.AppKey("node_enrolment", NodeEnrolment)
PUBLICATIONS: Final = web.AppKey("publications", Publications)
STATES: Final = web.AppKey("node_states", NodeStates)
ABLE: web.AppKey[Callable[[str, frozenset[str]], Awaitable[None]]] = web.AppKey("able")
"""Minds what a node's agent can do beside what every agent can (shared.feed.knows)."""

# A node with a hundred thousand rules counts each of them.
REPORT_LIMIT: Final = 8 * 1024 * 1024

routes = Routes("", tag="nodes")


class _Wire(Body):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True
    )


class Join(_Wire):
    """A node's wish to join."""

    token: str = Field(max_length=TOKEN_LENGTH, description="The join token, as it was shown.")
    csr: str = Field(max_length=CSR_LENGTH, description="A signing request, PEM; names ignored.")


class Renewal(_Wire):
    """A node's wish for a new certificate."""

    csr: str = Field(max_length=CSR_LENGTH, description="A signing request, PEM; names ignored.")


class JoinedNode(_Wire):
    """What a node needs to connect from now on."""

    node: str = Field(description="The node's name.")
    site: str = Field(description="The site that it belongs to.")
    trust_domain: str = Field(description="The federation's trust domain.")
    chain: str = Field(description="Its certificate and the CAs above it, PEM.")
    roots: str = Field(description="The roots that it is to trust, PEM.")
    admission: str = Field(description="pending, admitted or refused.")


class GivenNodeToken(_Wire):
    """A join token; it is never shown again."""

    token: str = Field(description="One line of text for `hanse dsn join`.")
    expires_at: str = Field(description="When it stops working (RFC 3339).")


# Codes go on to the FSM, which takes nothing else for one; anything might stand in a free text.
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")]
Name = Annotated[str, Field(max_length=128)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Report(_Wire):
    """What a node says of itself.  Only the latest counts."""

    incarnation: str = Field(max_length=64, description="Of the store that it last heard of.")
    generation: int = Field(ge=0, description="Of the configuration that it speaks of.")
    hash: Hash | None = Field(description="Of the configuration it enforces.")
    outcome: Literal["ack", "nack"] = Field(description="Whether it took the last one.")
    code: Code | None = Field(None, description="Why not.")
    message: str | None = Field(None, max_length=2000, description="Why not, in words.")
    read_back: Hash | None = Field(None, description="Hash of what is enforced.")
    data_plane: str | None = Field(None, max_length=40, description="nftables or memory.")
    agent: str | None = Field(None, max_length=80, description="The agent's version.")
    counters: dict[Name, Count] = Field(
        default_factory=dict, max_length=200_000, description="Connections decided, by rule id."
    )
    services: tuple[Name, ...] | None = Field(
        None, max_length=16, description="The network services that it runs."
    )
    roots: tuple[Hash, ...] | None = Field(
        None, max_length=16, description="SHA-256 of each root that the node trusts."
    )
    telemetry: list[dict[str, Any]] = Field(
        default_factory=list, max_length=1000, description="An envelope for signals to come."
    )


@routes.post("/node/v1/join", permission=PUBLIC, body=Join, answer=JoinedNode)
async def join(request: web.Request) -> web.Response:
    """Trade a join token for a node's certificate."""
    body = await read_body(request, Join, limit=JOIN_LIMIT)
    token = JoinToken.parse(body.token)
    # Nobody is authenticated yet: the record says which token came, from where.
    call = Call(
        Caller(
            CallerKind.COMPONENT,
            f"join:{token.kind}:{token.name}",
            token.name,
            address=address_of(request),
        ),
        request_id(request),
        trace_id(request),
    )
    return _joined(await request.app[ENROLMENT].join(call, body.token, body.csr))


@routes.post("/node/v1/renew", permission=PEER, peer=Role.NODE, body=Renewal, answer=JoinedNode)
async def renew(request: web.Request) -> web.Response:
    """Renew the calling node's certificate."""
    body = await read_body(request, Renewal)
    enrolment = request.app[ENROLMENT]
    return _joined(await enrolment.renew(call_of(request), _node(request), body.csr))


@routes.get(
    "/node/v1/configuration",
    permission=PEER,
    peer=Role.NODE,
    media_type=NDJSON,
    parameters=(
        Parameter("incarnation", "Of the store that the node last heard of."),
        Parameter("generation", "Of the configuration that it enforces."),
        Parameter("hash", "Of the configuration that it enforces."),
    ),
)
async def configuration(request: web.Request) -> web.StreamResponse:
    """Stream the calling node's configuration: a step to the present, then each change."""
    only_parameters(request, "incarnation", "generation", "hash")
    node, publications, clock = _node(request), request.app[PUBLICATIONS], request.app[CLOCK]
    admitted_or_refuse(publications, node)
    await request.app[ABLE](node, abilities(request.headers.get(HEADER, "")))
    lines = configuration_lines(publications, node, have=text(request, "hash"), clock=clock)
    with request.app[STATES].connection(node, at=clock.now()):
        return await stream_lines(request, lines)


@routes.post("/node/v1/reports", permission=PEER, peer=Role.NODE, body=Report)
async def report(request: web.Request) -> web.Response:
    """Take what the calling node says of itself."""
    body = await read_body(request, Report, limit=REPORT_LIMIT)
    fields = body.model_dump(exclude={"incarnation", "telemetry"})
    await pause("sdsp.node_report.before")
    request.app[STATES].report(_node(request), fields, at=request.app[CLOCK].now())
    await pause("sdsp.node_report.after")
    return json_response({})


@routes.post(
    "/api/v1/nodes/{name}/jointoken",
    permission=Permission.WRITE_JOIN_TOKEN,
    answer=GivenNodeToken,
    status=201,
    parameters=(
        Parameter(
            "replace", "Revoke the node's live certificate when it joins.", {"type": "boolean"}
        ),
    ),
)
async def give_token(request: web.Request) -> web.Response:
    """Give out a token with which a node may join, once, within the hour."""
    only_parameters(request, "replace")
    check_common(request, Permission.WRITE_JOIN_TOKEN, scope=SITE)
    name = request.match_info["name"]
    given = await request.app[ENROLMENT].give_token(
        call_of(request), name, replace=flag(request, "replace")
    )
    return json_response({"token": given.token, "expiresAt": given.expires_at}, status=201)


def _node(request: web.Request) -> str:
    node = peer_of(request).id.node
    assert node is not None, "the route takes nodes only"
    return node


def _joined(enrolled: Enrolled) -> web.Response:
    return json_response(
        {
            "node": enrolled.node,
            "site": enrolled.site,
            "trustDomain": enrolled.trust_domain,
            "chain": enrolled.chain,
            "roots": enrolled.roots,
            "admission": enrolled.admission,
        }
    )
