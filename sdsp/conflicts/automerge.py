"""Where `autoMerge` allows it, a clean merge is applied without a person.

The system decides then, by name in the audit trail; a decision that somebody has taken back is
not taken again, as long as the conflict says the same.
"""

from collections.abc import Mapping
from typing import Any, Final

from sdsp.conflicts.cases import as_draft
from sdsp.conflicts.decide import version
from sdsp.conflicts.standing import KIND, read_conflict, rewritten
from shared.clock import Clock
from shared.model.kinds import KINDS
from shared.policy.conflicts.outcome import local_key
from shared.policy.inputs import is_inherited_scope
from shared.policy.merging import exempted
from shared.store.contract import (
    AuditRecord,
    Selection,
    Snapshot,
    Store,
    Stored,
    Transaction,
)
from shared.tasks.loop import Outcome

SYSTEM: Final = "system"
REASON: Final = "autoMerge of the policy allows it"

_CONFLICTS: Final = Selection(kinds=frozenset({KIND}))


class AutoMerge:
    """A reconciler: settles each conflict that its policy has merged by itself."""

    name = "merge by itself"

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def reconcile(self) -> Outcome:
        async with self._store.snapshot() as snapshot:
            if not [each for each in await snapshot.list(_CONFLICTS) if _may_merge(each)]:
                return Outcome()

        async def work(transaction: Transaction) -> int:
            merged = 0
            for each in await transaction.list(_CONFLICTS):
                if _may_merge(each) and await self._merge(transaction, each):
                    merged += 1
            return merged

        return Outcome(changed=(await self._store.transact(work)).result)

    async def _merge(self, transaction: Transaction, conflict: Stored) -> bool:
        """Write the merge, if both sides are still what the conflict says of them."""
        key = local_key(read_conflict(conflict))
        local = await transaction.get(key)
        inherited = await _inherited(transaction, conflict)
        if local is None or inherited is None or _said_by(local) != conflict.spec.get("local", {}):
            return False
        (merge,) = (each for each in conflict.spec["proposals"] if each["name"] == "merge")
        base = {"revision": inherited.revision, "spec": _spec_of(inherited)}
        spec = {**local.spec, "spec": merge["spec"], "basedOn": base}
        after = await transaction.put(as_draft(local, spec=spec))
        now = self._clock.now()
        decision = {
            "proposal": "merge",
            "by": SYSTEM,
            "at": now.isoformat(),
            "reason": REASON,
            "wrote": [{**version(key), "before": local.revision, "after": after.revision}],
            "restsOn": [{**version(inherited.key), "revision": inherited.revision}],
        }
        await transaction.put(
            rewritten(conflict, state="resolved", decision=decision, deferred=None)
        )
        for what, action, diff in (
            (key, "update", {"spec": {"before": local.spec["spec"], "after": merge["spec"]}}),
            (conflict.key, "conflict.decide", {"proposal": "merge", "type": "edited_both"}),
        ):
            await transaction.audit(
                AuditRecord(
                    at=now,
                    request_id=f"automerge-{conflict.revision}-{conflict.key.name}"[:128],
                    identity=SYSTEM,
                    action=action,
                    outcome="ok",
                    tenant=what.tenant,
                    key=what,
                    reason=REASON,
                    diff=diff,
                )
            )
        return True


def _may_merge(conflict: Stored) -> bool:
    spec = conflict.spec
    return (
        spec["type"] == "edited_both"
        and spec.get("state", "open") == "open"
        and "undone" not in spec
        and bool(spec.get("global", {}).get("autoMerge"))
        and any(each["name"] == "merge" for each in spec.get("proposals", ()))
    )


async def _inherited(view: Snapshot | Transaction, conflict: Stored) -> Stored | None:
    """Return the inherited object that says what the conflict says of it."""
    target = conflict.spec["target"]
    found = await view.list(
        Selection(kinds=frozenset({target["kind"]}), names=frozenset({target["name"]}))
    )
    tenant = target.get("tenant", "common")
    return next(
        (
            each
            for each in found
            if each.key.tenant == tenant
            and is_inherited_scope(each.key.scope)
            and exempted(_spec_of(each)) == conflict.spec.get("global", {})
        ),
        None,
    )


def _said_by(override: Stored) -> Mapping[str, Any]:
    target = KINDS[override.spec["target"]["kind"]]
    return target.spec.model_validate(override.spec["spec"]).to_json()


def _spec_of(stored: Stored) -> dict[str, Any]:
    return dict(KINDS[stored.key.kind].spec.model_validate(stored.spec).to_json())
