"""Who vouches for a name and a password, by the AuthenticationPolicy of now."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.auth.providers.contract import Person


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Somebody who has proved who he is.

    `roles` are built-in roles that come with the account itself, besides what bindings give: those
    of the first administrator that `init` makes, and of the emergency account.  A session that
    follows from this ends at `expires_at`, whatever the policy's lifetimes say, and is marked
    with `is_emergency`.
    """

    person: Person
    roles: tuple[str, ...] = ()
    is_emergency: bool = False
    expires_at: datetime | None = None


class Authenticator(Protocol):
    """What a login asks."""

    async def authenticate(
        self, username: str, password: str, *, address: str | None
    ) -> Authenticated:
        """Return who it is.

        Unauthenticated (`wrong_credentials`) if nobody vouches; ProviderUnreachable if nobody
        does and somebody could not be asked.
        """
        ...
