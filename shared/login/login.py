"""Log a person in, and keep him logged in.

Attempts are limited per account and per address, whatever they send.  A refusal doesn't say
whether the name or the password was wrong.
"""

from typing import Final

from shared.auth.limiter import Limiter
from shared.login.people import People
from shared.login.sessions import Asked, Opened, Sessions

# A person mistypes a few times; a program that guesses gets 14,400 guesses a day at one name.
PER_ACCOUNT: Final = "10 per minute"
# Many people may come from behind one address.
PER_ADDRESS: Final = "60 per minute"
# Each client renews once in some minutes; nobody can guess a refresh token.
RENEWALS_PER_ADDRESS: Final = "600 per minute"


class Login:
    def __init__(self, *, people: People, sessions: Sessions, limiter: Limiter) -> None:
        self._people = people
        self._sessions = sessions
        self._limiter = limiter

    async def login(self, username: str, password: str, asked: Asked) -> Opened:
        """Begin a session.

        Unauthenticated (`wrong_credentials`), TooManyRequests, ProviderUnreachable.
        """
        account = f"account:{username}"
        self._limiter.check((PER_ACCOUNT, account), (PER_ADDRESS, f"address:{asked.address}"))
        who = await self._people.authenticate(username, password, address=asked.address)
        self._limiter.forget(PER_ACCOUNT, account)
        return await self._sessions.open(who, asked)

    async def renew(self, refresh: str, asked: Asked) -> Opened:
        """Prolong a session; as Sessions.renew(), and TooManyRequests."""
        self._limiter.check((RENEWALS_PER_ADDRESS, f"renewing:{asked.address}"))
        return await self._sessions.renew(refresh, asked)
