"""Log a person in: user name and password for a short-lived token.

Attempts are limited per account and per address, whatever they send.  A refusal doesn't say
whether the name or the password was wrong.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from shared.auth.limiter import Limiter
from shared.auth.passwords import Passwords
from shared.auth.tokens import IssuedToken, TokenIssuer
from shared.errors import Unauthenticated

# A person mistypes a few times; a program that guesses gets 14,400 guesses a day at one name.
PER_ACCOUNT: Final = "10 per minute"
# Many people may come from behind one address.
PER_ADDRESS: Final = "60 per minute"


@dataclass(frozen=True, slots=True)
class Account:
    """Someone who may log in; `password_hash` is argon2's text."""

    username: str
    password_hash: str
    display_name: str
    roles: tuple[str, ...]
    disabled: bool = False


class Accounts(Protocol):
    async def find(self, username: str) -> Account | None: ...


class Login:
    def __init__(
        self, *, accounts: Accounts, passwords: Passwords, limiter: Limiter, issuer: TokenIssuer
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._limiter = limiter
        self._issuer = issuer

    async def login(self, username: str, password: str, *, address: str | None) -> IssuedToken:
        """Return a token; Unauthenticated (`wrong_credentials`), TooManyRequests."""
        self._limiter.check(
            (PER_ACCOUNT, f"account:{username}"), (PER_ADDRESS, f"address:{address}")
        )
        account = await self._accounts.find(username)
        fits = await self._passwords.verify(password, account.password_hash if account else None)
        if account is None or not fits or account.disabled:
            raise Unauthenticated(
                "the user name or the password is wrong", code="wrong_credentials"
            )
        self._limiter.forget(PER_ACCOUNT, f"account:{username}")
        return self._issuer.issue(
            f"user:{username}", display_name=account.display_name, roles=account.roles
        )
