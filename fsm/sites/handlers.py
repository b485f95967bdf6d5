"""HTTP routes for sites: joining, renewing, revoking, and how they stand."""

from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, Field

from fsm.sites.enroll import Enrolled, SiteEnrolment
from fsm.sites.pausing import Pauses
from fsm.sites.service import Sites, Wanted
from shared.access.permissions import Permission
from shared.access.reach import Reach, reach_of
from shared.auth.identity import Caller, CallerKind
from shared.enrolment.handlers import JOIN_LIMIT
from shared.http.authentication import address_of
from shared.http.body import Body, read_body
from shared.http.request import (
    caller_of,
    flag,
    only_parameters,
    peer_of,
    request_id,
    text,
    trace_id,
)
from shared.http.response import json_response, object_response, timestamp
from shared.http.routes import PEER, PUBLIC, Parameter, Routes
from shared.ids import FEDERATION
from shared.model.base import Envelope, Time
from shared.model.documents import envelope_type
from shared.objects.call import Call, call_of
from shared.objects.permitted import check_common
from shared.pki.csr import CSR_LENGTH
from shared.pki.identity import Role
from shared.pki.jointoken import TOKEN_LENGTH, JoinToken

ENROLMENT: Final = web.AppKey("site_enrolment", SiteEnrolment)
SITES: Final = web.AppKey("sites", Sites)
PAUSES: Final = web.AppKey("pauses", Pauses)
_SITE: Final[type[Envelope[Any]]] = envelope_type("Site")

routes = Routes("", tag="sites")


class Join(Body):
    """A site's wish to join."""

    token: str = Field(max_length=TOKEN_LENGTH, description="The join token, as it was shown.")
    csr: str = Field(
        max_length=CSR_LENGTH,
        description="A signing request for the site's CA, PEM; names ignored.",
    )


class Renewal(Body):
    """A site's wish for a new CA certificate."""

    csr: str = Field(
        max_length=CSR_LENGTH,
        description="A signing request for the site's CA, PEM; names ignored.",
    )


class JoinedSite(BaseModel):
    """What a site needs to issue its own certificates from now on."""

    site: str = Field(description="The site's name.")
    trustDomain: str = Field(description="The federation's trust domain.")  # noqa: N815
    chain: str = Field(description="The certificate of the site's CA and those above it, PEM.")
    roots: str = Field(description="The roots that it is to trust, PEM.")


class GivenSiteToken(BaseModel):
    """A join token; it is never shown again."""

    token: str = Field(description="One line of text for `hanse sdsp join`.")
    expiresAt: str = Field(description="When it stops working (RFC 3339).")  # noqa: N815


class Revocation(Body):
    """Why a site is put out."""

    reason: str = Field(min_length=1, max_length=2000, description="Kept in the audit trail.")


class Pause(Body):
    """Why a site takes no changes of policy, and until when."""

    reason: str = Field(min_length=1, max_length=2000, description="Kept in the audit trail.")
    until: Time | None = Field(None, description="When it ends by itself; left out: never.")


class Resume(Body):
    """Why a site takes changes again."""

    reason: str = Field(min_length=1, max_length=2000, description="Kept in the audit trail.")


class RevokedCertificate(BaseModel):
    """A certificate that counts no longer."""

    serial: str = Field(description="Its serial number, hexadecimal.")
    notAfter: str = Field(description="When it would have expired.")  # noqa: N815


class Revoked(BaseModel):
    """The certificates that were revoked; all that they issued counts no longer either."""

    revoked: list[RevokedCertificate] = Field(description="Each by its serial number.")


class FederationStatus(BaseModel):
    """How policies and sites stand."""

    revision: int = Field(description="The store's revision that this is as of.")
    sites: list[dict[str, Any]] = Field(
        description="Per site: paused, joined, connected, lastSeen, revision, policies by state, "
        "refused, held, exceptions, conflicts, changeRequests, unresolved, counts."
    )
    policies: list[dict[str, Any]] = Field(
        description="Per policy: wanted (the generation that the FSM has), summary, and sites with "
        "state, reason, generation (the one that runs there), nodes, failing, unresolved; of a "
        "staged one also staged (wouldDeny, wouldAllow, since, lastAt)."
    )


class SiteStatus(BaseModel):
    """How one site stands, and each policy there."""

    name: str = Field(description="The site.")
    connected: bool = Field(description="It answered within the last 20 seconds.")
    policies: list[dict[str, Any]] = Field(
        description="Per policy: state, reason, generation, nodes, failing, unresolved."
    )


@routes.post("/enroll/v1/join", permission=PUBLIC, body=Join, answer=JoinedSite)
async def join(request: web.Request) -> web.Response:
    """Trade a join token for the certificate of a site's CA."""
    only_parameters(request)
    body = await read_body(request, Join, limit=JOIN_LIMIT)
    token = JoinToken.parse(body.token)
    # Nobody is authenticated yet: the record says which token came, from where.
    caller = Caller(
        CallerKind.COMPONENT,
        f"join:{token.kind}:{token.name}",
        token.name,
        address=address_of(request),
    )
    call = Call(caller, request_id(request), trace_id(request))
    enrolled = await request.app[ENROLMENT].join(call, body.token, body.csr)
    return _joined(request.app[ENROLMENT], enrolled)


