"""How each call reaches the audit trail: every one leaves a record, allowed or refused.

A write carries its record in its own transaction (shared.objects.service).  Whatever else is
answered is recorded here when its answer stands, with how long it took: a handler notes what it
read, and `answered` makes an entry of it, or of the route if nothing was noted.  Entries become
records when shared.audit.reads writes them, so that a request pays for little.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from aiohttp import web

from shared.access.authorize import authorize
from shared.access.permissions import Permission, reading, writing
from shared.audit.reads import ReadTrail
from shared.auth.identity import Caller, CallerKind
from shared.clock import Clock
from shared.errors import HanseError, TooManyRequests
from shared.http.authentication import address_of
from shared.http.keys import BEGUN, ROUTE_TABLE
from shared.http.request import request_id, trace_id
from shared.ids import Key
from shared.metrics.names import Metrics
from shared.model.kinds import KINDS
from shared.objects.call import CALL, Call
from shared.store.contract import AuditRecord, Store

_LONGEST: Final = 500
"""Characters of what somebody sent that a record repeats."""

EMERGENCY: Final = "break-glass"
"""Begins the authority of everything that a break-glass account does."""


class Entry(NamedTuple):
    """What is left of a request until it becomes a record."""

    at: datetime
    caller: Caller
    request_id: str
    trace_id: str | None
    action: str
    outcome: str
    reason: str | None
    permission: Permission | None
    tenant: str | None
    key: Key | None
    seconds: float | None


class Trail:
    def __init__(self, *, store: Store, clock: Clock, metrics: Metrics | None = None) -> None:
        self._clock = clock
        self._reads: ReadTrail[Entry | AuditRecord] = ReadTrail(
            store, records_of=_records_of, clock=clock, metrics=metrics or Metrics()
        )

    async def run(self) -> None:
        """Write what is gathered until cancelled; then close()."""
        await self._reads.run()

    async def close(self) -> None:
        """Write the last of it."""
        await self._reads.close()

    async def flush(self) -> None:
        """Write all that is gathered now; Unavailable."""
        await self._reads.flush()

    async def read(
        self,
        call: Call,
        action: str,
        kind: str,
        *,
        tenant: str | None = None,
        key: Key | None = None,
    ) -> None:
        """Note that a caller was shown objects of a kind; `action` is get, list and so on."""
        call.note = (action, kind, tenant, key)

    async def refused(
        self, call: Call, action: str, error: HanseError, *, key: Key | None = None
    ) -> None:
        """Record that a known caller was refused."""
        permission = writing(key.kind) if key and key.kind in KINDS else None
        entry = self._entry(
            call,
            action,
            outcome=error.code,
            reason=error.recorded[:_LONGEST],
            permission=permission,
            tenant=key.tenant if key else None,
            key=key,
        )
        self._reads.append(entry)
        call.is_refused = True

    async def login(
        self,
        request_id: str,
        identity: str,
        address: str | None,
        *,
        outcome: str,
        reason: str | None = None,
    ) -> None:
        """Record an attempt to log in; those beyond the limit only count.

        `reason` says which provider vouched or refused.
        """
        if outcome == TooManyRequests.default_code:
            self._reads.stranger(address, outcome, "login", request_id)
            return
        record = AuditRecord(
            at=self._clock.now(),
            request_id=request_id,
            identity=identity[:200],
            action="login",
            outcome=outcome,
            source_address=address,
            reason=reason[:500] if reason else None,
        )
        self._reads.append(record)

    def answered(
        self, request: web.Request, caller: Caller | None, error: BaseException | None
    ) -> None:
        """Record a request that has been answered, unless that is done already.

        Those of nobody known, and those beyond a limit, are only counted: a flood of calls must
        not become one of records.
        """
        if caller is None or isinstance(error, TooManyRequests):
            self._stranger(request, error)
            return
        call = request.get(CALL)
        if call is None:
            call = Call(caller, request_id(request), trace_id(request), begun=request.get(BEGUN))
        if error is None:
            if call.is_recorded:
                return
            if call.note is not None:
                action, kind, tenant, key = call.note
                begun = call.begun
                entry = Entry(
                    self._clock.now(),
                    caller,
                    call.request_id,
                    call.trace_id,
                    action,
                    "ok",
                    None if key else f"{action} {kind}",
                    reading(kind) if kind in KINDS else Permission.READ_AUDIT,
                    key.tenant if key else tenant,
                    key,
                    None if begun is None else self._clock.monotonic() - begun,
                )
                self._reads.append(entry)
                return
        elif call.is_refused:
            return
        outcome, reason = _outcome_of(error)
        self._reads.append(self._of_route(request, call, outcome, reason))

    def opened(self, request: web.Request, caller: Caller) -> None:
        """Record that a stream begins; when it ends, answered() says for how long it went on."""
        call = Call(caller, request_id(request), trace_id(request))
        self._reads.append(self._of_route(request, call, "opened", None))

    def record(
        self,
        call: Call,
        action: str,
        *,
        key: Key | None = None,
        tenant: str | None = None,
        outcome: str = "ok",
        reason: str | None = None,
        diff: dict[str, object] | None = None,
        permission: Permission | None = None,
    ) -> AuditRecord:
        """Return a record of what the call does, for a transaction to append.

        `permission` is by which it may; left out, that of writing objects of the key's kind.
        """
        call.is_recorded = True
        if permission is None and key and key.kind in KINDS:
            permission = writing(key.kind)
        entry = self._entry(
            call,
            action,
            outcome=outcome,
            reason=reason,
            permission=permission,
            tenant=key.tenant if key else tenant,
            key=key,
        )
        record = _record_of(entry, _authority(entry))
        record.diff = diff or {}
        return record

    def taken_back(self, call: Call) -> None:
        """Note that what was recorded of a call was not committed, as of a dry run."""
        call.is_recorded = False

    def _stranger(self, request: web.Request, error: BaseException | None) -> None:
        if error is None:
            return
        known = isinstance(error, HanseError)
        outcome = error.code if isinstance(error, HanseError) else _outcome_of(error)[0]
        what = f"{request.method} {request.path}" if known else request.method
        self._reads.stranger(address_of(request), outcome, what[:_LONGEST], request_id(request))

    def _of_route(
        self, request: web.Request, call: Call, outcome: str, reason: str | None
    ) -> Entry:
        route = request.app[ROUTE_TABLE].get(request.match_info.route)
        resource = request.match_info.route.resource
        pattern = resource.canonical if resource else "unknown"
        path = request.path
        # What it was about, if the route alone doesn't say.
        about = path[:_LONGEST] if resource and path != pattern else None
        permission = route.permission if route else None
        return self._entry(
            call,
            f"{request.method} {pattern}",
            outcome=outcome,
            reason=": ".join(part for part in (about, reason) if part) or None,
            permission=permission if isinstance(permission, Permission) else None,
        )

    def _entry(
        self,
        call: Call,
        action: str,
        *,
        outcome: str,
        reason: str | None,
        permission: Permission | None,
        tenant: str | None = None,
        key: Key | None = None,
    ) -> Entry:
        begun = call.begun
        return Entry(
            self._clock.now(),
            call.caller,
            call.request_id,
            call.trace_id,
            action,
            outcome,
            reason,
            permission,
            tenant,
            key,
            None if begun is None else self._clock.monotonic() - begun,
        )


def _outcome_of(error: BaseException | None) -> tuple[str, str | None]:
    match error:
        case None:
            return "ok", None
        case HanseError():
            return error.code, error.recorded[:_LONGEST]
        case web.HTTPException():
            return f"http_{error.status}", None
        case asyncio.CancelledError() | ConnectionError():
            return "left", "whoever asked left before the end"
    return "internal", None


def _records_of(entries: Sequence[Entry | AuditRecord]) -> Sequence[AuditRecord]:
    """Make records of entries; those of one caller and one permission share their authority."""
    known: dict[tuple[int, Permission | None, str | None, str | None], str | None] = {}
    records: list[AuditRecord] = []
    for entry in entries:
        if isinstance(entry, AuditRecord):
            records.append(entry)
            continue
        key = entry.key
        # By the caller's own place in memory: the entries hold on to it.
        asked = (id(entry.caller), entry.permission, entry.tenant, key.scope if key else None)
        if asked not in known:
            known[asked] = _authority(entry)
        records.append(_record_of(entry, known[asked]))
    return records


def _record_of(entry: Entry, authority: str | None) -> AuditRecord:
    caller = entry.caller
    return AuditRecord(
        entry.at,
        entry.request_id,
        caller.identity,
        entry.action,
        entry.outcome,
        entry.tenant,
        entry.key,
        caller.address,
        {},
        entry.reason,
        None,
        entry.trace_id,
        authority,
        caller.credential,
        entry.seconds,
    )


def _authority(entry: Entry) -> str | None:
    """Return why something was permitted: the role and its binding; None if by none."""
    caller, permission = entry.caller, entry.permission
    authority = None
    if caller.kind is CallerKind.COMPONENT:
        authority = "certificate"
    elif permission is not None:
        scope = entry.key.scope if entry.key else None
        decision = authorize(caller, permission, tenant=entry.tenant, scope=scope)
        # One that is bound to labels is found when no object is asked about.
        grant = decision.grant or authorize(caller, permission).grant
        authority = grant.authority if grant else None
    if not caller.is_emergency:
        return authority
    return f"{EMERGENCY}, {authority}" if authority else EMERGENCY
