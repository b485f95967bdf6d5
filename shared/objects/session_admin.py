"""Routes over logins and tokens, one's own and others': list, revoke, give, change the keys."""

import re
from datetime import datetime
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, Field

from shared.access.authorize import authorize
from shared.access.coverage import lacks
from shared.access.permissions import Permission
from shared.auth.identity import Caller, CallerKind, Subject
from shared.errors import FieldError, Forbidden, Invalid, NotFound
from shared.http.body import Body, read_body
from shared.http.request import caller_of, only_parameters, text
from shared.http.response import json_response, timestamp
from shared.http.routes import AUTHENTICATED, Parameter, Routes
from shared.ids import COMMON, FEDERATION, Key
from shared.login.end_by_revocation import login_revocation
from shared.login.people import span_of
from shared.login.programs import LIFETIME, LONGEST, Program
from shared.login.session_records import Session
from shared.model.base import Duration
from shared.objects import parameters
from shared.objects.call import call_of
from shared.objects.granting import EXCEEDS
from shared.objects.keys import LOGINS, OBJECTS, READER, ROLES, TRAIL
from shared.objects.rights import check_labels, check_read, check_write
from shared.objects.session import Ended

routes = Routes("/api/v1", tag="session")

_ACCESS_TOKEN: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)

_USER: Final = Parameter("user", "Only logins of this user.")


class Reason(Body):
    """Why something is done."""

    reason: str = Field("", max_length=2000, description="Kept in the audit trail.")


class Login(BaseModel):
    """A login that counts."""

    id: str = Field(description="Its id, which the tokens name as `sid`.")
    identity: str = Field(description="Whose it is, as the audit trail has it.")
    displayName: str = Field(description="The name for people.")  # noqa: N815
    provider: str = Field(description="Who vouched for him: ldap, radius or local.")
    groups: list[str] = Field(description="His groups, as of the last renewal.")
    createdAt: datetime = Field(description="When he gave his password.")  # noqa: N815
    renewedAt: datetime | None = Field(description="When it was last renewed.")  # noqa: N815
    expiresAt: datetime = Field(description="When it ends.")  # noqa: N815
    sourceAddress: str | None = Field(description="From where he logged in.")  # noqa: N815
    emergency: bool = Field(description="Whether this is the emergency account.")
    current: bool = Field(description="Whether this very request belongs to it.")


class LoginList(BaseModel):
    """Logins, the latest first."""

    items: list[Login] = Field(description="The latest first.")


class TokenRequest(Reason):
    """A wish for a token of a service account."""

    lifetime: Duration = Field(
        f"{LIFETIME.days}d", description=f"How long it counts, at most {LONGEST.days}d."
    )
    description: str = Field("", max_length=500, description="What it is for.")


class ProgramToken(BaseModel):
    """A token of a service account."""

    id: str = Field(description="Its id, which is no secret.")
    serviceAccount: str = Field(description="TENANT/NAME of the account.")  # noqa: N815
    description: str = Field(description="What it is for.")
    createdAt: datetime = Field(description="When it was given.")  # noqa: N815
    createdBy: str = Field(description="By whom.")  # noqa: N815
    expiresAt: datetime = Field(description="When it stops counting.")  # noqa: N815


class GivenToken(ProgramToken):
    """A new token; it is never shown again."""

    token: str = Field(description="The token, to send as `Authorization: Bearer TOKEN`.")


class ProgramTokenList(BaseModel):
    """Tokens of a service account, the latest first."""

    items: list[ProgramToken] = Field(description="The latest first.")


class Rotation(Reason):
    """A wish for new signing keys."""

    atOnce: bool = Field(  # noqa: N815 - its name in JSON
        False,
        description="Let the keys of now, and all access tokens, count no longer: after a theft.",
    )


class TokenKey(BaseModel):
    """A key that access tokens are signed with."""

    id: str = Field(description="The tokens' `kid`.")
    publicKey: str = Field(description="Its public half, PEM.")  # noqa: N815
    createdAt: datetime = Field(description="When it was made.")  # noqa: N815
    signsAt: datetime = Field(description="From when on it signs.")  # noqa: N815
    retiresAt: datetime | None = Field(  # noqa: N815
        description="When it stops counting, if it signs no longer."
    )


class TokenKeyList(BaseModel):
    """Keys, the latest first."""

    items: list[TokenKey] = Field(description="The latest first.")


@routes.get("/sessions", permission=AUTHENTICATED, answer=LoginList, parameters=(_USER,))
async def list_sessions(request: web.Request) -> web.Response:
    """List the logins that count: one's own, and with the permission read:User everybody's."""
    only_parameters(request, "user")
    caller, user = caller_of(request), text(request, "user")
    wanted = None if user is None else f"user:{user}"
    if not authorize(caller, Permission.READ_USER, tenant=COMMON).allowed:
        if wanted not in (None, caller.identity):
            raise Forbidden(f"this needs the permission {Permission.READ_USER.value}")
        wanted = caller.identity
    found = await request.app[LOGINS].sessions.sessions(wanted)
    return json_response({"items": [_login_document(each, caller) for each in found]})


