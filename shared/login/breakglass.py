"""The emergency account: one on each server, sealed while others can log in.

It is the administrator that `init` makes.  At first he logs in like any local user.  As soon as
somebody whom a directory vouches for, and who may do everything here, has logged in, the account
is sealed: from then on it opens only

- while every external provider of the policy that counts can't be reached.  They are asked at that
  very login; a refusal is an answer, so a directory that is there keeps it sealed;
- or from the host's console, by whoever may read the server's folder anyway.

Open means: for an hour, every action marked, an alert here and at the FSM.  Then it is sealed with
a new secret, which lies in a file of the server's folder that its owner alone may read.  Whoever
can block a server's way to its directory must still know the secret, and uses it up.
"""

import logging
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from shared.auth.passwords import Passwords
from shared.auth.providers.contract import Person
from shared.clock import Clock
from shared.errors import Conflict, NotFound
from shared.failpoints import failpoint
from shared.login.glass import (
    ACCOUNTS,
    SPACE,
    STATE,
    Asked,
    Glass,
    glass_in,
    may_open,
    text_of,
)
from shared.metrics.names import BREAK_GLASS_OPEN, Metrics
from shared.model.builtin_roles import GLOBAL_ADMIN
from shared.model.settings_policies import AuthenticationPolicy
from shared.store.contract import AuditRecord, Store, Transaction
from shared.tasks.loop import Outcome
from shared.telemetry.journal import Journal
from shared.telemetry.signals import Event, Severity

log = logging.getLogger(__name__)

FILE: Final = "break-glass"
"""The file in the server's folder with the secret that the last sealing made."""

ROLES: Final = (GLOBAL_ADMIN,)
"""What the account may do while it is open."""

OPEN_FOR: Final = timedelta(minutes=60)


