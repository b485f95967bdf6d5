"""What seals Credentials where a test makes the services of objects by hand."""

from functools import cache

from shared.auth.passwords import Passwords
from shared.clock import Clock
from shared.login.secrets import Secrets
from shared.pki.sealing import SealingKey


def secrets_of(clock: Clock, key: bytes = b"k" * 32) -> Secrets:
    return Secrets(key=SealingKey(key), passwords=_passwords(), clock=clock)


@cache
def _passwords() -> Passwords:
    # Made once: each hashes a password that nobody has.
    return Passwords()
