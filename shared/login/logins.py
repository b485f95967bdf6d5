"""All that a server has for logins, put together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.auth.guessing import GuessingGuard, PasswordRates
from shared.auth.identity import GrantSource
from shared.auth.limiter import Limiter
from shared.auth.tokenkeys import KeyFolder
from shared.auth.tokens import TokenIssuer, TokenVerifier
from shared.clock import Clock
from shared.login.callers import Callers
from shared.login.keeping import KeepLogins
from shared.login.keyring import KeyRing
from shared.login.login import Login
from shared.login.people import People
from shared.login.sessions import Sessions
from shared.store.contract import Store

KEYS: Final = "token-keys"
FORMER_KEY: Final = "token-key.pem"
"""Earlier versions had a single key, in this file."""


@dataclass(frozen=True, slots=True)
class Logins:
    """Use after start(); somebody must run the keeper every keeping.PERIOD seconds."""

    ring: KeyRing
    callers: Callers
    sessions: Sessions
    login: Login
    keeper: KeepLogins

    async def start(self) -> None:
        """Have a key that signs, and know what has ended; raises as KeyRing.start()."""
        await self.ring.start()
        await self.callers.read()


def create_logins(
    store: Store,
    data: Path,
    *,
    server: str,
    grants: GrantSource,
    people: People,
    rates: PasswordRates,
    clock: Clock,
) -> Logins:
    """Make the logins of a server that is named `server`, with its keys beneath `data`."""
    ring = KeyRing(KeyFolder(data / KEYS, former=data / FORMER_KEY), store, clock=clock)
    callers = Callers(
        store,
        ring=ring,
        verifier=TokenVerifier(server, clock=clock),
        grants=grants,
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
    limiter = Limiter(clock=clock)
    guard = GuessingGuard(rates, clock=clock, limiter=limiter)
    return Logins(
        ring=ring,
        callers=callers,
        sessions=sessions,
        login=Login(people=people, sessions=sessions, guard=guard, limiter=limiter),
        keeper=KeepLogins(ring=ring, callers=callers, sessions=sessions, clock=clock),
    )