@routes.post("/sessions/{id}/revoke", permission=AUTHENTICATED, body=Reason, answer=Ended)
async def revoke_session(request: web.Request) -> web.Response:
    """End a login: one's own, or with the permission revoke anybody's.

    Its tokens count no longer here, and within seconds in other processes of this server.
    """
    only_parameters(request)
    body = await read_body(request, Reason)
    caller, sessions = caller_of(request), request.app[LOGINS].sessions
    found = await sessions.find(request.match_info["id"])
    if found is None or not (found.identity == caller.identity or _may_revoke(caller, COMMON)):
        raise NotFound("there is no such login")
    record = request.app[TRAIL].record(
        call_of(request), "revoke session", reason=_reason(found.identity, body)
    )
    await sessions.end(found, record)
    return json_response({"sessions": 1, "tokens": 0})


@routes.post("/users/{name}/revoke", permission=Permission.REVOKE, body=Reason, answer=Ended)
async def revoke_user(request: web.Request) -> web.Response:
    """End all logins of a user.  He may log in again, unless his account is disabled.

    Said to the FSM, it also ends his logins at all sites, but for those of their local users:
    within seconds, and where a site is cut off as soon as it is back.
    """
    only_parameters(request)
    return await _revoke_all(
        request,
        f"user:{request.match_info['name']}",
        COMMON,
        is_everywhere=request.app[OBJECTS].home == "fsm",
    )


@routes.post(
    "/serviceaccounts/{name}/revoke",
    permission=Permission.REVOKE,
    body=Reason,
    answer=Ended,
    parameters=(parameters.TENANT,),
)
async def revoke_service_account(request: web.Request) -> web.Response:
    """Revoke all tokens of a service account."""
    only_parameters(request, "tenant")
    tenant = text(request, "tenant") or COMMON
    identity = f"serviceaccount:{tenant}/{request.match_info['name']}"
    return await _revoke_all(request, identity, tenant)


@routes.post("/tokens/{id}/revoke", permission=AUTHENTICATED, body=Reason, answer=Ended)
async def revoke_token(request: web.Request) -> web.Response:
    """Revoke one token by its id: an access token's `jti`, or that of a service account's token.

    One's own, or with the permission revoke anybody's.  The login of an access token goes on.
    """
    only_parameters(request)
    body = await read_body(request, Reason)
    caller, sessions = caller_of(request), request.app[LOGINS].sessions
    token_id = request.match_info["id"]
    trail = request.app[TRAIL]
    program = await sessions.find_program(token_id)
    if program is not None:
        if caller.identity != program.identity and not _may_revoke(caller, program.account.tenant):
            raise NotFound("there is no such token")
        record = trail.record(
            call_of(request),
            "revoke token",
            key=program.account,
            reason=_reason(f"token {token_id}", body),
        )
        await sessions.end_program(program, record)
        return json_response({"sessions": 0, "tokens": 1})
    is_own = caller.credential == token_id
    if not _ACCESS_TOKEN.fullmatch(token_id) or not (is_own or _may_revoke(caller, COMMON)):
        raise NotFound("there is no such token")
    record = trail.record(
        call_of(request), "revoke token", reason=_reason(f"token {token_id}", body)
    )
    await sessions.end_token(token_id, record)
    return json_response({"sessions": 0, "tokens": 1})


@routes.post(
    "/serviceaccounts/{name}/tokens",
    permission=Permission.WRITE_SERVICE_ACCOUNT,
    body=TokenRequest,
    answer=GivenToken,
    status=201,
    parameters=(parameters.TENANT, parameters.SCOPE),
)
async def give_token(request: web.Request) -> web.Response:
    """Make a token for a service account; it is shown once.

    Whoever has it may do what the account may do, so who asks must hold all of that himself.
    """
    only_parameters(request, "tenant", "scope")
    body = await read_body(request, TokenRequest)
    caller, key = caller_of(request), _account(request)
    check_write(caller, key)
    stored = await request.app[READER].get(call_of(request), key)
    check_labels(caller, key, before=stored.labels, after=None)
    lifetime = span_of(body.lifetime)
    if lifetime > LONGEST:
        raise _invalid("lifetime", "too_long", f"a token counts for {LONGEST.days}d at most")
    if stored.spec.get("disabled"):
        raise _invalid("name", "disabled", f"{key} is disabled")
    _check_holds(request, caller, key)
    call = call_of(request)
    record = request.app[TRAIL].record(
        call, "give token", key=key, reason=_reason(f"for {body.lifetime}", body)
    )
    program, token = await request.app[LOGINS].sessions.create_program(
        key, stored.uid, lifetime=lifetime, description=body.description, record=record
    )
    return json_response({**_program_document(program), "token": token}, status=201)


