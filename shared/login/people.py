"""What logins and sessions ask about people: an AuthenticationPolicy and its providers answer."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from shared.auth.providers.contract import Person
from shared.login.authentication import Authenticator

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

# timedelta can't follow beyond a billion days; nobody means more than a hundred years.
_LONGEST: Final = 36_500 * 86_400


def span_of(duration: str) -> timedelta:
    """Return what a Duration's text means (`90s`, `15m`, `8h`, `30d`), at most a hundred years."""
    return timedelta(seconds=min(int(duration[:-1][:15]) * _UNITS[duration[-1]], _LONGEST))


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long an access token counts, and a login without a new password."""

    access: timedelta
    refresh: timedelta


class People(Authenticator, Protocol):
    async def look_up(self, provider: str, username: str) -> Person | None:
        """Return a person as his provider has him now, for a session that is renewed.

        None if he is gone, is disabled, or may by the policy of now no longer log in that way.
        Raises ProviderUnreachable, and NotImplementedError if that provider can't tell without
        the password.
        """
        ...

    async def lifetimes(self) -> Lifetimes:
        """Return what the policy of now says."""
        ...
