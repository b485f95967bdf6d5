"""A decision is taken back: the site's objects stand as before it, and the conflict is open again.

That goes until the decision is superseded: until something else has been written where it wrote,
or what is inherited has changed.  What stood before is read from the store's history.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sdsp.conflicts.cases import Sees, as_draft, check_revision, visible
from sdsp.conflicts.deadlines import Deadlines
from sdsp.conflicts.decide import revision_of
from sdsp.conflicts.standing import rewritten
from shared.access.permissions import Permission
from shared.clock import Clock
from shared.errors import Conflict, Invalid, RevisionCompacted, RevisionConflict
from shared.ids import Key, Revision
from shared.model.base import API_VERSION
from shared.model.documents import parse_value
from shared.objects.call import Call
from shared.objects.service import Objects, Options, Write, Written
from shared.objects.trail import Trail
from shared.store.contract import Snapshot, Store, Stored, Transaction

JSON = Mapping[str, Any]


class Undoings:
    def __init__(
        self, store: Store, *, objects: Objects, trail: Trail, clock: Clock, deadlines: Deadlines
    ) -> None:
        self._store = store
        self._objects = objects
        self._trail = trail
        self._clock = clock
        self._deadlines = deadlines
        self.on_change: Callable[[], None] = lambda: None
        """Called when a decision was taken back."""

    async def undo(
        self,
        call: Call,
        key: Key,
        *,
        reason: str,
        sees: Sees,
        expected: Revision | None = None,
    ) -> Stored:
        """Take the decision on a conflict back; return the conflict, open again.

        A call that comes twice counts once.  NotFound; Conflict (`not_decided`, and
        `decision_superseded`, which says by what); RevisionConflict; and whatever writing the
        objects as they were is refused for.
        """
        async with self._store.snapshot() as snapshot:
            found = await visible(snapshot, key, sees)
            if _is_undone_by(found, call):
                return found
            check_revision(found, expected)
            decision = _decision_of(found)
            for each in (*decision.get("wrote", ()), *decision.get("restsOn", ())):
                current = await snapshot.get(_key(each))
                _check_same(found, each, 0 if current is None else current.revision)
        before = await self._before(found, decision)

        async def reopen(transaction: Transaction, written: Sequence[Written]) -> None:
            del written  # exactly what stood before is put here, with all that the system noted
            await self._reopen(transaction, call, found, before, reason)

        try:
            if before:
                writes = [_write(each, stored) for each, stored in before]
                # What mandatory policy suspended may stand here again: it did before.
                options = Options(
                    alongside=reopen,
                    reason=reason,
                    tolerated=frozenset({"mandatory_policy_exists"}),
                )
                await self._objects.apply(call, writes, options)
            else:
                await self._store.transact(lambda transaction: reopen(transaction, ()))
        except RevisionConflict as exc:
            if exc.code != RevisionConflict.default_code:
                raise
            raise _superseded(found, "something was written meanwhile") from exc
        self.on_change()
        reopened = await self._objects.find(key)
        assert reopened is not None
        return reopened

    async def _before(self, conflict: Stored, decision: JSON) -> list[tuple[JSON, Stored | None]]:
        """Return what a decision wrote, each with what stood there before it."""
        return [(each, await self._stored_at(conflict, each)) for each in decision.get("wrote", ())]

    async def _stored_at(self, conflict: Stored, each: JSON) -> Stored | None:
        if not each["before"]:
            return None
        try:
            async with self._store.snapshot(Revision(each["before"])) as snapshot:
                return await _required(snapshot, _key(each))
        except RevisionCompacted as exc:
            raise _superseded(conflict, "the history of what stood before is gone") from exc

    async def _reopen(
        self,
        transaction: Transaction,
        call: Call,
        found: Stored,
        before: Sequence[tuple[JSON, Stored | None]],
        reason: str,
    ) -> None:
        now = await transaction.get(found.key)
        if now is None or now.revision != found.revision:
            raise _superseded(found, "the conflict has changed")
        decision = found.spec["decision"]
        for each in decision.get("restsOn", ()):
            _check_same(found, each, await revision_of(transaction, _key(each)))
        for _, stored in before:
            if stored is not None:
                await transaction.put(as_draft(stored))
        at = self._clock.now()
        undone = {
            "proposal": decision["proposal"],
            "by": call.caller.identity,
            "at": at.isoformat(),
            "reason": reason,
            "requestId": call.request_id,
        }
        until = self._deadlines.of_known(now.spec, now.spec.get("urgency", "normal"), at)
        await transaction.put(rewritten(now, state="open", decision=None, undone=undone, **until))
        record = self._trail.record(
            call,
            "conflict.undo",
            key=found.key,
            reason=reason,
            diff={"proposal": decision["proposal"], "type": now.spec["type"]},
            permission=Permission.DECIDE,
        )
        await transaction.audit(record)


def _decision_of(conflict: Stored) -> JSON:
    decision: JSON | None = conflict.spec.get("decision")
    if decision is None:
        raise Conflict(
            f"conflict {conflict.key.name} has no decision that could be taken back; "
            f"`hanse conflicts show {conflict.key.name}` says how it stands",
            code="not_decided",
        )
    if "restsOn" not in decision:
        raise _superseded(conflict, "an earlier release took it, and noted nothing of before")
    return decision


def _check_same(conflict: Stored, noted: JSON, revision: int) -> None:
    wrote = "after" in noted
    if revision == noted["after" if wrote else "revision"]:
        return
    what = _key(noted)
    raise _superseded(
        conflict,
        f"{what} has been written since" if wrote else f"{what} has changed upstream since",
    )


def _superseded(conflict: Stored, why: str) -> Conflict:
    return Conflict(
        f"the decision on {conflict.key.name} can't be taken back any more: {why}",
        code="decision_superseded",
    )


def _is_undone_by(conflict: Stored, call: Call) -> bool:
    undone = conflict.spec.get("undone") or {}
    return (undone.get("by"), undone.get("requestId")) == (call.caller.identity, call.request_id)


def _key(noted: JSON) -> Key:
    return Key(noted["kind"], noted.get("tenant", "common"), noted["scope"], noted["name"])


async def _required(snapshot: Snapshot, key: Key) -> Stored:
    found = await snapshot.get(key)
    assert found is not None, "a decision notes revisions at which there was something"
    return found


def _write(noted: JSON, before: Stored | None) -> Write:
    expected = Revision(noted["after"])
    key = _key(noted)
    if before is None:
        return Write(key, None, expected)
    document = {
        "apiVersion": API_VERSION,
        "kind": key.kind,
        "metadata": {
            "name": key.name,
            "tenant": key.tenant,
            "scope": key.scope,
            "labels": dict(before.labels),
            "annotations": dict(before.annotations),
        },
        "spec": dict(before.spec),
    }
    envelope, faults = parse_value(document)
    if envelope is None:
        raise Invalid(
            "what stood before is not valid any more; write it by hand instead",
            code="invalid_value",
            fields=list(faults),
        )
    return Write(key, envelope, expected)
