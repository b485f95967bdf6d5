"""A person settles a conflict, or puts it off.

What a decision writes (an exception gone, kept or merged, a rule narrowed) goes the way of every
write of a person: his rights, the site's judgement and the audit record.  The conflict is settled
in the same transaction, so that a kill leaves both or neither.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sdsp.conflicts.cases import (
    Case,
    Cases,
    Sees,
    check_open,
    check_revision,
    outdated,
    rebased,
    visible,
)
from sdsp.conflicts.deadlines import moment
from sdsp.conflicts.standing import rewritten
from shared.access.permissions import Permission
from shared.clock import Clock
from shared.errors import FieldError, Invalid, RevisionConflict
from shared.ids import Key, Revision
from shared.objects.call import Call
from shared.objects.service import Objects, Options, Written
from shared.objects.trail import Trail
from shared.policy.ways.contract import Terms
from shared.store.contract import ABSENT, Operation, Store, Stored, Transaction


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person decides; `expires_at` is when an exception that is kept ends, `digest` that of
    the proposal as it was shown.
    """

    proposal: str
    reason: str
    expires_at: datetime | None = None
    digest: str | None = None


class Decisions:
    def __init__(
        self, store: Store, *, objects: Objects, trail: Trail, clock: Clock, cases: Cases
    ) -> None:
        self._store = store
        self._objects = objects
        self._trail = trail
        self._clock = clock
        self.on_change: Callable[[], None] = lambda: None
        """Called when a conflict was settled, put off or taken up with the federation."""
        self._cases = cases

    async def decide(
        self,
        call: Call,
        key: Key,
        verdict: Verdict,
        *,
        sees: Sees,
        expected: Revision | None = None,
    ) -> Stored:
        """Settle a conflict; return it as it is then, to a call that comes twice as well.

        `expected` is its revision as the person saw it.  NotFound; Conflict (`conflict_resolved`,
        and `conflict_outdated` if what it is about has changed since it was found);
        RevisionConflict; Invalid (`proposal_not_offered`); and whatever the write that follows
        from the decision is refused for.
        """
        async with self._store.snapshot() as snapshot:
            found = await visible(snapshot, key, sees)
            if _is_decided_by(found, call, verdict):
                return found
            check_open(found, expected)
            terms = Terms(verdict.reason, verdict.expires_at)
            case = await self._cases.read(
                snapshot, found, verdict.proposal, terms, digest=verdict.digest
            )

        async def settle(transaction: Transaction, written: Sequence[Written]) -> None:
            await self._settle(transaction, call, case, verdict, written)

        try:
            if case.writes:
                options = Options(alongside=settle, reason=verdict.reason)
                await self._objects.apply(call, case.writes, options)
            else:
                await self._store.transact(lambda transaction: settle(transaction, ()))
        except RevisionConflict as exc:
            if exc.code != RevisionConflict.default_code:
                raise
            raise outdated(key) from exc
        self.on_change()
        decided = await self._objects.find(key)
        assert decided is not None
        return decided

    async def _settle(
        self,
        transaction: Transaction,
        call: Call,
        case: Case,
        verdict: Verdict,
        written: Sequence[Written],
    ) -> None:
        key = case.conflict.key
        now = await transaction.get(key)
        if now is None or now.revision != case.conflict.revision:
            raise outdated(key)
        for inherited, revision in case.rests_on.items():
            if await revision_of(transaction, inherited) != revision:
                raise outdated(key)
        after = [
            await _finished(transaction, case, place, each) for place, each in enumerate(written)
        ]
        decision = {
            "proposal": verdict.proposal,
            "by": call.caller.identity,
            "at": self._clock.now().isoformat(),
            "reason": verdict.reason,
            "requestId": call.request_id,
            "acknowledges": not case.writes,
            "wrote": after,
            "restsOn": [
                {**version(inherited), "revision": revision}
                for inherited, revision in case.rests_on.items()
            ],
        }
        await transaction.put(
            rewritten(now, state="resolved", decision=decision, deferred=None, undone=None)
        )
        record = self._trail.record(
            call,
            "conflict.decide",
            key=key,
            reason=verdict.reason,
            diff={"proposal": verdict.proposal, "type": now.spec["type"]},
            permission=Permission.DECIDE,
        )
        await transaction.audit(record)

    async def defer(
        self,
        call: Call,
        key: Key,
        *,
        until: datetime,
        reason: str,
        sees: Sees,
        expected: Revision | None = None,
    ) -> Stored:
        """Put a conflict off; it is open again at `until`.  A call that comes twice counts once.

        `expected` is its revision as the person saw it.  NotFound; Conflict (`conflict_resolved`);
        RevisionConflict; Invalid (`invalid_value`).
        """
        deferred = {
            "until": until.isoformat(),
            "by": call.caller.identity,
            "reason": reason,
            "requestId": call.request_id,
        }

        async def work(transaction: Transaction) -> Stored:
            now = await visible(transaction, key, sees)
            if _is_deferred_by(now, deferred):
                return now
            check_open(now)
            check_revision(now, expected)
            _check_to_come(until, self._clock.now())
            stored = await transaction.put(rewritten(now, state="deferred", deferred=deferred))
            deadline = now.spec.get("deadline")
            beyond = deadline is not None and moment(deadline) < until
            record = self._trail.record(
                call,
                "conflict.defer",
                key=key,
                reason=reason,
                diff={"until": until.isoformat(), **({"beyondDeadline": True} if beyond else {})},
                permission=Permission.DECIDE,
            )
            await transaction.audit(record)
            return stored

        deferral = (await self._store.transact(work)).result
        self.on_change()
        return deferral


async def _finished(
    transaction: Transaction, case: Case, place: int, written: Written
) -> dict[str, Any]:
    """Have an exception based on what is inherited now; return what is noted of the object.

    One that says what it said before would else keep its old base, and part anew.
    """
    write, step = case.writes[place], case.way.steps[place]
    after: int = ABSENT
    if written.operation is Operation.PUT:
        stored = written.stored
        if step.based_on is not None:
            stored = await transaction.put(rebased(stored, step.based_on))
        after = stored.revision
    return {**version(write.key), "before": write.expected or ABSENT, "after": after}


def version(key: Key) -> dict[str, Any]:
    """Return a key as decisions note it."""
    return {"kind": key.kind, "tenant": key.tenant, "scope": key.scope, "name": key.name}


async def revision_of(transaction: Transaction, key: Key) -> int:
    found = await transaction.get(key)
    return ABSENT if found is None else found.revision


def _is_decided_by(conflict: Stored, call: Call, verdict: Verdict) -> bool:
    """Return whether this very call has settled it before: its answer was lost on the way."""
    decision = conflict.spec.get("decision") or {}
    return (decision.get("by"), decision.get("requestId"), decision.get("proposal")) == (
        call.caller.identity,
        call.request_id,
        verdict.proposal,
    )


def _is_deferred_by(conflict: Stored, deferred: dict[str, Any]) -> bool:
    """Return whether this very call has put it off before."""
    before = conflict.spec.get("deferred") or {}
    same = all(before.get(name) == deferred[name] for name in ("by", "requestId", "reason"))
    return same and moment(before["until"]) == moment(deferred["until"])


def _check_to_come(until: datetime, now: datetime) -> None:
    if until > now:
        return
    message = "that time is past; give one that is still to come"
    raise Invalid(
        message, code="invalid_value", fields=[FieldError("until", "invalid_value", message)]
    )
