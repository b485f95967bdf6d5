"""Routes for logging in and out, and for asking who one is."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, Field

from shared.auth.identity import CallerKind
from shared.errors import Forbidden, HanseError
from shared.http.authentication import address_of
from shared.http.body import Body, read_body
from shared.http.keys import METRICS
from shared.http.request import caller_of, only_parameters, request_id, trace_id
from shared.http.response import json_response, timestamp
from shared.http.routes import AUTHENTICATED, PUBLIC, Routes
from shared.login.sessions import Asked, Opened
from shared.metrics.names import LOGINS as LOGINS_TOTAL
from shared.objects.call import call_of
from shared.objects.keys import LOGINS, TRAIL

routes = Routes("/api/v1", tag="session")

_LOGIN_LIMIT: Final = 16 * 1024


class Credentials(Body):
    """What a person logs in with."""

    username: str = Field(min_length=1, max_length=253, description="The account's name.")
    password: str = Field(min_length=1, max_length=1024, description="Its password.")


class Renewal(Body):
    """What prolongs a login."""

    refreshToken: str = Field(  # noqa: N815 - its name in JSON
        min_length=1, max_length=1024, description="What the login, or the last renewal, gave."
    )


class AccessToken(BaseModel):
    """A token to send as `Authorization: Bearer TOKEN`, and one to get the next with."""

    accessToken: str = Field(description="The token.")  # noqa: N815 - its name in JSON
    expiresAt: datetime = Field(description="When it stops counting.")  # noqa: N815
    tokenType: str = Field(description="Always Bearer.")  # noqa: N815
    refreshToken: str = Field(  # noqa: N815
        description="Give it to /api/v1/login/renew, once, for the next pair."
    )
    sessionExpiresAt: datetime = Field(  # noqa: N815
        description="When the login ends, however often it is renewed."
    )
    session: str = Field(description="The login's id.")


class Identity(BaseModel):
    """Who calls, and what that entails."""

    kind: str = Field(description="person, serviceAccount or component")
    identity: str = Field(description="The name that the audit trail keeps.")
    displayName: str = Field(description="The name for people.")  # noqa: N815
    roles: list[str] = Field(description="The roles held.")
    permissions: list[str] = Field(description="What they allow.")
    bindings: list[dict[str, str]] = Field(
        description="Which role was given by which RoleBinding: role, binding."
    )
    tenants: list[str] | None = Field(description="In which tenants; null means all.")
    sourceAddress: str | None = Field(description="From where the request came.")  # noqa: N815
    expiresAt: datetime | None = Field(description="When the token stops counting.")  # noqa: N815
    session: str | None = Field(description="The login that the token belongs to.")
    credential: str | None = Field(description="The token's id, or the certificate's serial.")
    emergency: bool = Field(description="Whether this is the emergency account.")


class Ended(BaseModel):
    """What was ended."""

    sessions: int = Field(description="How many logins.")
    tokens: int = Field(description="How many tokens of service accounts, or single ones.")


@routes.post("/login", permission=PUBLIC, body=Credentials, answer=AccessToken)
async def login(request: web.Request) -> web.Response:
    """Trade a user name and password for a token.

    Ten attempts a minute for an account and sixty for an address; more are answered with 429.
    """
    only_parameters(request)
    credentials = await read_body(request, Credentials, limit=_LOGIN_LIMIT)
    work = request.app[LOGINS].login.login(
        credentials.username, credentials.password, _asked(request)
    )
    return _answer(await _counted(request, work, identity=f"user:{credentials.username}"))


@routes.post("/login/renew", permission=PUBLIC, body=Renewal, answer=AccessToken)
async def renew(request: web.Request) -> web.Response:
    """Trade a refresh token for the next one, and an access token.

    Each counts once; for a minute it may be sent again, if the answer was lost.  One that is used
    again later ends the login (`token_reused`): it is in two hands.
    """
    only_parameters(request)
    body = await read_body(request, Renewal, limit=_LOGIN_LIMIT)
    opened = await request.app[LOGINS].login.renew(body.refreshToken, _asked(request))
    return _answer(opened)


@routes.post("/logout", permission=AUTHENTICATED, answer=Ended)
async def logout(request: web.Request) -> web.Response:
    """End the login that the token belongs to, or revoke a service account's token.

    Neither access nor refresh tokens of it count from then on.
    """
    only_parameters(request)
    caller, sessions = caller_of(request), request.app[LOGINS].sessions
    if caller.kind is CallerKind.COMPONENT or caller.credential is None:
        raise Forbidden("a component doesn't log in, and so not out")
    record = request.app[TRAIL].record(call_of(request), "logout")
    ended = {"sessions": 0, "tokens": 0}
    if caller.session is not None:
        found = await sessions.find(caller.session)
        if found is not None:
            await sessions.end(found, record)
            ended["sessions"] = 1
    else:
        found_program = await sessions.find_program(caller.credential)
        if found_program is not None:
            await sessions.end_program(found_program, record)
            ended["tokens"] = 1
    return json_response(ended)


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
        "bindings": [
            {"role": role, "binding": binding}
            for role, binding in dict.fromkeys(
                (each.role, each.binding) for each in caller.grants if each.binding
            )
        ],
        "tenants": None if tenants is None else sorted(tenants),
        "sourceAddress": caller.address,
        "expiresAt": timestamp(caller.expires_at) if caller.expires_at else None,
        "session": caller.session,
        "credential": caller.credential,
        "emergency": caller.is_emergency,
    }
    return json_response(document)


async def _counted(request: web.Request, work: Awaitable[Opened], *, identity: str) -> Opened:
    """Count a login and write it to the trail, whatever comes of it."""
    outcome, reason = "ok", None
    try:
        opened = await work
    except HanseError as exc:
        outcome, reason = exc.code, exc.detail
        raise
    else:
        marked = " (emergency account)" if opened.session.is_emergency else ""
        reason = f"{opened.session.provider}: vouched{marked}"
        return opened
    finally:
        request.app[METRICS].counter(LOGINS_TOTAL).labels(outcome).inc()
        await request.app[TRAIL].login(
            request_id(request), identity, address_of(request), outcome=outcome, reason=reason
        )


def _asked(request: web.Request) -> Asked:
    return Asked(request_id(request), address_of(request), trace_id(request))


def _answer(opened: Opened) -> web.Response:
    return json_response(
        {
            "accessToken": opened.access.text,
            "expiresAt": timestamp(opened.access.expires_at),
            "tokenType": "Bearer",
            "refreshToken": opened.refresh,
            "sessionExpiresAt": timestamp(opened.session.expires_at),
            "session": opened.session.id,
        }
    )
