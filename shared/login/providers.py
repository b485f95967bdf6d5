"""The providers that a policy names, ready to be asked, in its order.

They are made anew only when their settings or their secrets are others, so that connections and
what is known of failing servers outlive a change of anything else.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.auth.passwords import Passwords
from shared.auth.providers.contract import Person, Provider, ProviderName, ProviderUnreachable
from shared.auth.providers.ldap import LDAPProvider
from shared.auth.providers.local import LocalProvider, LocalUser, LocalUsers
from shared.auth.providers.radius import RADIUSProvider
from shared.clock import Clock
from shared.errors import HanseError
from shared.ids import COMMON, Key
from shared.login.secrets import Secrets, password_hash, version_of
from shared.model.access import User
from shared.model.settings_policies import AuthenticationPolicy
from shared.store.contract import Store

EXTERNAL: Final[frozenset[ProviderName]] = frozenset({"ldap", "radius"})
"""Those that ask other servers."""


def counting(policy: AuthenticationPolicy) -> tuple[ProviderName, ...]:
    """Return the providers that a policy lets count, in its order."""
    named = dict.fromkeys(policy.providers)
    return tuple(name for name in named if name != "local" or policy.local_users != "forbidden")


@dataclass(frozen=True, slots=True)
class Unusable:
    """A provider that can't be asked, since its policy or its Credential isn't right."""

    name: ProviderName
    reason: str

    async def authenticate(self, username: str, password: str) -> Person | None:  # noqa: ARG002
        raise ProviderUnreachable(f"the provider {self.name} can't be used: {self.reason}")

    async def look_up(self, username: str) -> Person | None:  # noqa: ARG002
        raise ProviderUnreachable(f"the provider {self.name} can't be used: {self.reason}")

    def close(self) -> None:
        """It holds nothing."""


class StoredUsers:
    """The Users of a server's own store, with the passwords of their Credentials.

    Implements shared.auth.providers.local.LocalUsers.
    """

    def __init__(self, store: Store, *, scope: str) -> None:
        self._store = store
        self._scope = scope

    async def find(self, username: str) -> LocalUser | None:
        async with self._store.snapshot() as snapshot:
            stored = await snapshot.get(Key("User", COMMON, self._scope, username))
            if stored is None:
                return None
            user = User.model_validate(stored.spec)
            hashed = None
            if user.credential is not None:
                key = Key("Credential", COMMON, self._scope, user.credential)
                hashed = await password_hash(snapshot, key)
        return LocalUser(username, user.display_name, hashed, disabled=user.disabled)


@dataclass(frozen=True, slots=True)
class _Made:
    of: tuple[object, ...]
    provider: Provider


class Providers:
    def __init__(
        self,
        store: Store,
        *,
        secrets: Secrets,
        users: LocalUsers,
        passwords: Passwords,
        scope: str,
        clock: Clock,
    ) -> None:
        """`scope` is that of the server's own Credentials."""
        self._store = store
        self._secrets = secrets
        self._scope = scope
        self._clock = clock
        self._local = LocalProvider(users, passwords)
        self._made: dict[ProviderName, _Made] = {}

    async def of(self, policy: AuthenticationPolicy) -> list[Provider]:
        """Return the providers to ask, in order; those made before, if they are still right.

        Others that were made before are closed.
        """
        found: list[Provider] = []
        names = counting(policy)
        for name in names:
            if name == "local":
                found.append(self._local)
                continue
            of = await self._settings_of(policy, name)
            made = self._made.get(name)
            if made is None or made.of != of:
                provider = await self._make(policy, name)
                if made is not None:
                    made.provider.close()
                made = self._made[name] = _Made(of, provider)
            found.append(made.provider)
        for name in self._made.keys() - set(names):
            self._made.pop(name).provider.close()
        return found

    @asynccontextmanager
    async def tried(
        self, policy: AuthenticationPolicy, *, given: Mapping[str, str] = MappingProxyType({})
    ) -> AsyncIterator[list[Provider]]:
        """Make the providers of a policy that doesn't count yet, for as long as the block.

        `given` are secrets of Credentials, by name, that aren't in the store yet.
        """
        found: list[Provider] = []
        try:
            for name in counting(policy):
                made = self._local if name == "local" else await self._make(policy, name, given)
                # One by one, so that those before a failure are closed.
                found.append(made)
            yield found
        finally:
            for each in found:
                each.close()

    def close(self) -> None:
        for each in self._made.values():
            each.provider.close()
        self._made.clear()

    async def _settings_of(
        self, policy: AuthenticationPolicy, name: ProviderName
    ) -> tuple[object, ...]:
        versions = [
            version_of(await self._store.latest(self._credential(each)))
            for each in _credentials(policy, name)
        ]
        return (policy.ldap if name == "ldap" else policy.radius, *versions)

    async def _make(
        self,
        policy: AuthenticationPolicy,
        name: ProviderName,
        given: Mapping[str, str] = MappingProxyType({}),
    ) -> Provider:
        try:
            secret = None
            for each in _credentials(policy, name):
                secret = given.get(each)
                if secret is None:
                    async with self._store.snapshot() as snapshot:
                        secret = await self._secrets.open(snapshot, self._credential(each))
            if name == "ldap" and policy.ldap is not None:
                return LDAPProvider(policy.ldap, secret=secret, clock=self._clock)
            if name == "radius" and policy.radius is not None:
                return RADIUSProvider(policy.radius, secret=secret, clock=self._clock)
        except HanseError as exc:
            return Unusable(name, exc.message)
        return Unusable(name, f"the policy has no settings for it (spec.{name})")

    def _credential(self, name: str) -> Key:
        return Key("Credential", COMMON, self._scope, name)


def _credentials(policy: AuthenticationPolicy, name: ProviderName) -> Iterator[str]:
    settings = policy.ldap if name == "ldap" else policy.radius
    if settings is not None and settings.credential is not None:
        yield settings.credential
