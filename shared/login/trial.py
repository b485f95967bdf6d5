"""Try a policy with a real login, before it counts."""

from dataclasses import dataclass, field

from shared.auth.identity import CallerKind, GrantSource, Subject
from shared.auth.limiter import Limiter
from shared.auth.providers.contract import Person, Provider, ProviderName, ProviderUnreachable
from shared.login.glass import Answer
from shared.login.providers import Providers
from shared.model.settings_policies import AuthenticationPolicy


@dataclass(frozen=True, slots=True)
class Tried:
    """What one provider says of a login; `reason` tells why it couldn't be asked."""

    provider: ProviderName
    answer: Answer
    reason: str = ""
    person: Person | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """What would become of a login: who it would be, and what he would hold."""

    tried: tuple[Tried, ...]
    roles: tuple[str, ...] = ()
    person: Person | None = field(default=None)

    @property
    def outcome(self) -> str:
        """What the login would be answered: ok, wrong_credentials or provider_unreachable."""
        if self.person is not None:
            return "ok"
        down = any(each.answer == "unreachable" for each in self.tried)
        return "provider_unreachable" if down else "wrong_credentials"


class Trials:
    def __init__(
        self, *, providers: Providers, grants: GrantSource, rate: str, limiter: Limiter
    ) -> None:
        """`rate` says how often: what tries passwords mustn't be a way around a login's limits."""
        self._providers = providers
        self._grants = grants
        self._rate = rate
        self._limiter = limiter

    async def make(
        self, policy: AuthenticationPolicy, username: str, password: str, *, caller: str
    ) -> Trial:
        """Ask every provider of a policy, also behind one that vouches; TooManyRequests."""
        self._limiter.check(
            (self._rate, f"trials of {caller}"), (self._rate, f"account:{username}")
        )
        async with self._providers.tried(policy) as providers:
            tried = tuple([await _ask(each, username, password) for each in providers])
        person = next((each.person for each in tried if each.person is not None), None)
        return Trial(tried, self._roles_of(person) if person else (), person)

    def _roles_of(self, person: Person) -> tuple[str, ...]:
        subject = Subject(CallerKind.PERSON, person.username, person.groups)
        return tuple(sorted({each.role for each in self._grants.grants_of(subject)}))


async def _ask(provider: Provider, username: str, password: str) -> Tried:
    try:
        person = await provider.authenticate(username, password)
    except ProviderUnreachable as exc:
        return Tried(provider.name, "unreachable", exc.message)
    if person is None:
        return Tried(provider.name, "refused")
    return Tried(provider.name, "vouched", person=person)