@routes.post("/enroll/v1/renew", permission=PEER, peer=Role.SDSP, body=Renewal, answer=JoinedSite)
async def renew(request: web.Request) -> web.Response:
    """Renew the certificate of the calling site's CA."""
    only_parameters(request)
    body = await read_body(request, Renewal)
    enrolment = request.app[ENROLMENT]
    return _joined(enrolment, await enrolment.renew(call_of(request), site_of(request), body.csr))


@routes.post(
    "/api/v1/sites/{name}/jointoken",
    permission=Permission.WRITE_JOIN_TOKEN,
    answer=GivenSiteToken,
    status=201,
    parameters=(
        Parameter(
            "replace", "Revoke the site's live certificate when it joins.", {"type": "boolean"}
        ),
    ),
)
async def give_token(request: web.Request) -> web.Response:
    """Give out a token with which a site may join, once, within the hour."""
    only_parameters(request, "replace")
    check_common(request, Permission.WRITE_JOIN_TOKEN, scope=FEDERATION)
    given = await request.app[ENROLMENT].give_token(
        call_of(request), request.match_info["name"], replace=flag(request, "replace")
    )
    return json_response({"token": given.token, "expiresAt": given.expires_at}, status=201)


@routes.post(
    "/api/v1/sites/{name}/revoke",
    permission=Permission.REVOKE,
    body=Revocation,
    answer=Revoked,
)
async def revoke(request: web.Request) -> web.Response:
    """Revoke all of a site's certificates, and thereby all that its CA has issued."""
    only_parameters(request)
    check_common(request, Permission.REVOKE, scope=FEDERATION)
    body = await read_body(request, Revocation)
    revoked = await request.app[ENROLMENT].revoke(
        call_of(request), request.match_info["name"], reason=body.reason
    )
    found = [{"serial": each.serial, "notAfter": timestamp(each.not_after)} for each in revoked]
    return json_response({"revoked": found})


@routes.post(
    "/api/v1/sites/{name}/pause", permission=Permission.WRITE_SITE, body=Pause, answer=_SITE
)
async def pause(request: web.Request) -> web.Response:
    """Let a site keep the policy that it has: no change of it reaches the site until it resumes.

    Revocations, trust anchors, keys, roles and their bindings go on.
    """
    only_parameters(request)
    body = await read_body(request, Pause)
    site = await request.app[PAUSES].pause(
        call_of(request), request.match_info["name"], reason=body.reason, until=body.until
    )
    return object_response(site)


@routes.post(
    "/api/v1/sites/{name}/resume", permission=Permission.WRITE_SITE, body=Resume, answer=_SITE
)
async def resume(request: web.Request) -> web.Response:
    """Let a paused site take changes again, beginning with all that has changed meanwhile."""
    only_parameters(request)
    body = await read_body(request, Resume)
    service, name = request.app[PAUSES], request.match_info["name"]
    return object_response(await service.resume(call_of(request), name, reason=body.reason))


@routes.get(
    "/api/v1/status",
    permission=Permission.READ_STATUS,
    answer=FederationStatus,
    parameters=(
        Parameter("site", "Only this site."),
        Parameter("policy", "Only policies of this name."),
        Parameter("tenant", "Only policies of this tenant."),
    ),
)
async def status(request: web.Request) -> web.Response:
    """Tell which policy runs at which site, which generation of it, and why not.

    A policy's `state` at a site is realised, partial, pending, failed, held, suspended, replaced
    (by a nearer one of its name), staged or unsubscribed, with the code of the `reason` unless it
    is realised: among others unresolved_name, not_joined, not_connected, not_acknowledged,
    not_reported, unsupported, rollout_waits, site_paused, or what a node said.
    """
    only_parameters(request, "site", "policy", "tenant")
    wanted = Wanted(text(request, "site"), text(request, "policy"), text(request, "tenant"))
    return json_response(await request.app[SITES].status(wanted, _reach_of(request)))


@routes.get("/api/v1/sites/{name}/status", permission=Permission.READ_STATUS, answer=SiteStatus)
async def site_status(request: web.Request) -> web.Response:
    """Tell how one site stands, and what became of each policy there."""
    only_parameters(request)
    document = await request.app[SITES].site_status(request.match_info["name"], _reach_of(request))
    return json_response(document)


def site_of(request: web.Request) -> str:
    """Return the calling SDSP's site, which its certificate says."""
    site = peer_of(request).id.site
    assert site is not None, "the route takes SDSPs only"
    return site


def _reach_of(request: web.Request) -> Reach:
    return reach_of(caller_of(request), Permission.READ_STATUS)


def _joined(enrolment: SiteEnrolment, enrolled: Enrolled) -> web.Response:
    return json_response(
        {
            "site": enrolled.site,
            "trustDomain": enrolment.authority.trust_domain,
            "chain": enrolled.chain,
            "roots": enrolled.roots,
        }
    )
