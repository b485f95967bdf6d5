"""What preparing a server's folder has in common, whichever server it is."""

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from getpass import getpass
from pathlib import Path
from typing import Any, Final

from shared.auth.passwords import Passwords
from shared.clock import SystemClock
from shared.errors import Invalid
from shared.failpoints import failpoint
from shared.model.documents import dump_yaml
from shared.objects.accounts import create_account
from shared.store.sql import open_store

PASSWORD_VARIABLE: Final = "HANSE_ADMIN_PASSWORD"  # noqa: S105 - the variable's name


@dataclass(frozen=True, slots=True)
class NewPassword:
    """An administrator's password; a made one is told once."""

    text: str = field(repr=False)
    is_made: bool

    def told(self, user: str) -> str:
        """Return the sentence that tells it, or where it came from."""
        keep = "Keep it safe: once a directory lets people in, it is for emergencies only."
        if self.is_made:
            return f"Administrator: {user}\nPassword (shown once): {self.text}\n{keep}"
        return f"Administrator: {user}, with the password that was given. {keep}"


def new_password(file: Path | None) -> NewPassword:
    """Return the password of a file, the environment or a terminal; else a made one."""
    if file is not None:
        return NewPassword(_strip(file.read_text("utf-8")), is_made=False)
    if given := os.environ.get(PASSWORD_VARIABLE):
        return NewPassword(given, is_made=False)
    if sys.stdin.isatty():
        first = getpass("Password for the administrator (empty: make one): ")
        if first:
            if getpass("Again: ") != first:
                raise Invalid("the two passwords differ", code="wrong_password")
            return NewPassword(first, is_made=False)
    return NewPassword(secrets.token_urlsafe(18), is_made=True)


def read_token(text: str) -> str:
    """Return a join token given as text, or from standard input for `-`."""
    if text != "-":
        return text
    if sys.stdin.isatty():
        return getpass("Join token: ")
    return sys.stdin.readline()


def parse_listen(text: str) -> tuple[str, int]:
    """Return address and port of HOST:PORT, an IPv6 address in brackets or bare; Invalid."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > 65535 or not host:
        raise Invalid(
            f"{text!r} is no address to serve at: write HOST:PORT, for example 0.0.0.0:8443",
            code="invalid_address",
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def create_folder(path: Path) -> None:
    """Make a folder that only its owner may enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


async def create_store(url: str, *, admin: str, password: str) -> None:
    """Make a store with its first administrator; Invalid (`invalid_name`, `weak_password`)."""
    clock = SystemClock()
    store = await open_store(url, clock=clock, create=True)
    passwords = Passwords()
    try:
        # A second try after one that was cut short has the account already.
        await create_account(store, admin, password, passwords=passwords, clock=clock, replace=True)
    finally:
        passwords.close()
        await store.close()


def store_settings(path: Path, values: Mapping[str, Any]) -> None:
    """Write settings as YAML, durably and whole; only their owner may read them."""
    draft = path.with_name(f".{path.name}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        failpoint("settings.created")
        file.write(dump_yaml(dict(values)))
        file.flush()
        os.fsync(file.fileno())
    failpoint("settings.synced")
    draft.replace(path)
    failpoint("settings.replaced")


def _strip(text: str) -> str:
    stripped = text.removesuffix("\n").removesuffix("\r")
    if not stripped:
        raise Invalid("the password file is empty", code="weak_password")
    return stripped
