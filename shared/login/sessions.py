"""Logins: begun with a password, prolonged with a refresh token, ended by anybody who may.

A session is a record of the store.  Each use of its refresh token gives another one; a used one
that comes again ends the session, since it is in two hands.  Whoever lost the answer may ask again
for a minute (session_records.GRACE).  At each renewal the person's provider is asked who he is by
now: his groups are taken over, and who is gone loses the session; a provider that can't be asked
leaves all as it is, until the session expires by itself.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

from shared.auth.providers.contract import ProviderUnreachable
from shared.auth.tokens import LEEWAY, IssuedToken, SigningKey, TokenIssuer, expired, refused
from shared.clock import Clock
from shared.errors import Unauthenticated, Unavailable
from shared.ids import Key
from shared.login.authentication import Authenticated
from shared.login.callers import Callers
from shared.login.end_records import names_of, remembered_until, write_ends
from shared.login.keyring import KeyRing
from shared.login.people import Lifetimes, People
from shared.login.programs import PROGRAMS, Program, ProgramToken
from shared.login.session_records import (
    ENDED,
    SESSIONS,
    RefreshToken,
    Session,
    digest,
    same_person,
)
from shared.store.contract import AuditRecord, Draft, Snapshot, Store, Transaction

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# What is lost of a session if the server dies between the answer and the client's disk.
_SHORTEST: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """The request in which somebody who isn't known yet asks for a token."""

    request_id: str
    address: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """What a login, or its renewal, gives."""

    session: Session
    access: IssuedToken
    refresh: str = field(repr=False)