class BreakGlass:
    """A reconciler as well: it seals the account when its hour is over."""

    name = "seal the emergency account"

    def __init__(
        self, store: Store, *, data: Path, passwords: Passwords, metrics: Metrics, clock: Clock
    ) -> None:
        self._store = store
        self._data = data
        self._passwords = passwords
        self._journal = Journal(metrics)
        self._gauge = metrics.gauge(BREAK_GLASS_OPEN)
        self._gauge.set(0)
        self._clock = clock
        self._told: datetime | None = None
        self.on_sealed: Callable[[], None] = lambda: None
        """Called when the account was sealed: whoever is in by it has to go."""

    async def glass(self) -> Glass | None:
        async with self._store.snapshot() as snapshot:
            return await glass_in(snapshot)

    async def log_in(
        self,
        username: str,
        password: str,
        *,
        policy: AuthenticationPolicy,
        asked: Sequence[Asked],
        address: str | None,
    ) -> tuple[Person, datetime] | None:
        """Return who it is and until when, if the account may open and this is its secret.

        The first to come opens it for an hour; those who come later have what is left of it.
        """
        async with self._store.snapshot() as snapshot:
            glass = await glass_in(snapshot)
            if glass is None or not may_open(glass, policy, asked, self._clock.now()):
                return None
            account = await snapshot.record(ACCOUNTS, glass.account)
        hashed = account["passwordHash"] if account and username == glass.account else None
        # Whoever asks for another name waits as long.
        if not await self._passwords.verify(password, hashed) or account is None:
            return None
        until = await self._open(str(account["passwordHash"]), asked, address)
        if until is None:
            return None
        shown = str(account.get("displayName") or glass.account)
        return Person(glass.account, shown, frozenset(), "local"), until

    async def seal_for(self, who: str) -> None:
        """Seal the account, since somebody whom a directory vouches for may do everything."""

        async def work(transaction: Transaction) -> bool:
            glass = await glass_in(transaction)
            if glass is None or glass.sealed_at is not None or glass.is_open(self._clock.now()):
                return False
            now = self._clock.now()
            sealed = replace(glass, sealed_at=now)
            await transaction.put_record(SPACE, STATE, sealed.to_record())
            message = f"{who} administers by the directory; the account {glass.account} is sealed"
            await transaction.audit(_record("seal break-glass", f"user:{who}", now, message))
            return True

        glass = await self.glass()
        if glass is not None and glass.sealed_at is None:
            committed = await self._store.transact(work)
            if committed.result:
                log.info("the first administrator is sealed as emergency account")
                self.on_sealed()

    async def reconcile(self) -> Outcome:
        """Tell of an account that is open, and seal it with a new secret when its hour is over."""
        glass = await self.glass()
        now = self._clock.now()
        if glass is None:
            return Outcome()
        self._place_secret(glass)
        if glass.open_until is None:
            self._gauge.set(0)
            return Outcome()
        if glass.is_open(now):
            self._alarm(glass)
            return Outcome()
        await self._seal_anew(glass)
        self._gauge.set(0)
        self.on_sealed()
        return Outcome(changed=1)

    async def _open(
        self, hashed: str, asked: Sequence[Asked], address: str | None
    ) -> datetime | None:
        """Open the account; None if it was sealed with another secret meanwhile."""
        now = self._clock.now()
        why = "; ".join(f"{each.provider}: {each.answer}" for each in asked) or "nobody to ask"

        async def work(transaction: Transaction) -> tuple[Glass, Event | None] | None:
            glass = await glass_in(transaction)
            account = await transaction.record(ACCOUNTS, glass.account) if glass else None
            if glass is None or account is None or account["passwordHash"] != hashed:
                return None
            if glass.is_open(now):
                return glass, None
            if glass.open_until is not None:
                # Its hour is over, and it is about to get a new secret.
                return None
            opened = replace(glass, opened_at=now, open_until=now + OPEN_FOR, opened_by="login")
            event = await _opened(
                transaction, opened, journal=self._journal, now=now, why=why, address=address
            )
            return opened, event

        result = (await self._store.transact(work)).result
        if result is None:
            return None
        glass, event = result
        if event is not None:
            self._journal.count(event)
        self._alarm(glass)
        return glass.open_until

    def _alarm(self, glass: Glass) -> None:
        self._gauge.set(1)
        if self._told != glass.opened_at:
            self._told = glass.opened_at
            log.critical(
                "the emergency account is open",
                extra={
                    "account": glass.account,
                    "opened_by": glass.opened_by,
                    "until": text_of(glass.open_until),
                },
            )

    async def _seal_anew(self, glass: Glass) -> None:
        secret, name = secrets.token_urlsafe(18), secrets.token_hex(4)
        hashed = await self._passwords.hash(secret)
        now = self._clock.now()
        # Before the store knows it: a secret that is nowhere would open nothing.
        _write(self._data / f".{FILE}.{name}", glass.account, secret)
        failpoint("break_glass.secret.written")

        async def work(transaction: Transaction) -> Event | None:
            before = await glass_in(transaction)
            if before != glass:
                return None
            sealed = Glass(account=glass.account, sealed_at=now, secret=name)
            await transaction.put_record(SPACE, STATE, sealed.to_record())
            account = dict(await transaction.record(ACCOUNTS, glass.account) or {})
            await transaction.put_record(
                ACCOUNTS, glass.account, {**account, "passwordHash": hashed}
            )
            message = f"the account {glass.account} is sealed, with a new secret in DATA/{FILE}"
            await transaction.audit(_record("seal break-glass", "system:break-glass", now, message))
            event = Event("break-glass.sealed", Severity.WARNING, now, message)
            await self._journal.add(transaction, event)
            return event

        event = (await self._store.transact(work)).result
        failpoint("break_glass.sealed")
        if event is None:
            (self._data / f".{FILE}.{name}").unlink(missing_ok=True)
            return
        self._journal.count(event)
        self._drop_drafts(name)
        self._place_secret(Glass(account=glass.account, secret=name))
        log.warning(
            "the emergency account is sealed with a new secret: take it, and delete the file",
            extra={"file": str(self._data / FILE)},
        )

    def _place_secret(self, glass: Glass) -> None:
        """Give the secret's file its name; again, should the server have died before."""
        if glass.secret is not None:
            draft = self._data / f".{FILE}.{glass.secret}"
            if draft.exists():
                draft.replace(self._data / FILE)

    def _drop_drafts(self, name: str) -> None:
        """Remove all but one draft: of what was begun before this sealing, none can count now.

        Not sooner: of a commit that broke off nobody knows yet whether it will have happened.
        """
        for draft in self._data.glob(f".{FILE}.*"):
            if draft.name != f".{FILE}.{name}":
                draft.unlink()


