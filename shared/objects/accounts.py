"""Accounts of people, kept as the component's own records: the one that `init` makes."""

from collections.abc import Sequence
from typing import Any, Final

from shared.access.permissions import ADMIN
from shared.access.roles import ACCOUNTS
from shared.auth.passwords import Passwords
from shared.clock import Clock
from shared.errors import Conflict
from shared.ids import parse_name
from shared.login.glass import designate
from shared.store.contract import AuditRecord, Store, Transaction

SPACE: Final = ACCOUNTS


async def create_account(
    store: Store,
    username: str,
    password: str,
    *,
    passwords: Passwords,
    clock: Clock,
    roles: Sequence[str] = (ADMIN,),
    replace: bool = False,
) -> None:
    """Make an account, with its audit record in the same transaction.

    The first one is the server's emergency account as well: see shared.login.breakglass.

    Invalid (`invalid_name`, `weak_password`); Conflict (`account_exists`) unless `replace`.
    """
    parse_name(username)
    value: dict[str, Any] = {
        "passwordHash": await passwords.hash(password),
        "displayName": username,
        "roles": list(roles),
    }
    record = AuditRecord(
        at=clock.now(),
        request_id=f"create-account-{username}",
        identity="system:init",
        action="create account",
        outcome="ok",
        diff={"username": {"after": username}, "roles": {"after": list(roles)}},
    )

    async def unit(transaction: Transaction) -> None:
        if await transaction.record(SPACE, username) is not None and not replace:
            raise Conflict(f"there is an account {username} already", code="account_exists")
        await transaction.put_record(SPACE, username, value)
        await designate(transaction, username)
        await transaction.audit(record)

    await store.transact(unit)
