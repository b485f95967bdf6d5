"""Who vouches for a name and a password, by the AuthenticationPolicy of now.

The policy's providers are asked in its order, whatever the name; the first that vouches wins.  A
refusal asks the next.  If nobody vouches and somebody couldn't be asked, nobody knows whether the
login is wrong: that is 503, never 401, and nobody is asked whom the policy doesn't name.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from shared.auth.identity import CallerKind, Grant, GrantSource, Subject
from shared.auth.providers.contract import Person, Provider, ProviderUnreachable
from shared.auth.providers.local import LocalUser, LocalUsers
from shared.clock import Clock
from shared.errors import Unauthenticated
from shared.login.authentication import Authenticated
from shared.login.breakglass import ROLES, BreakGlass
from shared.login.effective import EffectivePolicy
from shared.login.glass import ACCOUNTS, Asked, glass_in, may_go_on
from shared.login.people import Lifetimes
from shared.login.providers import EXTERNAL, Providers, counting
from shared.model.builtin_roles import GLOBAL_ADMIN
from shared.store.contract import Store

log = logging.getLogger(__name__)

SITE_OPERATOR: Final = "site-operator"

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class LocalAccounts:
    """Everybody with a password here: Users, and the first administrator until he is sealed.

    Implements shared.auth.providers.local.LocalUsers.
    """

    def __init__(self, store: Store, users: LocalUsers) -> None:
        self._store = store
        self._users = users

    async def find(self, username: str) -> LocalUser | None:
        async with self._store.snapshot() as snapshot:
            account = await snapshot.record(ACCOUNTS, username)
            glass = await glass_in(snapshot) if account else None
        if account is None:
            return await self._users.find(username)
        is_emergency = glass is not None and glass.account == username
        if glass is not None and is_emergency and (glass.sealed_at or glass.open_until):
            return None
        return LocalUser(
            username,
            str(account.get("displayName") or username),
            str(account["passwordHash"]),
            disabled=bool(account.get("disabled", False)),
        )


class PolicyPeople:
    """Implements shared.login.people.People."""

    def __init__(
        self,
        store: Store,
        *,
        policy: Callable[[], EffectivePolicy],
        providers: Providers,
        glass: BreakGlass,
        grants: GrantSource,
        sealing_roles: frozenset[str],
        clock: Clock,
    ) -> None:
        """`sealing_roles` are those whose holder, vouched for by a directory, can do without the
        first administrator: whoever has one everywhere here.
        """
        self._store = store
        self._policy = policy
        self._providers = providers
        self._glass = glass
        self._grants = grants
        self._sealing_roles = sealing_roles
        self._clock = clock

    async def authenticate(
        self, username: str, password: str, *, address: str | None
    ) -> Authenticated:
        """See shared.login.authentication.Authenticator.

        The error's `detail` says what each provider answered, for the audit trail and the log.
        """
        policy = self._policy().spec
        asked: list[Asked] = []
        for provider in await self._providers.of(policy):
            person = await self._ask(provider, username, password, asked)
            if person is not None:
                return await self._vouched(person)
        opened = await self._glass.log_in(
            username, password, policy=policy, asked=asked, address=address
        )
        if opened is not None:
            person, until = opened
            return Authenticated(person, ROLES, is_emergency=True, expires_at=until)
        raise _refusal(asked)

    async def look_up(self, provider: str, username: str) -> Person | None:
        """See shared.login.people.People."""
        policy = self._policy().spec
        glass = await self._glass.glass()
        is_emergency = glass is not None and (glass.account, "local") == (username, provider)
        if glass is not None and is_emergency and may_go_on(glass, policy, self._clock.now()):
            return Person(username, username, frozenset(), "local")
        if provider not in counting(policy):
            return None
        for each in await self._providers.of(policy):
            if each.name == provider:
                person = await each.look_up(username)
                return None if person and await self._is_reserved(person) else person
        return None

    async def lifetimes(self) -> Lifetimes:
        """See shared.login.people.People."""
        tokens = self._policy().spec.tokens
        return Lifetimes(access=_duration(tokens.access), refresh=_duration(tokens.refresh))

    async def _ask(
        self, provider: Provider, username: str, password: str, asked: list[Asked]
    ) -> Person | None:
        try:
            person = await provider.authenticate(username, password)
        except ProviderUnreachable as exc:
            asked.append(Asked(provider.name, "unreachable", exc.message))
            log.warning(
                "a provider of logins can't be asked",
                extra={"provider": provider.name, "reason": exc.message},
            )
            return None
        if person is None or await self._is_reserved(person):
            asked.append(Asked(provider.name, "refused"))
            return None
        return person

    async def _is_reserved(self, person: Person) -> bool:
        """Return whether a directory vouches for a name that is an account's of this server.

        The account's roles hang on its name: whoever can add people to a directory would get them.
        """
        if person.provider not in EXTERNAL:
            return False
        async with self._store.snapshot() as snapshot:
            accounts = await snapshot.records(ACCOUNTS)
        reserved = person.username.casefold() in {each.casefold() for each in accounts}
        if reserved:
            log.warning(
                "a directory has somebody by the name of an account of this server",
                extra={"provider": person.provider, "username": person.username},
            )
        return reserved

    async def _vouched(self, person: Person) -> Authenticated:
        if person.provider in EXTERNAL and self._administers(person):
            await self._glass.seal_for(person.username)
        if person.provider == "local":
            async with self._store.snapshot() as snapshot:
                account = await snapshot.record(ACCOUNTS, person.username)
            if account is not None:
                return Authenticated(person, tuple(account.get("roles", ())))
        return Authenticated(person)

    def _administers(self, person: Person) -> bool:
        subject = Subject(CallerKind.PERSON, person.username, person.groups)
        return any(
            each.role in self._sealing_roles and _is_everywhere(each)
            for each in self._grants.grants_of(subject)
        )


def sealing_roles(home: str) -> frozenset[str]:
    """Return the roles that make the first administrator dispensable on a server."""
    return frozenset({GLOBAL_ADMIN} if home == "fsm" else {GLOBAL_ADMIN, SITE_OPERATOR})


def _is_everywhere(grant: Grant) -> bool:
    return (grant.tenants, grant.scopes, grant.labels) == (None, None, None)


def _refusal(asked: Sequence[Asked]) -> Unauthenticated | ProviderUnreachable:
    detail = "; ".join(
        f"{each.provider}: {each.answer}" + (f" ({each.reason})" if each.reason else "")
        for each in asked
    )
    if any(each.answer == "unreachable" for each in asked):
        # Which server, and why, is nothing for somebody who isn't known yet.
        return ProviderUnreachable(
            "logins can't be checked right now; try again in a moment", detail=detail
        )
    return Unauthenticated(
        "the user name or the password is wrong", code="wrong_credentials", detail=detail
    )


def _duration(text: str) -> timedelta:
    return timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])
