"""Log a person in, and keep him logged in.

Attempts are limited per account and per address (shared.auth.guessing).  A refusal doesn't say
whether the name or the password was wrong.
"""

from typing import Final

from shared.auth.guessing import GuessingGuard
from shared.auth.limiter import Limiter, origin_of
from shared.errors import Unavailable
from shared.login.people import People
from shared.login.sessions import Asked, Opened, Sessions

# Each client renews once in some minutes; nobody can guess a refresh token.
RENEWALS_PER_ADDRESS: Final = "600 per minute"


class Login:
    def __init__(
        self, *, people: People, sessions: Sessions, guard: GuessingGuard, limiter: Limiter
    ) -> None:
        self._people = people
        self._sessions = sessions
        self._guard = guard
        self._limiter = limiter

    async def login(self, username: str, password: str, asked: Asked) -> Opened:
        """Begin a session.

        Unauthenticated (`wrong_credentials`), TooManyRequests, ProviderUnreachable.
        """
        self._guard.attempt(username, asked.address)
        try:
            who = await self._people.authenticate(username, password, address=asked.address)
        except Unavailable:
            self._guard.undecided(username, asked.address)
            raise
        self._guard.succeeded(username, asked.address)
        return await self._sessions.open(who, asked)

    async def renew(self, refresh: str, asked: Asked) -> Opened:
        """Prolong a session; as Sessions.renew(), and TooManyRequests."""
        self._limiter.check((RENEWALS_PER_ADDRESS, f"renewing:{origin_of(asked.address)}"))
        return await self._sessions.renew(refresh, asked)
