"""People of whom this server itself knows the password."""

from datetime import timedelta
from typing import Final

from shared.auth.login import Account, Accounts
from shared.auth.passwords import Passwords
from shared.auth.providers.contract import Person
from shared.errors import Unauthenticated
from shared.login.authentication import Authenticated
from shared.login.people import Lifetimes

LIFETIMES: Final = Lifetimes(access=timedelta(minutes=15), refresh=timedelta(hours=12))
"""Those of an AuthenticationPolicy that says nothing else."""


class StoredPeople:
    """Implements shared.login.people.People."""

    def __init__(
        self, accounts: Accounts, *, passwords: Passwords, lifetimes: Lifetimes = LIFETIMES
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._lifetimes = lifetimes

    async def authenticate(
        self,
        username: str,
        password: str,
        *,
        address: str | None,  # noqa: ARG002 - the protocol's
    ) -> Authenticated:
        account = await self._accounts.find(username)
        fits = await self._passwords.verify(password, account.password_hash if account else None)
        if account is None or not fits or account.disabled:
            raise Unauthenticated(
                "the user name or the password is wrong", code="wrong_credentials"
            )
        return Authenticated(_person(account), account.roles)

    async def look_up(
        self,
        provider: str,  # noqa: ARG002 - there is one
        username: str,
    ) -> Person | None:
        account = await self._accounts.find(username)
        return _person(account) if account is not None and not account.disabled else None

    async def lifetimes(self) -> Lifetimes:
        return self._lifetimes


def _person(account: Account) -> Person:
    return Person(account.username, account.display_name, frozenset(), "local")
