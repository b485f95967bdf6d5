"""Whom a token stands for, and what he may do now.

A token seen before is found in memory and costs a look-up and a few comparisons.  What is
remembered never outlives what it rests on: the token's own times; the grants of its subject, which
are worked out anew as soon as the roles' generation moves; a revocation, which drops it in the
process that is told at once, and in others at their next reading (`read`, every few seconds).  A
process that couldn't read for too long asks the store before it lets anybody in.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from shared.access.permissions import ROLES, current_role
from shared.auth.identity import Caller, CallerKind, Grant, GrantSource, Subject
from shared.auth.tokens import TokenVerifier, expired, from_the_future, key_id_of
from shared.clock import Clock
from shared.errors import Gone, Unauthenticated, Unavailable
from shared.ids import COMMON, Incarnation
from shared.login.keyring import KeyRing
from shared.login.programs import PREFIX, PROGRAMS, Program, ProgramToken
from shared.login.reread import Reread
from shared.login.session_records import ENDED, SESSIONS, Session
from shared.store.contract import Store

REMEMBERED: Final = 8192
"""Tokens; each takes about 2 KiB."""

FRESH: Final = 5.0
"""Seconds between two readings of what has ended."""

_ENDED: Final = {"ended": True}

STALE: Final = 50.0
"""Seconds; what was read longer ago doesn't count.  A revocation is to count within a minute."""


@dataclass(slots=True)
class _Known:
    """A token that was good, and what it rests on.

    `program` is a service account's; its account is looked at again now and then.
    """

    text: str
    subject: Subject
    caller: Caller
    begins_at: datetime
    ends_at: datetime
    generation: int
    key: str | None = None
    session: Session | None = None
    program: Program | None = None
    checked_at: float = 0.0


