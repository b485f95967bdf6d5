"""Tokens of people who hold what a test says, as if they had logged in to a running server."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from shared.access.permissions import ROLES, current_role
from shared.auth.identity import Grant, GrantSource, Subject
from shared.auth.tokenkeys import KeyFolder
from shared.auth.tokens import TokenIssuer
from shared.clock import Clock, SystemClock
from shared.login.keyring import KEYS as KEY_RECORDS
from shared.login.keyring import Published, signer
from shared.login.logins import KEYS, Logins
from shared.login.session_records import SESSIONS, Session
from shared.store.contract import Transaction
from shared.store.sql import open_store

_MARK = "test:"


class GivenRoles:
    """A GrantSource that gives what another one gives, and what a test's groups say."""

    def __init__(self, beneath: GrantSource) -> None:
        self._beneath = beneath

    @property
    def generation(self) -> int:
        return self._beneath.generation

    def grants_of(self, subject: Subject) -> tuple[Grant, ...]:
        given = [_grant(each) for each in sorted(subject.groups) if each.startswith(_MARK)]
        groups = frozenset(each for each in subject.groups if not each.startswith(_MARK))
        return (*given, *self._beneath.grants_of(replace(subject, groups=groups)))


def token_for(
    logins: Logins,
    clock: Clock,
    *roles: str,
    tenants: Sequence[str] | None = None,
    subject: str = "user:test",
    lifetime: timedelta = timedelta(hours=8),
) -> str:
    """Return a token for a session that only this process knows, of a server that has started.

    `lifetime` is the token's; the session has eight hours.
    """
    callers = logins.callers
    if not isinstance(callers._grants, GivenRoles):
        callers._grants = GivenRoles(callers._grants)
    now = clock.now()
    where = "*" if tenants is None else ",".join(tenants)
    session = Session(
        id=secrets.token_hex(16),
        identity=subject,
        username=subject.removeprefix("user:"),
        display_name=subject,
        provider="local",
        groups=frozenset(f"{_MARK}{role}:{where}" for role in roles),
        roles=(),
        created_at=now,
        expires_at=now + timedelta(hours=8),
        store=callers.store_id,
    )
    callers.remember(session)
    ring = logins.ring
    key_id = signer(ring.keys, ring._folder.owner, now=now)
    assert key_id is not None, "the server has started"
    issued = logins.sessions._issuer.issue(
        ring._private[key_id], subject=subject, session=session.id, lifetime=lifetime
    )
    return issued.text


async def stored_token(data: Path, person: str, roles: Sequence[str], *, server: str) -> str:
    """Return a token of a session written beside a server that runs as a process of its own."""
    clock = SystemClock()
    store = await open_store(f"sqlite:///{data}/fsm.sqlite", clock=clock)
    try:
        folder = KeyFolder(data / KEYS)
        async with store.snapshot() as snapshot:
            records = await snapshot.records(KEY_RECORDS)
        keys = {key_id: Published.from_record(each) for key_id, each in records.items()}
        now = clock.now()
        key_id = signer(keys, folder.owner, now=now)
        assert key_id is not None, "the server has started"
        session = Session(
            id=secrets.token_hex(16),
            identity=f"user:{person}",
            username=person,
            display_name=person,
            provider="local",
            groups=frozenset(),
            roles=tuple(roles),
            created_at=now,
            expires_at=now + timedelta(hours=8),
            store=str((await store.position()).incarnation),
        )

        async def unit(transaction: Transaction) -> None:
            await transaction.put_record(SESSIONS, session.id, session.to_record())

        await store.transact(unit)
        issuer = TokenIssuer(server, clock=clock)
        lifetime = timedelta(hours=8)
        return issuer.issue(
            folder.keys()[key_id], subject=session.identity, session=session.id, lifetime=lifetime
        ).text
    finally:
        await store.close()


def _grant(mark: str) -> Grant:
    role, _, where = mark.removeprefix(_MARK).partition(":")
    role = current_role(role)
    tenants = None if where == "*" else frozenset(filter(None, where.split(",")))
    return Grant(role, ROLES[role], tenants=tenants)