class Sessions:
    def __init__(
        self,
        store: Store,
        *,
        ring: KeyRing,
        callers: Callers,
        issuer: TokenIssuer,
        people: People,
        clock: Clock,
    ) -> None:
        self._store = store
        self._ring = ring
        self._callers = callers
        self._issuer = issuer
        self._people = people
        self._clock = clock

    async def open(self, who: Authenticated, asked: Asked) -> Opened:
        """Begin a session of somebody who has just proved who he is; Unavailable, StorageFull."""
        lifetimes = await self._people.lifetimes()
        now = self._clock.now()
        ends_at = now + lifetimes.refresh
        if who.expires_at is not None:
            ends_at = min(ends_at, who.expires_at)
        refresh = RefreshToken.first(secrets.token_hex(16))
        person = who.person
        session = Session(
            id=refresh.session,
            identity=f"user:{person.username}",
            username=person.username,
            display_name=person.display_name or person.username,
            provider=person.provider,
            groups=person.groups,
            roles=who.roles,
            created_at=now,
            expires_at=ends_at,
            store="",
            address=asked.address,
            is_emergency=who.is_emergency,
            family=digest(refresh.family),
            latest=digest(refresh.secret),
        )
        lifetime = _lifetime(lifetimes, session, now)

        async def unit(transaction: Transaction) -> tuple[Session, SigningKey]:
            key = await self._ring.reserve(transaction, lifetime)
            written = replace(session, store=str(transaction.base.incarnation))
            await transaction.put_record(SESSIONS, written.id, written.to_record())
            return written, key

        session, key = await self._signing(unit)
        return self._opened(session, key, refresh, lifetime)

    async def renew(self, text: str, asked: Asked) -> Opened:
        """Take a refresh token for another one, and an access token.

        Unauthenticated: `invalid_token` (never given out), `token_revoked` (the session has
        ended), `token_reused` (this ends the session), `token_expired`; Unavailable.
        """
        used = RefreshToken.parse(text)
        if used is None:
            raise refused("it has not the form of a refresh token")
        async with self._store.snapshot() as snapshot:
            found = await self._judged(used, snapshot, asked)
        who = await self._now(found)
        if who is None:
            await self._end([found], self._record(found, asked, "end session", "account_gone"))
            raise Unauthenticated(
                "the account is gone, is disabled, or may not log in any longer",
                code="token_revoked",
            )
        lifetimes = await self._people.lifetimes()
        given = used.next()

        async def unit(transaction: Transaction) -> tuple[Session, SigningKey, timedelta] | None:
            now = self._clock.now()
            record = await transaction.record(SESSIONS, used.session)
            if record is None:
                return None
            session = Session.from_record(used.session, record)
            if session.judge(used, now=now) != "good":
                return None
            ends_at = session.expires_at
            if not session.is_emergency:
                ends_at = min(ends_at, session.created_at + lifetimes.refresh)
            if ends_at <= now:
                return None
            renewed = replace(
                session.rotated(used, given, now=now),
                display_name=who.display_name,
                groups=who.groups,
                expires_at=ends_at,
            )
            lifetime = _lifetime(lifetimes, renewed, now)
            key = await self._ring.reserve(transaction, lifetime)
            await transaction.put_record(SESSIONS, renewed.id, renewed.to_record())
            if (renewed.groups, renewed.display_name, renewed.expires_at) != (
                session.groups,
                session.display_name,
                session.expires_at,
            ):
                changed = {"until": remembered_until(session), "changedAt": now.isoformat()}
                await transaction.put_record(ENDED, f"session:{renewed.id}", changed)
            await transaction.audit(self._record(renewed, asked, "renew session", "ok"))
            return renewed, key, lifetime

        result = await self._signing(unit)
        if result is None:
            # Somebody else was quicker, or the policy lets logins live less long by now.
            async with self._store.snapshot() as snapshot:
                await self._judged(used, snapshot, asked)
            raise _ended()
        session, key, lifetime = result
        return self._opened(session, key, given, lifetime)

    async def sessions(self, identity: str | None = None) -> list[Session]:
        """Return the sessions that count, of one identity or all, the latest first."""
        now = self._clock.now()
        async with self._store.snapshot() as snapshot:
            found = await _all(snapshot)
            store = str(snapshot.position.incarnation)
        return sorted(
            (
                each
                for each in found
                if now < each.expires_at
                and each.store == store
                and identity in (None, each.identity)
            ),
            key=lambda each: (each.created_at, each.id),
            reverse=True,
        )

    async def find(self, session_id: str) -> Session | None:
        async with self._store.snapshot() as snapshot:
            record = await snapshot.record(SESSIONS, session_id)
        return Session.from_record(session_id, record) if record else None

    async def end(self, session: Session, record: AuditRecord) -> None:
        """End a session: its access tokens count no longer here, and within seconds elsewhere."""
        await self._end([session], record)

    async def end_all(
        self, identity: str, record: AuditRecord, *, told: Draft | None = None
    ) -> tuple[int, int]:
        """End all that an identity has: return how many sessions and how many programs' tokens.

        `told` is an object that commits with it: what tells other servers.
        """

        async def unit(transaction: Transaction) -> tuple[list[Session], list[Program]]:
            sessions = [
                each
                for each in await _all(transaction)
                if same_person(each.identity) == same_person(identity)
            ]
            programs = [
                each for each in await _all_programs(transaction) if each.identity == identity
            ]
            await write_ends(transaction, sessions, programs)
            if told is not None:
                await transaction.put(told)
            await transaction.audit(record)
            return sessions, programs

        sessions, programs = await self._committed(unit)
        self._callers.end(*names_of(sessions, programs))
        return len(sessions), len(programs)

    async def end_token(self, token_id: str, record: AuditRecord) -> None:
        """Let one access token count no longer; its session goes on."""
        until = self._clock.now() + self._ring.longest + 2 * LEEWAY
        name = f"token:{token_id}"

        async def unit(transaction: Transaction) -> None:
            await transaction.put_record(ENDED, name, {"ended": True, "until": until.isoformat()})
            await transaction.audit(record)

        await self._committed(unit)
        self._callers.end(name)

    async def create_program(
        self, account: Key, uid: str, *, lifetime: timedelta, description: str, record: AuditRecord
    ) -> tuple[Program, str]:
        """Make a token for a service account; its text is nowhere else."""
        token = ProgramToken.new()
        now = self._clock.now()
        program = Program(
            id=token.id,
            account=account,
            uid=uid,
            created_at=now,
            expires_at=now + lifetime,
            created_by=record.identity,
            description=description,
            secret=digest(token.secret),
        )

        async def unit(transaction: Transaction) -> None:
            await transaction.put_record(PROGRAMS, program.id, program.to_record())
            await transaction.audit(record)

        await self._committed(unit)
        return program, token.text

    async def programs(self, account: Key | None = None) -> list[Program]:
        """Return the tokens of service accounts, of one or all, the latest first."""
        async with self._store.snapshot() as snapshot:
            found = await _all_programs(snapshot)
        return sorted(
            (each for each in found if account in (None, each.account)),
            key=lambda each: (each.created_at, each.id),
            reverse=True,
        )

    async def find_program(self, program_id: str) -> Program | None:
        async with self._store.snapshot() as snapshot:
            record = await snapshot.record(PROGRAMS, program_id)
        return Program.from_record(program_id, record) if record else None

    async def end_program(self, program: Program, record: AuditRecord) -> None:
        async def unit(transaction: Transaction) -> None:
            await write_ends(transaction, [], [program])
            await transaction.audit(record)

        await self._committed(unit)
        self._callers.end(*names_of([], [program]))

    async def tidy(self) -> int:
        """Drop what has expired, and what belongs to accounts that are no more; how many."""

        async def unit(transaction: Transaction) -> int:
            now = self._clock.now()
            store = str(transaction.base.incarnation)
            over = [
                (SESSIONS, each.id)
                for each in await _all(transaction)
                if each.expires_at + LEEWAY <= now or each.store != store
            ]
            for each in await _all_programs(transaction):
                account = await transaction.get(each.account)
                if each.expires_at <= now or account is None or account.uid != each.uid:
                    over.append((PROGRAMS, each.id))
            over += [
                (ENDED, name)
                for name, record in (await transaction.records(ENDED)).items()
                if datetime.fromisoformat(record["until"]) <= now
            ]
            for space, name in over:
                await transaction.delete_record(space, name)
            return len(over)

        return await self._committed(unit)

    async def _judged(self, used: RefreshToken, snapshot: Snapshot, asked: Asked) -> Session:
        """Return the session that a refresh token is good for; Unauthenticated."""
        record = await snapshot.record(SESSIONS, used.session)
        if record is None or record["store"] != str(snapshot.position.incarnation):
            raise _ended()
        session = Session.from_record(used.session, record)
        now = self._clock.now()
        worth = session.judge(used, now=now)
        if worth == "forged":
            raise refused("it was never given out")
        if worth == "reused":
            log.warning(
                "a refresh token was used twice, its session is ended",
                extra={"identity": session.identity, "session": session.id},
            )
            await self._end([session], self._record(session, asked, "end session", "token_reused"))
            raise Unauthenticated(
                "this refresh token was used before, so it is in two hands: the login is ended; "
                "log in again",
                code="token_reused",
            )
        if now >= session.expires_at:
            raise expired()
        return session

    async def _now(self, session: Session) -> Session | None:
        """Return the session with what the person's provider says now; None if he is no more."""
        if session.is_emergency:
            return session
        try:
            person = await self._people.look_up(session.provider, session.username)
        except ProviderUnreachable as exc:
            fields = {"provider": session.provider, "reason": exc.message}
            log.info(
                "a login goes on with what is known, its provider can't be asked", extra=fields
            )
            return session
        except NotImplementedError:
            return session
        if person is None:
            return None
        return replace(
            session,
            display_name=person.display_name or person.username,
            groups=person.groups,
        )

    async def _end(self, sessions: Sequence[Session], record: AuditRecord) -> None:
        async def unit(transaction: Transaction) -> None:
            await write_ends(transaction, sessions, [])
            await transaction.audit(record)

        await self._committed(unit)
        self._callers.end(*names_of(sessions, []))

    def _opened(
        self, session: Session, key: SigningKey, refresh: RefreshToken, lifetime: timedelta
    ) -> Opened:
        token = self._issuer.issue(
            key, subject=session.identity, session=session.id, lifetime=lifetime
        )
        self._callers.remember(session)
        return Opened(session, token, refresh.text)

    def _record(self, session: Session, asked: Asked, action: str, outcome: str) -> AuditRecord:
        return AuditRecord(
            at=self._clock.now(),
            request_id=asked.request_id,
            identity=session.identity,
            action=action,
            outcome=outcome,
            source_address=asked.address,
            reason=f"session {session.id}",
            trace_id=asked.trace_id,
        )

    async def _signing(self, unit: Callable[[Transaction], Awaitable[Result]]) -> Result:
        """Commit a unit that reserves a key; once more if keys are being changed just now."""
        try:
            return await self._committed(unit)
        except Unavailable as exc:
            if exc.code != "no_signing_key":
                raise
        await self._ring.refresh()
        return await self._committed(unit)

    async def _committed(self, unit: Callable[[Transaction], Awaitable[Result]]) -> Result:
        done = await self._store.transact(unit)
        return done.result


def _lifetime(lifetimes: Lifetimes, session: Session, now: datetime) -> timedelta:
    return max(_SHORTEST, min(lifetimes.access, session.expires_at - now))


async def _all(view: Snapshot | Transaction) -> list[Session]:
    return [
        Session.from_record(name, each) for name, each in (await view.records(SESSIONS)).items()
    ]


async def _all_programs(view: Snapshot | Transaction) -> list[Program]:
    return [
        Program.from_record(name, each) for name, each in (await view.records(PROGRAMS)).items()
    ]


def _ended() -> Unauthenticated:
    return Unauthenticated(
        "the login has ended, or was revoked; log in again", code="token_revoked"
    )