class Callers:
    """A shared.http.authentication.BearerVerifier.  read() it once before, and now and then."""

    def __init__(
        self,
        store: Store,
        *,
        ring: KeyRing,
        verifier: TokenVerifier,
        grants: GrantSource,
        clock: Clock,
    ) -> None:
        self._store = store
        self._ring = ring
        self._verifier = verifier
        self._grants = grants
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._by_credential: dict[str, _Known] = {}
        self._of_session: dict[str, set[str]] = {}
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._ended: Mapping[str, Mapping[str, Any]] = {}
        self._ended_here: dict[str, float] = {}
        self._live: frozenset[str] = frozenset()
        self._store_id: Incarnation | None = None
        self._read_at = float("-inf")
        self._reread = Reread(self.read, clock=clock)

    async def __call__(self, token: str) -> Caller:
        """Return the caller that a token stands for.

        Unauthenticated (`invalid_token`, `token_expired`, `token_revoked`); Unavailable.
        """
        known = self._known.get(token)
        if known is not None and known.generation == self._grants.generation:
            now = self._clock.now()
            since = self._clock.monotonic()
            if (
                known.begins_at <= now < known.ends_at
                and since - self._read_at < STALE
                and (known.program is None or since - known.checked_at < FRESH)
            ):
                self._known.move_to_end(token)
                return known.caller
        return await self._resolve(token, known)

    def subject_of(self, caller: Caller) -> Subject | None:
        """Return whom bindings may mean by a caller who has just shown a token of this server."""
        known = self._by_credential.get(caller.credential or "")
        return None if known is None else known.subject

    def recheck(self, caller: Caller) -> None:
        """Raise if a caller may not go on with a stream that he has begun.

        Unauthenticated (`token_revoked`), or Gone (`view_changed`) if what he may see is another
        by now: whoever comes again and lists is told all that it is now.  Unavailable
        (`database_busy`) if for too long nobody could read what has been revoked.
        """
        if caller.kind is CallerKind.COMPONENT or caller.credential is None:
            return
        if self._clock.monotonic() - self._read_at >= STALE:
            raise Unavailable(
                "this server can't read what has been revoked; come back in a moment",
                code="database_busy",
            )
        known = self._by_credential.get(caller.credential)
        if known is None:
            self._check_ended(f"token:{caller.credential}", f"session:{caller.session}")
            self._check_ended(f"program:{caller.credential}")
            raise _view_changed()
        self._known.move_to_end(known.text)
        if known.generation != self._grants.generation:
            self._regrant(known)
        held = known.caller.grants
        if caller.grants is not held and caller.grants != held:
            raise _view_changed()

    async def read(self) -> None:
        """Read what other processes have ended or changed; raises what Store.snapshot raises."""
        began = self._clock.monotonic()
        async with self._store.snapshot() as snapshot:
            await self._ring.read(snapshot)
            ended = await snapshot.records(ENDED)
            store_id = snapshot.position.incarnation
        # What was ended here meanwhile isn't in the snapshot.
        self._ended_here = {name: at for name, at in self._ended_here.items() if at >= began}
        self._take({**ended, **dict.fromkeys(self._ended_here, _ENDED)}, store_id)
        self._read_at = began

    def remember(self, session: Session) -> None:
        """Take in a session that this process has just written."""
        before = self._sessions.pop(session.id, None)
        self._sessions[session.id] = session
        if len(self._sessions) > REMEMBERED:
            self._sessions.popitem(last=False)
        if before is not None and _facts(before) != _facts(session):
            self._drop(self._of_session.get(session.id, ()))

    def end(self, *names: str) -> None:
        """Let what this process has just ended count no longer, by its names in ENDED."""
        self._ended_here |= dict.fromkeys(names, self._clock.monotonic())
        self._ended = {**self._ended, **dict.fromkeys(names, _ENDED)}
        self._forget(names)

    @property
    def store_id(self) -> str:
        """The incarnation of the store whose sessions count."""
        return str(self._store_id)

    async def _resolve(self, token: str, known: _Known | None) -> Caller:
        if self._clock.monotonic() - self._read_at >= STALE:
            await self._reread()
            known = self._known.get(token)
        if known is not None and known.program is None:
            self._check_times(known)
            self._regrant(known)
            return known.caller
        made = await (self._program(token) if token.startswith(PREFIX) else self._person(token))
        # While we waited it may have been revoked.
        self._check(made)
        self._keep(made)
        return made.caller

    async def _person(self, token: str) -> _Known:
        key = await self._ring.find(key_id_of(token))
        claims = self._verifier.verify(token, key)
        session = await self._session(claims.session)
        if session is None or session.identity != claims.subject:
            raise _revoked()
        subject = Subject(CallerKind.PERSON, session.username, session.groups)
        own = _grants_of_roles(session)
        generation = self._grants.generation
        ends_at = min(claims.expires_at, session.expires_at)
        caller = Caller(
            kind=CallerKind.PERSON,
            identity=session.identity,
            display_name=session.display_name,
            grants=_united(own, self._grants.grants_of(subject)),
            expires_at=ends_at,
            session=session.id,
            credential=claims.id,
            is_emergency=session.is_emergency,
        )
        return _Known(
            text=token,
            subject=subject,
            caller=caller,
            begins_at=claims.begins_at,
            ends_at=ends_at,
            generation=generation,
            key=key.id,
            session=session,
        )

    async def _session(self, name: str) -> Session | None:
        """Return a session that counts, from memory or the store."""
        self._check_ended(f"session:{name}")
        found = self._sessions.get(name)
        if found is None:
            async with self._store.snapshot() as snapshot:
                record = await snapshot.record(SESSIONS, name)
                self._store_id = snapshot.position.incarnation
            if record is None:
                return None
            found = Session.from_record(name, record)
            if found.store != self.store_id:
                return None
            self.remember(found)
        return found if self._clock.now() < found.expires_at else None

    async def _program(self, token: str) -> _Known:
        presented = ProgramToken.parse(token)
        async with self._store.snapshot() as snapshot:
            record = await snapshot.record(PROGRAMS, presented.id)
            program = Program.from_record(presented.id, record) if record else None
            if program is None or not program.is_of(presented):
                # Whoever has the right id but another secret is told no more than others.
                raise Unauthenticated(
                    "the token is not accepted: it was never given out, or is revoked",
                    code="token_revoked",
                )
            account = await snapshot.get(program.account)
        if not program.counts_for(account):
            raise Unauthenticated(
                f"the service account {program.subject} is disabled, or is no more",
                code="token_revoked",
            )
        now = self._clock.now()
        if now >= program.expires_at:
            raise expired()
        subject = Subject(CallerKind.SERVICE_ACCOUNT, program.subject)
        generation = self._grants.generation
        caller = Caller(
            kind=CallerKind.SERVICE_ACCOUNT,
            identity=program.identity,
            display_name=program.subject,
            grants=_bound(self._grants.grants_of(subject), program.account.tenant),
            expires_at=program.expires_at,
            credential=program.id,
        )
        before = self._by_credential.get(program.id)
        if before is not None and before.caller == caller:
            caller = before.caller
        return _Known(
            text=token,
            subject=subject,
            caller=caller,
            begins_at=program.created_at,
            ends_at=program.expires_at,
            generation=generation,
            program=program,
            checked_at=self._clock.monotonic(),
        )

    def _regrant(self, known: _Known) -> None:
        generation = self._grants.generation
        if known.generation == generation:
            return
        held = self._grants.grants_of(known.subject)
        if known.program is not None:
            held = _bound(held, known.program.account.tenant)
            # Perhaps the account was disabled: an open stream looks here, and the next call must
            # not take what it found for all that there is to know.
            known.checked_at = float("-inf")
        elif known.session is not None:
            held = _united(_grants_of_roles(known.session), held)
        known.generation = generation
        if held != known.caller.grants:
            known.caller = replace(known.caller, grants=held)

    def _keep(self, made: _Known) -> None:
        credential = made.caller.credential or ""
        # One token may be spelled in several ways; only one of them is known at a time, so that
        # all are forgotten together.
        self._drop([credential])
        self._known[made.text] = made
        self._by_credential[credential] = made
        if made.session is not None:
            self._of_session.setdefault(made.session.id, set()).add(credential)
        if len(self._known) > REMEMBERED:
            self._drop([next(iter(self._known.values())).caller.credential or ""])

    def _check(self, known: _Known) -> None:
        self._check_ended(*_names_of(known))
        if known.key is not None and known.key not in self._ring.live:
            raise _revoked()
        self._check_times(known)

    def _check_times(self, known: _Known) -> None:
        now = self._clock.now()
        if now >= known.ends_at:
            self._drop([known.caller.credential or ""])
            raise expired()
        if now < known.begins_at:
            raise from_the_future()

    def _check_ended(self, *names: str) -> None:
        for name in names:
            if self._ended.get(name, {}).get("ended"):
                raise _revoked()

    def _take(self, ended: Mapping[str, Mapping[str, Any]], store_id: Incarnation) -> None:
        before, self._ended = self._ended, ended
        self._forget(name for name, each in ended.items() if before.get(name) != each)
        if self._store_id is not None and store_id != self._store_id:
            # The store was restored beneath: no login of before counts.
            self._sessions.clear()
            self._drop([*self._by_credential])
        self._store_id = store_id
        live = self._ring.live
        if live != self._live:
            self._live = live
            self._drop(
                name
                for name, each in tuple(self._by_credential.items())
                if each.key is not None and each.key not in live
            )

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            what, _, found = name.partition(":")
            if what == "session":
                self._sessions.pop(found, None)
                self._drop(self._of_session.get(found, ()))
            else:
                self._drop([found])

    def _drop(self, credentials: Iterable[str]) -> None:
        for credential in tuple(credentials):
            gone = self._by_credential.pop(credential, None)
            if gone is None:
                continue
            self._known.pop(gone.text, None)
            if gone.session is not None:
                others = self._of_session.get(gone.session.id, set())
                others.discard(credential)
                if not others:
                    self._of_session.pop(gone.session.id, None)


