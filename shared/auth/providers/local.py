"""Logins with a password of ours."""

from dataclasses import dataclass
from typing import Protocol

from shared.auth.passwords import Passwords
from shared.auth.providers.contract import Person, ProviderName
from shared.auth.providers.typed import is_text


@dataclass(frozen=True, slots=True)
class LocalUser:
    """Somebody with a password of ours; without a hash nobody can log in as him."""

    username: str
    display_name: str
    password_hash: str | None
    disabled: bool = False


class LocalUsers(Protocol):
    async def find(self, username: str) -> LocalUser | None:
        """Return the user of exactly that name."""


class LocalProvider:
    """Implements Provider.

    Every answer takes as long as one check of a password, whether there is such a user, one
    without a password, or one who is disabled.
    """

    def __init__(self, users: LocalUsers, passwords: Passwords) -> None:
        self._users = users
        self._passwords = passwords

    @property
    def name(self) -> ProviderName:
        return "local"

    async def authenticate(self, username: str, password: str) -> Person | None:
        """Return who it is; see Provider."""
        if not username or not password:
            return None
        user = await self._users.find(username) if is_text(username) else None
        hashed = user.password_hash if user else None
        # Half of a surrogate pair, which JSON may hold, can't be hashed.
        fits = await self._passwords.verify(password if is_text(password) else "", hashed)
        if user is None or user.disabled or not fits:
            return None
        return self._person(user)

    async def look_up(self, username: str) -> Person | None:
        """Return a user as he is now; see Provider."""
        user = await self._users.find(username) if username and is_text(username) else None
        if user is None or user.disabled:
            return None
        return self._person(user)

    def close(self) -> None:
        """The hasher's threads are not this provider's."""

    def _person(self, user: LocalUser) -> Person:
        shown = user.display_name or user.username
        return Person(user.username, shown, frozenset(), self.name)
