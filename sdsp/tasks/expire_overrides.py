"""Mark overrides whose time has come.

An expired override stops counting by itself, but what changes what is enforced takes a revision
and an audit record: so the first to notice writes the moment into an annotation, in one
transaction with the record, and everything that follows the store sees a change like any other.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sdsp.overrides import EXPIRED, is_marked
from shared.model.override import Override
from shared.store.contract import AuditRecord, Draft, Selection, Store, Stored, Transaction
from shared.tasks.loop import Outcome

_OVERRIDES: Final = Selection(kinds=frozenset({"Override"}))


class ExpireOverrides:
    """A reconciler: marks each override once, when its expiry is reached."""

    name = "expire overrides"

    def __init__(self, store: Store, *, now: Callable[[], datetime]) -> None:
        """`now` is the time by which the planner judges them, too."""
        self._store = store
        self._now = now

    async def reconcile(self) -> Outcome:
        now = self._now()
        async with self._store.snapshot() as snapshot:
            if not any(_is_due(each, now) for each in await snapshot.list(_OVERRIDES)):
                return Outcome()

        async def work(transaction: Transaction) -> int:
            due = [each for each in await transaction.list(_OVERRIDES) if _is_due(each, now)]
            for each in due:
                await transaction.put(_marked(each, now))
                await transaction.audit(_record(each, now))
            return len(due)

        return Outcome(changed=(await self._store.transact(work)).result)


def _is_due(stored: Stored, now: datetime) -> bool:
    expires_at = Override.model_validate(stored.spec).expires_at
    if expires_at is None or expires_at > now:
        return False
    return not is_marked(stored, expires_at, now=now)


def _marked(stored: Stored, now: datetime) -> Draft:
    return Draft(
        key=stored.key,
        spec=stored.spec,
        labels=stored.labels,
        annotations={**stored.annotations, EXPIRED: now.isoformat()},
        origin=stored.origin,
    )


def _record(stored: Stored, now: datetime) -> AuditRecord:
    return AuditRecord(
        at=now,
        request_id=f"expiry-{stored.uid}-{stored.generation}",
        identity="system",
        action="override.expire",
        outcome="expired",
        tenant=stored.key.tenant,
        key=stored.key,
    )