def _names_of(known: _Known) -> tuple[str, ...]:
    if known.program is not None:
        return (f"program:{known.program.id}",)
    return (f"token:{known.caller.credential}", f"session:{known.caller.session}")


def _facts(session: Session) -> tuple[Any, ...]:
    """Return all of a session that its callers are made of."""
    return (
        session.identity,
        session.username,
        session.display_name,
        session.groups,
        session.roles,
        session.is_emergency,
        session.expires_at,
    )


def _grants_of_roles(session: Session) -> tuple[Grant, ...]:
    return tuple(
        Grant(role, ROLES[role]) for role in map(current_role, session.roles) if role in ROLES
    )


def _united(own: tuple[Grant, ...], bound: tuple[Grant, ...]) -> tuple[Grant, ...]:
    return tuple(dict.fromkeys((*own, *bound))) if own else bound


def _bound(grants: tuple[Grant, ...], tenant: str) -> tuple[Grant, ...]:
    """Keep a tenant's program within the tenant where a binding says `*`."""
    if tenant == COMMON:
        return grants
    return tuple(
        replace(each, tenants=frozenset({tenant})) if each.tenants is None else each
        for each in grants
    )


def _revoked() -> Unauthenticated:
    return Unauthenticated(
        "the login has ended, or was revoked; log in again", code="token_revoked"
    )


def _view_changed() -> Gone:
    return Gone(
        "what you may see has changed; list again, and watch from there", code="view_changed"
    )
