"""Providers of logins that a test makes answer, be silent, or count how often they are asked."""

from dataclasses import dataclass, field

from shared.auth.identity import Grant, Subject
from shared.auth.providers.contract import Person, ProviderName, ProviderUnreachable


@dataclass
class ScriptedProvider:
    """A directory in memory: implements shared.auth.providers.contract.Provider."""

    name: ProviderName
    people: dict[str, str] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    is_up: bool = True
    asked: list[str] = field(default_factory=list)
    is_closed: bool = False

    async def authenticate(self, username: str, password: str) -> Person | None:
        self.asked.append(username)
        self._check()
        if not password or self.people.get(username) != password:
            return None
        return Person(username, username, self.groups, self.name)

    async def look_up(self, username: str) -> Person | None:
        self._check()
        if username not in self.people:
            return None
        return Person(username, username, self.groups, self.name)

    def close(self) -> None:
        self.is_closed = True

    def _check(self) -> None:
        if not self.is_up:
            raise ProviderUnreachable(f"{self.name} at 10.9.8.7 is down")


@dataclass
class Granting:
    """Gives each named person the grants that a test wants: a GrantSource."""

    by_name: dict[str, tuple[Grant, ...]] = field(default_factory=dict)
    generation: int = 0

    def grants_of(self, subject: Subject) -> tuple[Grant, ...]:
        return self.by_name.get(subject.name, ())
