"""One application from a component's parts: what fsm/app.py and sdsp/app.py call."""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import web

from shared.access.roles import StoredRoles
from shared.auth.passwords import Passwords
from shared.backoff import Backoff
from shared.clock import Clock
from shared.http.application import Collaborators, create_application
from shared.http.authentication import Authenticator
from shared.http.health import Check
from shared.http.rates import RateSettings
from shared.http.routes import Routes
from shared.login.effective import federation_policy
from shared.login.end_by_policy import EndForbidden
from shared.login.keeping import PERIOD
from shared.login.logins import Logins, create_logins
from shared.login.rules import LoginRules, RuledPeople, create_people
from shared.login.secrets import Secrets
from shared.metrics.names import Metrics
from shared.model.kinds import Home
from shared.objects import handlers, held, login_policy, session, session_admin
from shared.objects.admission import Admission, AdmissionChain
from shared.objects.base import UnmovedBase
from shared.objects.encoded import EncodedObjects
from shared.objects.exposure import Exposure
from shared.objects.granting import GrantingAdmission
from shared.objects.keys import ENCODED, LOGINS, OBJECTS, READER, ROLES, TRAIL
from shared.objects.kind_handlers import kind_routes
from shared.objects.lockout import LockOut
from shared.objects.reader import ObjectReader
from shared.objects.service import Alongside, Objects
from shared.objects.trail import Trail
from shared.pki.identity import Expectation, TrustDomain
from shared.pki.peer import Revoked
from shared.pki.sealing import load_sealing_key
from shared.store.contract import Store
from shared.tasks.group import Group
from shared.tasks.loop import Loop, Reconciler

SEALING_KEY: Final = "credential-key"
"""The file that seals Credentials, beside that of tokens."""

# Seconds.  What happens at once is activated; these are for what nobody told, such as the hour of
# the emergency account, or its opening from the console.
_SEALING_PERIOD: Final = 2.0
_ENDING_PERIOD: Final = 30.0

