"""HTTP routes for certificates: what is issued, revoking it, exchanging this server's own."""

from typing import Any, Final, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from shared.access.permissions import Permission
from shared.http.body import Body, read_body
from shared.http.request import only_parameters
from shared.http.response import json_response
from shared.http.routes import Routes
from shared.objects.call import call_of
from shared.objects.certificates import Certificates

CERTIFICATES: Final = web.AppKey("certificates", Certificates)

routes = Routes("/api/v1/certificates", tag="trust")


class ListedCertificate(BaseModel):
    """A certificate that this server has issued, or one of its own."""

    kind: str = Field(description="root, issuing, fsm, site (a site's CA), sdsp or node.")
    identity: str = Field(description="Whose it is.")
    serial: str = Field(description="Its serial number, hexadecimal.")
    notBefore: str | None = Field(description="Since when it is good.")  # noqa: N815
    notAfter: str = Field(description="When it expires.")  # noqa: N815
    issuer: str | None = Field(description="The serial number of the CA that signed it.")
    state: str = Field(
        description="good; superseded (by a newer one, and still good); expiring (a third of its "
        "life is left, and there is no newer one); revoked."
    )
    own: bool = Field(description="Whether this server shows it, or issues from it, now.")


class ListedCertificates(BaseModel):
    """Everything that hasn't expired."""

    items: list[ListedCertificate] = Field(description="By kind, identity and expiry.")


class Revocation(Body):
    """What is to count no longer, and why."""

    target: str = Field(
        min_length=1, max_length=400, description="A serial number, or an identity: all of it."
    )
    reason: str = Field(min_length=1, max_length=2000, description="Kept in the audit trail.")
    confirmed: bool = Field(
        False, description="Also if it is the server's own, or somebody's last."
    )


class RevokedNow(BaseModel):
    """What counts no longer."""

    revoked: list[dict[str, str]] = Field(description="Each by serial, identity and notAfter.")


class Exchange(Body):
    """Which certificate of the server is exchanged, and how far."""

    what: Literal["root", "issuing", "authority", "server"] = Field(
        description="root, issuing or server at the FSM; authority or server at an SDSP."
    )
    step: Literal["begin", "proceed", "finish"] = Field(
        "begin",
        description="begin makes the successor, or tells how far everybody is; proceed doesn't "
        "wait for who hasn't followed; finish drops the old one.",
    )
    force: bool = Field(False, description="Finish although somebody hasn't followed.")


class ExchangeStanding(BaseModel):
    """How far the exchange is."""

    phase: str = Field(description="Its phase, in a word or two.")
    behind: list[str] = Field(description="Who hasn't followed: sites with their nodes, or nodes.")
    message: str = Field(description="What happens next.")


@routes.get("", permission=Permission.READ_STATUS, answer=ListedCertificates)
async def listed(request: web.Request) -> web.Response:
    """List what this server has issued, and what it shows itself."""
    only_parameters(request)
    items = await request.app[CERTIFICATES].listed(call_of(request))
    return json_response({"items": items})


@routes.post(
    "/revoke",
    permission=Permission.REVOKE,
    body=Revocation,
    answer=RevokedNow,
)
async def revoke(request: web.Request) -> web.Response:
    """Let a certificate, or all of an identity, count no longer, here and wherever it is shown.

    409 `confirmation_needed` says what it would mean if it is this server's own, or the last one
    of somebody; 409 `in_use` if this server issues from it.
    """
    only_parameters(request)
    body = await read_body(request, Revocation)
    revoked = await request.app[CERTIFICATES].revoke(
        call_of(request), body.target, reason=body.reason, confirmed=body.confirmed
    )
    return json_response({"revoked": [_revoked(each) for each in revoked]})


@routes.post("/rotate", permission=Permission.REVOKE, body=Exchange, answer=ExchangeStanding)
async def rotate(request: web.Request) -> web.Response:
    """Exchange this server's root, CA or own certificate, with overlap.

    409 `not_followed` names those who would be out; 404 `root_key_offline` where the key must be.
    """
    only_parameters(request)
    body = await read_body(request, Exchange)
    standing = await request.app[CERTIFICATES].rotate(
        call_of(request), body.what, step=body.step, force=body.force
    )
    return json_response(standing.to_json())


def _revoked(each: Any) -> dict[str, str]:
    return {
        "serial": each.serial,
        "identity": each.identity,
        "notAfter": each.not_after.isoformat(),
    }