@dataclass(frozen=True, slots=True)
class OpenedByHand:
    """What whoever sits at the host's console is told, once."""

    account: str
    secret: str
    until: datetime


async def open_by_hand(
    store: Store,
    *,
    policy: AuthenticationPolicy,
    passwords: Passwords,
    metrics: Metrics,
    clock: Clock,
    reason: str,
    despite_policy: bool = False,
) -> OpenedByHand:
    """Open the emergency account for an hour, with a new secret, as who may read the folder.

    NotFound (`no_break_glass`); Conflict (`break_glass_forbidden`) if the policy that counts
    forbids it, unless `despite_policy`.
    """
    if policy.break_glass == "forbidden" and not despite_policy:
        raise Conflict(
            "the AuthenticationPolicy that counts says breakGlass: forbidden; who must get in all "
            "the same says so with --despite-policy, and it is recorded",
            code="break_glass_forbidden",
        )
    journal = Journal(metrics)
    secret = secrets.token_urlsafe(18)
    hashed = await passwords.hash(secret)
    now = clock.now()

    async def work(transaction: Transaction) -> Glass:
        glass = await glass_in(transaction)
        account = await transaction.record(ACCOUNTS, glass.account) if glass else None
        if glass is None or account is None:
            raise NotFound(
                "this server has no emergency account: it is made by init", code="no_break_glass"
            )
        opened = replace(
            glass,
            opened_at=now,
            open_until=now + OPEN_FOR,
            opened_by="console",
            despite_policy=despite_policy,
            secret=None,
        )
        changed = {**account, "passwordHash": hashed}
        await transaction.put_record(ACCOUNTS, glass.account, changed)
        why = f"from the console: {reason}"
        await _opened(transaction, opened, journal=journal, now=now, why=why)
        return opened

    glass = (await store.transact(work)).result
    return OpenedByHand(glass.account, secret, now + OPEN_FOR)


async def _opened(
    transaction: Transaction,
    glass: Glass,
    *,
    journal: Journal,
    now: datetime,
    why: str,
    address: str | None = None,
) -> Event:
    await transaction.put_record(SPACE, STATE, glass.to_record())
    identity = f"user:{glass.account}" if glass.opened_by == "login" else "system:console"
    record = replace(_record("open break-glass", identity, now, why[:500]), source_address=address)
    await transaction.audit(record)
    until = glass.open_until
    assert until is not None, "it is open"
    event = Event(
        "break-glass.opened",
        Severity.CRITICAL,
        now,
        f"the emergency account {glass.account} is open until {until:%Y-%m-%d %H:%M} UTC",
        code=f"by_{glass.opened_by}",
        fields={"until": text_of(glass.open_until)},
    )
    await journal.add(transaction, event)
    return event


def _record(action: str, identity: str, now: datetime, reason: str) -> AuditRecord:
    return AuditRecord(
        at=now,
        request_id=f"break-glass-{secrets.token_hex(8)}",
        identity=identity,
        action=action,
        outcome="ok",
        reason=reason,
    )


def _write(path: Path, account: str, secret: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"account: {account}\nsecret: {secret}\n")
        file.flush()
        os.fsync(file.fileno())
