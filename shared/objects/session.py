"""Routes for logging in, and for asking who one is."""

from datetime import datetime
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, Field

from shared.access.permissions import ROLES, current_role
from shared.auth.identity import Caller, CallerKind, Grant, GrantSource, Subject
from shared.auth.login import Login
from shared.auth.tokens import REMEMBERED, Claims, TokenVerifier
from shared.errors import HanseError
from shared.http.authentication import BearerVerifier, address_of
from shared.http.body import Body, read_body
from shared.http.keys import METRICS
from shared.http.request import caller_of, request_id
from shared.http.response import json_response, timestamp
from shared.http.routes import AUTHENTICATED, PUBLIC, Routes
from shared.metrics.names import LOGINS
from shared.objects.keys import TRAIL

LOGIN = web.AppKey("login", Login)

routes = Routes("/api/v1", tag="session")

_LOGIN_LIMIT: Final = 16 * 1024


class Credentials(Body):
    """What a person logs in with."""

    username: str = Field(min_length=1, max_length=253, description="The account's name.")
    password: str = Field(min_length=1, max_length=1024, description="Its password.")


class AccessToken(BaseModel):
    """A token to send as `Authorization: Bearer TOKEN`."""

    accessToken: str = Field(description="The token.")  # noqa: N815 - its name in JSON
    expiresAt: datetime = Field(description="When it stops counting.")  # noqa: N815
    tokenType: str = Field(description="Always Bearer.")  # noqa: N815


class Identity(BaseModel):
    """Who calls, and what that entails."""

    kind: str = Field(description="person, serviceAccount or component")
    identity: str = Field(description="The name that the audit trail keeps.")
    displayName: str = Field(description="The name for people.")  # noqa: N815
    roles: list[str] = Field(description="The roles held.")
    permissions: list[str] = Field(description="What they allow.")
    tenants: list[str] | None = Field(description="In which tenants; null means all.")
    sourceAddress: str | None = Field(description="From where the request came.")  # noqa: N815
    expiresAt: datetime | None = Field(description="When the token stops counting.")  # noqa: N815


@routes.post("/login", permission=PUBLIC, body=Credentials, answer=AccessToken)
async def login(request: web.Request) -> web.Response:
    """Trade a user name and password for a token.

    Ten attempts a minute for an account and sixty for an address; more are answered with 429.
    """
    credentials = await read_body(request, Credentials, limit=_LOGIN_LIMIT)
    identity, address = f"user:{credentials.username}", address_of(request)
    trail, outcome = request.app[TRAIL], "ok"
    try:
        token = await request.app[LOGIN].login(
            credentials.username, credentials.password, address=address
        )
    except HanseError as exc:
        outcome = exc.code
        raise
    finally:
        request.app[METRICS].counter(LOGINS).labels(outcome).inc()
        await trail.login(request_id(request), identity, address, outcome=outcome)
    return json_response(
        {
            "accessToken": token.text,
            "expiresAt": timestamp(token.expires_at),
            "tokenType": "Bearer",
        }
    )


@routes.get("/whoami", permission=AUTHENTICATED, answer=Identity)
async def whoami(request: web.Request) -> web.Response:
    """Tell who one is, and what one may do."""
    caller = caller_of(request)
    permissions = {each for grant in caller.grants for each in grant.permissions}
    tenants = caller.tenants
    document: dict[str, Any] = {
        "kind": caller.kind.value,
        "identity": caller.identity,
        "displayName": caller.display_name,
        "roles": list(caller.roles),
        "permissions": sorted(permissions),
        "tenants": None if tenants is None else sorted(tenants),
        "sourceAddress": caller.address,
        "expiresAt": timestamp(caller.expires_at) if caller.expires_at else None,
    }
    return json_response(document)


def token_bearer(verifier: TokenVerifier, source: GrantSource) -> BearerVerifier:
    """Return what makes a caller of a token; the same one while token and roles are the same."""
    callers: dict[str, tuple[Claims, int, Caller]] = {}

    async def caller(token: str) -> Caller:
        claims = verifier.verify(token)
        known = callers.get(claims.id)
        if known is not None and known[0] is claims and known[1] == source.generation:
            return known[2]
        if len(callers) >= REMEMBERED:
            callers.clear()
        made = caller_of_claims(claims, source)
        callers[claims.id] = (claims, source.generation, made)
        return made

    return caller


def caller_of_claims(claims: Claims, source: GrantSource) -> Caller:
    """Return the person that a token stands for, with what he holds now."""
    subject = Subject(CallerKind.PERSON, claims.subject.removeprefix("user:"))
    said = (
        Grant(role, ROLES[role], tenants=claims.tenants)
        for role in map(current_role, claims.roles)
        if role in ROLES
    )
    return Caller(
        kind=CallerKind.PERSON,
        identity=claims.subject,
        display_name=claims.display_name,
        grants=tuple(dict.fromkeys((*said, *source.grants_of(subject)))),
        expires_at=claims.expires_at,
    )
