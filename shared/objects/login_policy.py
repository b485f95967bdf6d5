"""The route that tries an AuthenticationPolicy before it is applied."""

from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, Field

from shared.access.permissions import Permission
from shared.errors import Invalid
from shared.http.body import Body, read_body
from shared.http.request import caller_of, only_parameters
from shared.http.response import json_response
from shared.http.routes import Routes
from shared.login.effective import KIND
from shared.login.trial import Trials, Tried
from shared.model.base import API_VERSION
from shared.model.documents import parse_value
from shared.model.settings_policies import AuthenticationPolicy
from shared.objects.call import call_of
from shared.objects.exposure import check_exposure
from shared.objects.keys import OBJECTS, TRAIL
from shared.objects.lockout import LockOut
from shared.objects.permitted import check_common
from shared.store.contract import Store

TRIALS = web.AppKey("trials", Trials)
LOCK_OUT = web.AppKey("lock_out", LockOut)
STORE = web.AppKey("login_store", Store)

routes = Routes("/api/v1/authentication", tag="session")

# A policy may hold the certificates of several authorities.
_LIMIT: Final = 512 * 1024


class TrialBody(Body):
    """A policy, and who logs in by it."""

    policy: dict[str, Any] = Field(description="The spec of an AuthenticationPolicy.")
    username: str = Field(min_length=1, max_length=253, description="Who logs in.")
    password: str = Field(min_length=1, max_length=1024, description="His password.")


class ProviderTrial(BaseModel):
    """What one provider says."""

    provider: str = Field(description="ldap, radius or local")
    answer: str = Field(description="vouched, refused or unreachable")
    reason: str = Field(description="Why it could not be asked; empty if it was.")
    username: str | None = Field(description="The name as the provider spells it.")
    displayName: str | None = Field(description="The name for people.")  # noqa: N815
    groups: list[str] = Field(description="The groups that it knows the person in.")


class TrialAnswer(BaseModel):
    """What would become of the login."""

    outcome: str = Field(description="ok, wrong_credentials or provider_unreachable")
    username: str | None = Field(description="Who it would be.")
    roles: list[str] = Field(description="The roles that the bindings of now give him.")
    providers: list[ProviderTrial] = Field(description="In the order of the policy.")
    wouldLockYouOut: str | None = Field(  # noqa: N815
        description="Why the caller himself could not log in by this policy; null if he could."
    )


@routes.post(
    "/test",
    permission=Permission.WRITE_AUTHENTICATION_POLICY,
    body=TrialBody,
    answer=TrialAnswer,
)
async def test(request: web.Request) -> web.Response:
    """Try an AuthenticationPolicy with a real login, without applying it.

    This server asks every provider of the policy, with the Credentials that it has. At most ten a
    minute for a caller, and for the account that is tried, unless `rates.passwords` in the settings
    says otherwise.
    """
    only_parameters(request)
    # The server's own Credentials are shown to whichever servers the policy names.
    scope = request.app[OBJECTS].default_scope
    check_common(request, Permission.WRITE_AUTHENTICATION_POLICY, scope=scope)
    body = await read_body(request, TrialBody, limit=_LIMIT)
    policy = _policy(body.policy)
    caller = caller_of(request)
    check_exposure(caller, policy, scope=scope)
    trial = await request.app[TRIALS].make(
        policy, body.username, body.password, caller=caller.identity
    )
    async with request.app[STORE].snapshot() as snapshot:
        why = await request.app[LOCK_OUT].why(caller, snapshot, policy)
    record = request.app[TRAIL].record(
        call_of(request),
        "test login policy",
        outcome=trial.outcome,
        reason=f"as {body.username}: "
        + "; ".join(f"{each.provider} {each.answer}" for each in trial.tried),
    )
    await request.app[STORE].audit([record])
    return json_response(
        {
            "outcome": trial.outcome,
            "username": trial.person.username if trial.person else None,
            "roles": list(trial.roles),
            "providers": [_document(each) for each in trial.tried],
            "wouldLockYouOut": why,
        }
    )


def _policy(spec: dict[str, Any]) -> AuthenticationPolicy:
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "tried"},
        "spec": spec,
    }
    envelope, faults = parse_value(document, prefix="policy")
    if envelope is None or faults:
        raise Invalid("the policy is not valid", fields=faults)
    found: AuthenticationPolicy = envelope.spec
    return found


def _document(tried: Tried) -> dict[str, Any]:
    person = tried.person
    return {
        "provider": tried.provider,
        "answer": tried.answer,
        "reason": tried.reason,
        "username": person.username if person else None,
        "displayName": person.display_name if person else None,
        "groups": sorted(person.groups) if person else [],
    }
