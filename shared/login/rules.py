"""The people of a server by its AuthenticationPolicy, put together."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from shared.auth.guessing import PasswordRates
from shared.auth.identity import GrantSource
from shared.auth.limiter import Limiter
from shared.auth.passwords import Passwords
from shared.clock import Clock
from shared.login.breakglass import BreakGlass
from shared.login.effective import Judge, PolicyOfNow
from shared.login.policy_people import LocalAccounts, PolicyPeople, sealing_roles
from shared.login.providers import Providers, StoredUsers
from shared.login.secrets import Secrets
from shared.login.trial import Trials
from shared.metrics.names import Metrics
from shared.model.kinds import DEFAULT_SCOPE, Home
from shared.store.contract import Store


@dataclass(frozen=True, slots=True)
class LoginRules:
    """How a component chooses the policy that counts; `now` judges the expiry of Overrides."""

    judge: Judge
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledPeople:
    """Load the policy before anybody logs in; somebody must run it, and the glass's passes."""

    policy: PolicyOfNow
    glass: BreakGlass
    providers: Providers
    people: PolicyPeople
    trials: Trials


def create_people(
    store: Store,
    data: Path,
    *,
    rules: LoginRules,
    home: Home,
    secrets: Secrets,
    passwords: Passwords,
    grants: GrantSource,
    rates: PasswordRates,
    metrics: Metrics,
    clock: Clock,
) -> RuledPeople:
    """Make the people of a server whose folder is `data`."""
    scope = DEFAULT_SCOPE[home]
    policy = PolicyOfNow(store, judge=rules.judge, now=rules.now, clock=clock)
    glass = BreakGlass(store, data=data, passwords=passwords, metrics=metrics, clock=clock)
    providers = Providers(
        store,
        secrets=secrets,
        users=LocalAccounts(store, StoredUsers(store, scope=scope)),
        passwords=passwords,
        scope=scope,
        clock=clock,
    )
    people = PolicyPeople(
        store,
        policy=lambda: policy.effective,
        providers=providers,
        glass=glass,
        grants=grants,
        sealing_roles=sealing_roles(home),
        clock=clock,
    )
    trials = Trials(
        providers=providers, grants=grants, rate=rates.trials, limiter=Limiter(clock=clock)
    )
    return RuledPeople(
        policy=policy, glass=glass, providers=providers, people=people, trials=trials
    )
