"""One process of a server as far as logins go: a real store, real keys, and people made up."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from shared.auth.identity import Caller, CallerKind, Grant, Subject
from shared.auth.providers.contract import Person, ProviderUnreachable
from shared.auth.tokenkeys import KeyFolder
from shared.auth.tokens import TokenIssuer, TokenVerifier
from shared.clock import Clock
from shared.errors import Unauthenticated
from shared.login.authentication import Authenticated
from shared.login.callers import Callers
from shared.login.keeping import KeepLogins
from shared.login.keyring import KeyRing
from shared.login.people import Lifetimes
from shared.login.sessions import Asked, Sessions
from shared.store.contract import AuditRecord, Store
from shared.store.sql import open_store
from tests.fakes.clock import VirtualClock

SERVER = "spiffe://hanse.example/fsm"
ASKED = Asked("request", "192.0.2.7")


class PassingClock(VirtualClock):
    """A virtual clock that doesn't wait for anybody: who sleeps has slept."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


@dataclass
class Town:
    """Implements shared.login.people.People: whoever lives there has his name as password."""

    groups: dict[str, frozenset[str]] = field(default_factory=dict)
    is_reachable: bool = True
    tells: bool = True
    access: timedelta = timedelta(minutes=15)
    refresh: timedelta = timedelta(hours=12)

    async def authenticate(
        self, username: str, password: str, *, address: str | None
    ) -> Authenticated:
        person = self._person(username)
        if person is None or password != username:
            raise Unauthenticated("wrong", code="wrong_credentials")
        return Authenticated(person)

    async def look_up(self, provider: str, username: str) -> Person | None:
        if not self.tells:
            raise NotImplementedError
        return self._person(username)

    def _person(self, username: str) -> Person | None:
        if not self.is_reachable:
            raise ProviderUnreachable("nobody answers")
        groups = self.groups.get(username)
        return None if groups is None else Person(username, username.title(), groups, "ldap")

    async def lifetimes(self) -> Lifetimes:
        return Lifetimes(self.access, self.refresh)


class Bindings:
    """Implements shared.auth.identity.GrantSource: a role for a group or a name each."""

    def __init__(self) -> None:
        self.generation = 0
        self._roles: dict[str, frozenset[str]] = {}

    def bind(self, name: str, roles: Iterable[str]) -> None:
        self._roles[name] = frozenset(roles)
        self.generation += 1

    def roles_of(self, names: Iterable[str]) -> list[str]:
        return sorted(frozenset[str]().union(*(self._roles.get(each, ()) for each in names)))

    def grants_of(self, subject: Subject) -> tuple[Grant, ...]:
        names = (subject.name, *subject.groups)
        return tuple(Grant(role, frozenset({role})) for role in self.roles_of(names))


@dataclass
class Process:
    store: Store
    ring: KeyRing
    callers: Callers
    sessions: Sessions
    keeper: KeepLogins
    clock: Clock

    async def login(self, username: str, password: str | None = None):
        people = self.sessions._people
        who = await people.authenticate(username, password or username, address=None)
        return await self.sessions.open(who, ASKED)

    async def caller(self, token: str) -> Caller:
        found = await self.callers(token)
        self.callers.recheck(found)
        return found

    async def keep(self) -> None:
        await self.keeper.reconcile()


async def process(
    url: str, folder: Path, *, clock: Clock, people: Town, bindings: Bindings, server: str = SERVER
) -> Process:
    """Open one more process of a server, whose store must be closed."""
    store = await open_store(url, clock=clock, create=True)
    ring = KeyRing(KeyFolder(folder), store, clock=clock)
    callers = Callers(
        store,
        ring=ring,
        verifier=TokenVerifier(server, clock=clock),
        grants=bindings,
        clock=clock,
    )
    sessions = Sessions(
        store,
        ring=ring,
        callers=callers,
        issuer=TokenIssuer(server, clock=clock),
        people=people,
        clock=clock,
    )
    keeper = KeepLogins(ring=ring, callers=callers, sessions=sessions, clock=clock)
    await ring.start()
    await callers.read()
    return Process(store, ring, callers, sessions, keeper, clock)


def record(clock: Clock, action: str, identity: str = "user:admin") -> AuditRecord:
    return AuditRecord(
        at=clock.now(), request_id="request", identity=identity, action=action, outcome="ok"
    )


def person(username: str) -> Subject:
    return Subject(CallerKind.PERSON, username)
