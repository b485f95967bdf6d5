"""One server's logins, over a real store, on a clock that a test moves."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from shared.auth.identity import Grant
from shared.auth.passwords import Passwords
from shared.auth.providers.contract import Provider
from shared.auth.providers.local import LocalProvider
from shared.login.authentication import Authenticated
from shared.login.breakglass import BreakGlass
from shared.login.effective import EffectivePolicy
from shared.login.glass import designate
from shared.login.policy_people import LocalAccounts, PolicyPeople, sealing_roles
from shared.login.providers import Providers, StoredUsers, counting
from shared.metrics.names import Metrics
from shared.model.settings_policies import AuthenticationPolicy
from shared.store.contract import Store
from shared.store.sql import open_store
from shared.telemetry.journal import recent_events
from tests.fakes.clock import VirtualClock
from tests.fakes.login_providers import Granting, ScriptedProvider
from tests.fakes.secrets import secrets_of

FIRST_SECRET = "the secret of the first day"
EVERYTHING = Grant("global-admin", frozenset({"read:Network"}), binding="b")


class ScriptedProviders(Providers):
    """Gives a test's providers instead of making them."""

    scripted: dict[str, Provider]

    async def of(self, policy: AuthenticationPolicy) -> list[Provider]:
        return [self.scripted[name] for name in counting(policy)]


@dataclass
class Server:
    store: Store
    data: Path
    clock: VirtualClock
    metrics: Metrics
    passwords: Passwords
    ldap: ScriptedProvider
    radius: ScriptedProvider
    grants: Granting
    policy: AuthenticationPolicy = field(default_factory=AuthenticationPolicy)

    def __post_init__(self) -> None:
        self.glass = BreakGlass(
            self.store,
            data=self.data,
            passwords=self.passwords,
            metrics=self.metrics,
            clock=self.clock,
        )
        users = LocalAccounts(self.store, StoredUsers(self.store, scope="federation"))
        providers = ScriptedProviders(
            self.store,
            secrets=secrets_of(self.clock),
            users=users,
            passwords=self.passwords,
            scope="federation",
            clock=self.clock,
        )
        providers.scripted = {
            "ldap": self.ldap,
            "radius": self.radius,
            "local": LocalProvider(users, self.passwords),
        }
        self.people = PolicyPeople(
            self.store,
            policy=lambda: EffectivePolicy(self.policy),
            providers=providers,
            glass=self.glass,
            grants=self.grants,
            sealing_roles=sealing_roles("fsm"),
            clock=self.clock,
        )

    def obey(self, **spec: Any) -> None:
        """Let such a policy count."""
        self.policy = AuthenticationPolicy.model_validate(spec)

    async def login(self, username: str = "admin", password: str = FIRST_SECRET) -> Authenticated:
        return await self.people.authenticate(username, password, address="192.0.2.7")

    async def sealed(self) -> None:
        """Let an administrator of the directory log in once, which seals the first one."""
        self.obey(providers=["ldap", "local"])
        self.ldap.people["boss"] = "boss's own password"
        self.grants.by_name["boss"] = (EVERYTHING,)
        await self.login("boss", "boss's own password")

    async def audit(self) -> list[tuple[str, str, str | None]]:
        """Return the audit records about the account, oldest first."""
        found = [record for _, record in await self.store.audit_records(limit=100)]
        return [(each.action, each.identity, each.reason) for each in reversed(found)]

    async def events(self) -> list[tuple[str, str]]:
        async with self.store.snapshot() as snapshot:
            found = await recent_events(snapshot)
        return [(each.type, each.severity.value) for each in found]

    @property
    def is_alarming(self) -> bool:
        return b"hanse_break_glass_open 1.0" in self.metrics.exposition()

    @property
    def new_secret(self) -> str:
        text = (self.data / "break-glass").read_text("ascii")
        return text.split("secret: ")[1].strip()


@pytest.fixture(scope="session")
def passwords() -> Passwords:
    return Passwords()


@pytest.fixture
async def server(tmp_path: Path, passwords: Passwords) -> AsyncIterator[Server]:
    clock = VirtualClock()
    store = await open_store(f"sqlite:///{tmp_path}/s.db", clock=clock, create=True)
    hashed = await passwords.hash(FIRST_SECRET)

    async def init(transaction: Any) -> None:
        account = {"passwordHash": hashed, "displayName": "admin", "roles": ["global-admin"]}
        await transaction.put_record("accounts", "admin", account)
        await designate(transaction, "admin")

    await store.transact(init)
    yield Server(
        store,
        tmp_path,
        clock,
        Metrics(),
        passwords,
        ScriptedProvider("ldap"),
        ScriptedProvider("radius"),
        Granting(),
    )
    await store.close()


def limited(grant: Grant, **where: Any) -> Grant:
    return replace(grant, **where)
