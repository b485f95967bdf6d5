"""Somebody accepts a site's change request, or refuses it.

What is accepted is written as any person's write of the target is: his rights, the federation's
judgement, the audit record; the request is settled in the same transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from fsm.requests.receive import asked_spec
from shared.access.permissions import Permission
from shared.clock import Clock
from shared.errors import Conflict, NotFound, RevisionConflict
from shared.ids import Key, Revision
from shared.model.base import API_VERSION
from shared.model.documents import parse_value
from shared.model.override import ChangeRequest
from shared.objects.call import Call
from shared.objects.service import Objects, Options, Write, Written
from shared.objects.trail import Trail
from shared.policy.merging import exempted
from shared.store.contract import Draft, Snapshot, Store, Stored, Transaction

Sees = Callable[[Key, Mapping[str, str] | None], bool]
State = Literal["accepted", "refused"]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a person decides.

    `target_revision` is the target's as he saw it; without it, the target must still say what it
    said when the site asked.
    """

    state: State
    reason: str
    target_revision: Revision | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """An open request, and who decides it, how and when."""

    call: Call
    request: Stored
    ruling: Ruling
    at: datetime


class ChangeRequests:
    def __init__(self, store: Store, *, objects: Objects, trail: Trail, clock: Clock) -> None:
        self._store = store
        self._objects = objects
        self._trail = trail
        self._clock = clock

    async def rule(
        self,
        call: Call,
        key: Key,
        ruling: Ruling,
        *,
        sees: Sees,
        expected: Revision | None = None,
        dry_run: bool = False,
    ) -> Stored:
        """Accept or refuse; return the request as it is then, to a call that comes twice as well.

        `expected` is its revision as the person saw it.  NotFound; RevisionConflict; Conflict
        (`request_decided`, `base_moved`, `target_gone`); and whatever the write of the target is
        refused for.
        """
        async with self._store.snapshot() as snapshot:
            found = await _find(snapshot, key, sees)
            if _is_ruled_by(found, call, ruling):
                return found
            _check_open(found, expected)
            target = await snapshot.get(target_of(found))
        case = _Case(call, found, ruling, self._clock.now())
        if ruling.state == "refused":
            return await self._refuse(case, dry_run=dry_run)
        return await self._accept(case, _movable(found, target, ruling), dry_run=dry_run)

    async def _accept(self, case: _Case, target: Stored, *, dry_run: bool) -> Stored:
        settled: list[Stored] = []

        async def settle(transaction: Transaction, written: Sequence[Written]) -> None:
            revision = written[0].stored.revision
            settled[:] = [await self._settle(transaction, case, revision)]

        write = _write(target, case.request)
        options = Options(alongside=settle, reason=case.ruling.reason, dry_run=dry_run)
        applied = await self._objects.apply(case.call, [write], options)
        if applied.replayed or not settled:
            found = await self._objects.find(case.request.key)
            assert found is not None, "a request is never deleted while it is decided"
            return found
        return settled[0]

    async def _refuse(self, case: _Case, *, dry_run: bool) -> Stored:
        async def work(transaction: Transaction) -> Stored:
            found = await self._settle(transaction, case, None)
            if dry_run:
                raise _DryRunError(found)
            return found

        try:
            return (await self._store.transact(work)).result
        except _DryRunError as done:
            return done.found

    async def _settle(
        self, transaction: Transaction, case: _Case, revision: Revision | None
    ) -> Stored:
        request, ruling = case.request, case.ruling
        now = await transaction.get(request.key)
        if now is None or now.revision != request.revision:
            raise RevisionConflict(
                f"change request {request.key.name} has changed in this moment; look at it again"
            )
        spec = {
            **now.spec,
            "state": ruling.state,
            "answer": ruling.reason,
            "decidedBy": case.call.caller.identity,
            "decidedAt": case.at.isoformat(),
            "requestId": case.call.request_id,
            **({"revision": revision} if revision is not None else {}),
        }
        draft = Draft(
            key=now.key,
            spec=ChangeRequest.model_validate(spec).to_json(),
            labels=now.labels,
            annotations=now.annotations,
        )
        stored = await transaction.put(draft)
        record = self._trail.record(
            case.call,
            f"changerequest.{'accept' if ruling.state == 'accepted' else 'refuse'}",
            key=now.key,
            reason=ruling.reason,
            diff={"site": now.spec["site"], "target": now.spec["target"]},
            permission=Permission.DECIDE,
        )
        await transaction.audit(record)
        return stored


class _DryRunError(Exception):
    """Carries the result of a dry run out of the transaction that it undoes."""

    def __init__(self, found: Stored) -> None:
        self.found = found


def target_of(request: Stored) -> Key:
    """Return the key of what a request is about."""
    read = ChangeRequest.model_validate(request.spec)
    return Key(read.target.kind, read.target.tenant, read.scope, read.target.name)


async def _find(snapshot: Snapshot, key: Key, sees: Sees) -> Stored:
    found = await snapshot.get(key)
    if found is None or not sees(key, found.labels):
        raise NotFound(
            f"there is no change request {key.name}; `hanse changerequests list` shows all"
        )
    return found


def _is_ruled_by(request: Stored, call: Call, ruling: Ruling) -> bool:
    """Return whether this very call has decided it before: its answer was lost on the way."""
    spec = request.spec
    return (spec.get("state"), spec.get("decidedBy"), spec.get("requestId")) == (
        ruling.state,
        call.caller.identity,
        call.request_id,
    )


def _check_open(request: Stored, expected: Revision | None) -> None:
    name, state = request.key.name, request.spec.get("state", "open")
    if state != "open":
        raise Conflict(f"change request {name} is {state} already", code="request_decided")
    if expected is not None and request.revision != expected:
        raise RevisionConflict(
            f"change request {name} is at revision {request.revision}, not {expected}: it has "
            "changed since you saw it; look at it again"
        )


def _movable(request: Stored, target: Stored | None, ruling: Ruling) -> Stored:
    """Return the target, if what is asked may take its place as it is now."""
    if target is None:
        raise Conflict(
            f"{target_of(request)} is gone: there is nothing to change; refuse the request",
            code="target_gone",
        )
    seen = ruling.target_revision
    if seen is not None and seen != target.revision:
        raise RevisionConflict(
            f"{target.key} is at revision {target.revision}, not {seen}; look at it again"
        )
    base = request.spec["base"]
    moved = exempted(base["spec"]) != exempted(target.spec)
    if seen is None and moved:
        raise Conflict(
            f"{target.key} has changed since the site asked: it was at revision "
            f"{base['revision']} then, and is at {target.revision} now. What the site asks for "
            "would take that back; look at both, and accept it for that revision",
            code="base_moved",
        )
    return target


def _write(target: Stored, request: Stored) -> Write:
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": target.key.kind,
        "metadata": {
            "name": target.key.name,
            "tenant": target.key.tenant,
            "scope": target.key.scope,
            "labels": dict(target.labels),
            "annotations": dict(target.annotations),
        },
        "spec": asked_spec(target, request.spec["spec"]),
    }
    envelope, faults = parse_value(document)
    assert envelope is not None, faults
    return Write(target.key, envelope, target.revision)
