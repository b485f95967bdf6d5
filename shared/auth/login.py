"""Accounts that a server keeps by itself."""

from dataclasses import dataclass
from typing import Protocol


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