@routes.get(
    "/serviceaccounts/{name}/tokens",
    permission=Permission.READ_SERVICE_ACCOUNT,
    answer=ProgramTokenList,
    parameters=(parameters.TENANT, parameters.SCOPE),
)
async def list_tokens(request: web.Request) -> web.Response:
    """List the tokens of a service account, without their secrets."""
    only_parameters(request, "tenant", "scope")
    key = _account(request)
    check_read(caller_of(request), key)
    await request.app[READER].get(call_of(request), key)
    found = await request.app[LOGINS].sessions.programs(key)
    return json_response({"items": [_program_document(each) for each in found]})


@routes.get("/tokenkeys", permission=AUTHENTICATED, answer=TokenKeyList)
async def list_keys(request: web.Request) -> web.Response:
    """List the public keys that access tokens of this server are verified with."""
    only_parameters(request)
    return _key_list(request)


@routes.post("/tokenkeys/rotate", permission=Permission.REVOKE, body=Rotation, answer=TokenKeyList)
async def rotate_keys(request: web.Request) -> web.Response:
    """Have tokens signed with a new key; the old one counts until its last token has expired.

    With `atOnce`, after a theft, all access tokens of now are refused; logins go on, since their
    clients get new ones with their refresh tokens.
    """
    only_parameters(request)
    body = await read_body(request, Rotation)
    if not _may_revoke(caller_of(request), None):
        raise Forbidden(f"this needs the permission {Permission.REVOKE.value} in every tenant")
    what = "at once" if body.atOnce else "with overlap"
    record = request.app[TRAIL].record(
        call_of(request), "rotate token keys", reason=_reason(what, body)
    )
    await request.app[LOGINS].ring.rotate(record, at_once=body.atOnce)
    await request.app[LOGINS].callers.read()
    return _key_list(request)


def _key_list(request: web.Request) -> web.Response:
    keys = request.app[LOGINS].ring.keys
    items = [
        {
            "id": key_id,
            "publicKey": each.public.public_pem,
            "createdAt": timestamp(each.created_at),
            "signsAt": timestamp(each.signs_at),
            "retiresAt": timestamp(each.retires_at) if each.retires_at else None,
        }
        for key_id, each in keys.items()
    ]
    items.sort(key=lambda each: str(each["createdAt"]), reverse=True)
    return json_response({"items": items})


async def _revoke_all(
    request: web.Request, identity: str, tenant: str, *, is_everywhere: bool = False
) -> web.Response:
    body = await read_body(request, Reason)
    caller = caller_of(request)
    if not _may_revoke(caller, tenant):
        raise Forbidden(f"this needs the permission {Permission.REVOKE.value} in tenant {tenant}")
    if is_everywhere and not _may_revoke(caller, tenant, scope=FEDERATION):
        raise Forbidden(
            f"this needs the permission {Permission.REVOKE.value} in scope {FEDERATION}: it ends "
            "logins at every site"
        )
    record = request.app[TRAIL].record(
        call_of(request), "revoke logins", tenant=tenant, reason=_reason(identity, body)
    )
    told = None
    if is_everywhere:
        told = login_revocation(identity, at=record.at, reason=body.reason)
    sessions, tokens = await request.app[LOGINS].sessions.end_all(identity, record, told=told)
    return json_response({"sessions": sessions, "tokens": tokens})


def _may_revoke(caller: Caller, tenant: str | None, *, scope: str | None = None) -> bool:
    """Return whether a caller may revoke what belongs to a tenant; None: to the server."""
    if tenant is None:
        return any(
            Permission.REVOKE in each.permissions and each.tenants is None for each in caller.grants
        )
    return authorize(caller, Permission.REVOKE, tenant=tenant, scope=scope).allowed


def _account(request: web.Request) -> Key:
    return parameters.key_of(request, "ServiceAccount", request.app[OBJECTS].home)


def _check_holds(request: web.Request, caller: Caller, account: Key) -> None:
    subject = Subject(CallerKind.SERVICE_ACCOUNT, f"{account.tenant}/{account.name}")
    for lack in lacks(request.app[ROLES].grants_of(subject), caller.grants):
        raise Forbidden(
            f"{account} may do what you may not: {lack}; whoever gives a token for it must hold "
            "all of that",
            code=EXCEEDS,
        )


def _reason(what: str, body: Reason) -> str:
    return f"{what}: {body.reason}" if body.reason else what


def _invalid(path: str, code: str, message: str) -> Invalid:
    return Invalid(message, code=code, fields=[FieldError(path, code, message)])


def _login_document(session: Session, caller: Caller) -> dict[str, Any]:
    return {
        "id": session.id,
        "identity": session.identity,
        "displayName": session.display_name,
        "provider": session.provider,
        "groups": sorted(session.groups),
        "createdAt": timestamp(session.created_at),
        "renewedAt": timestamp(session.renewed_at) if session.renewed_at else None,
        "expiresAt": timestamp(session.expires_at),
        "sourceAddress": session.address,
        "emergency": session.is_emergency,
        "current": session.id == caller.session,
    }


def _program_document(program: Program) -> dict[str, Any]:
    return {
        "id": program.id,
        "serviceAccount": program.subject,
        "description": program.description,
        "createdAt": timestamp(program.created_at),
        "createdBy": program.created_by,
        "expiresAt": timestamp(program.expires_at),
    }
