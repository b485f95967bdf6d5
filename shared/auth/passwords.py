"""Passwords: hashed with argon2id, compared in constant time, never kept.

A login for a name that doesn't exist costs as much time as one that does, so that time tells
nobody which names there are.
"""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from shared.errors import Invalid

COST: Final = RFC_9106_LOW_MEMORY
"""What argon2 is to take; RFC 9106, section 4, second choice."""

SHORTEST: Final = 12
LONGEST: Final = 1024

Result = TypeVar("Result")


class Passwords:
    """Hashes and checks; each takes some 50 ms and 64 MiB, so at most two run at a time."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher.from_parameters(COST)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="argon2")
        self._nobody = _hash_of_nobody()

    async def hash(self, password: str) -> str:
        """Return the hash to keep; Invalid (`weak_password`) if it is too short or too long."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise Invalid(
                f"a password has {SHORTEST} to {LONGEST} characters", code="weak_password"
            )
        return await self._run(self._hasher.hash, password)

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Return whether the password fits; None stands for an account that doesn't exist."""
        # A longer one can't be right; hashing it would only be work for the asker's sake.
        fits = await self._run(self._fits, password[:LONGEST], hashed or self._nobody)
        return fits and hashed is not None and len(password) <= LONGEST

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fits(self, password: str, hashed: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, function: Callable[..., Result], *arguments: str) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _hash_of_nobody() -> str:
    """Return a hash in argon2's own form that costs as much to check as any, drawn by lot: no
    password has it, and no start waits for it.
    """
    parts = (
        f"m={COST.memory_cost},t={COST.time_cost},p={COST.parallelism}",
        *(_drawn(COST.salt_len), _drawn(COST.hash_len)),
    )
    return "$".join(("", "argon2id", f"v={COST.version}", *parts))


def _drawn(length: int) -> str:
    return b64encode(secrets.token_bytes(length)).rstrip(b"=").decode("ascii")