_FIRST_RETRY: Final = 0.2
_LONGEST_RETRY: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """How a server signs the tokens of those who log in.

    Its keys lie in a folder beneath `data`.  `server`, its own identity, is the tokens' issuer and
    audience, so that a token of one server counts at no other.
    """

    data: Path
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Which components' certificates count; see shared.pki.peer.

    `expected` are those that may come here at all; None: any of the trust domain.
    """

    domain: TrustDomain
    revoked: Revoked
    expected: Sequence[Expectation] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What create_api() made that the component's own parts use as well."""

    objects: Objects
    reader: ObjectReader
    trail: Trail
    authenticator: Authenticator
    roles: StoredRoles
    passwords: Passwords
    secrets: Secrets
    logins: Logins
    ruled: RuledPeople
    lock_out: LockOut


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a component brings: its store, its rules, its own routes and health checks.

    `alongside` writes the component's own records in the transaction of each write of objects.
    `trail` is the audit trail, if somebody else writes to it as well.
    `unmoved` says what a draft that names its base rests on; None: its own objects alone.
    `login` says how the AuthenticationPolicy that counts is chosen; None: as an FSM does.
    """

    home: Home
    store: Store
    admission: Admission
    tokens: Tokens
    trust: Trust | None
    clock: Clock
    metrics: Metrics
    routes: Sequence[Routes] = ()
    checks: Mapping[str, Check] = field(default_factory=dict)
    alongside: Alongside | None = None
    trail: Trail | None = None
    login: LoginRules | None = None
    rates: RateSettings = field(default_factory=RateSettings)
    unmoved: UnmovedBase | None = None


def create_services(parts: Parts) -> Services:
    """Make the services alone, for collaborators that must exist before the application."""
    trail = parts.trail or Trail(store=parts.store, clock=parts.clock, metrics=parts.metrics)
    passwords = Passwords()
    secrets = Secrets(
        key=load_sealing_key(parts.tokens.data / SEALING_KEY),
        passwords=passwords,
        clock=parts.clock,
    )
    roles = StoredRoles(parts.store, home=parts.home, clock=parts.clock)
    rules = parts.login or LoginRules(federation_policy, parts.clock.now)
    ruled = create_people(
        parts.store,
        parts.tokens.data,
        rules=rules,
        home=parts.home,
        secrets=secrets,
        passwords=passwords,
        grants=roles,
        rates=parts.rates.passwords,
        metrics=parts.metrics,
        clock=parts.clock,
    )
    logins = create_logins(
        parts.store,
        parts.tokens.data,
        server=parts.tokens.server,
        grants=roles,
        people=ruled.people,
        rates=parts.rates.passwords,
        clock=parts.clock,
    )
    lock_out = LockOut(judge=rules.judge, now=rules.now, providers=ruled.providers)
    authenticator = Authenticator(
        clock=parts.clock,
        bearer=logins.callers,
        still=logins.callers.recheck,
        trust_domain=parts.trust.domain if parts.trust else None,
        revoked=parts.trust.revoked if parts.trust else None,
        expected=parts.trust.expected if parts.trust else None,
    )
    objects = Objects(
        store=parts.store,
        home=parts.home,
        admission=AdmissionChain(
            (
                parts.unmoved or UnmovedBase(parts.store),
                parts.admission,
                GrantingAdmission(parts.home),
                Exposure(),
                lock_out,
            )
        ),
        trail=trail,
        clock=parts.clock,
        metrics=parts.metrics,
        secrets=secrets,
        alongside=parts.alongside,
        settled=roles.reach,
    )
    reader = ObjectReader(store=parts.store, home=parts.home, trail=trail, clock=parts.clock)
    return Services(
        objects=objects,
        reader=reader,
        trail=trail,
        authenticator=authenticator,
        roles=roles,
        passwords=passwords,
        secrets=secrets,
        logins=logins,
        ruled=ruled,
        lock_out=lock_out,
    )


def create_api(parts: Parts, services: Services) -> web.Application:
    """Return the application: objects of every kind, transactions, watch, audit, login, health,
    metrics, /openapi.json, /docs, and the component's own routes.
    """
    passwords = services.passwords
    logins, ruled = services.logins, services.ruled

    async def store_answers() -> None:
        await parts.store.position()

    app = create_application(
        [
            session.routes,
            session_admin.routes,
            login_policy.routes,
            held.routes,
            handlers.routes,
            kind_routes(parts.home),
            *parts.routes,
        ],
        Collaborators(
            clock=parts.clock,
            metrics=parts.metrics,
            authenticator=services.authenticator,
            checks={"store": store_answers, **parts.checks},
            on_answered=services.trail.answered,
            on_opened=services.trail.opened,
            rates=parts.rates,
            title=f"Hanse {parts.home.upper()}",
        ),
    )
    app[ENCODED] = EncodedObjects()
    app[OBJECTS] = services.objects
    app[READER] = services.reader
    app[TRAIL] = services.trail
    app[LOGINS] = logins
    app[ROLES] = services.roles
    app[login_policy.TRIALS] = services.ruled.trials
    app[login_policy.LOCK_OUT] = services.lock_out
    app[login_policy.STORE] = parts.store

    def loop(reconciler: Reconciler, period: float) -> Loop:
        source = random.Random(f"{parts.tokens.server} {reconciler.name}")  # noqa: S311 - retries
        backoff = Backoff(first=_FIRST_RETRY, longest=_LONGEST_RETRY, source=source)
        return Loop(reconciler, period=period, settle=0.0, backoff=backoff, clock=parts.clock)

    async def following(_: web.Application) -> AsyncIterator[None]:
        await services.roles.load()
        await ruled.policy.load()
        await logins.start()
        keeping = loop(logins.keeper, PERIOD)
        sealing = loop(ruled.glass, _SEALING_PERIOD)
        ending = loop(
            EndForbidden(
                logins.sessions,
                policy=lambda: ruled.policy.effective,
                glass=ruled.glass,
                clock=parts.clock,
            ),
            _ENDING_PERIOD,
        )
        ruled.policy.on_change = ruled.glass.on_sealed = ending.activate
        async with Group() as group:
            group.start(services.trail.run(), name="audit trail")
            group.start(services.reader.broadcast.run(), name="broadcast")
            group.start(services.roles.run(), name="follow the roles")
            group.start(ruled.policy.run(), name="follow the login policy")
            group.start(keeping.run(), name="keep logins")
            group.start(sealing.run(), name="seal the emergency account")
            group.start(ending.run(), name="end forbidden logins")
            yield

    async def close(_: web.Application) -> None:
        ruled.providers.close()
        await services.trail.close()
        passwords.close()

    app.cleanup_ctx.append(following)
    app.on_cleanup.append(close)
    return app
