"""Remove what is older than policy keeps, from a whole seal on, and record that it was done.

First the record, which says from which seal the trail begins; then the seals before that one, then
the records that it has sealed, some at a time.  Wherever that is cut short, what is left verifies:
what lies before the first seal that is there counts for nothing.
"""

from datetime import timedelta
from typing import Final

from shared.audit.seals import Seal
from shared.audit.verify import RETIRE
from shared.audit.walk import seals_of
from shared.clock import Clock
from shared.errors import HanseError
from shared.store.contract import AuditRecord, Store, Transaction
from shared.tasks.loop import Outcome

PERIOD: Final = 3600.0
"""Seconds between passes: what may go is decided by the day."""
_AT_ONCE: Final = 1000


class Retain:
    """A reconciler over the trail's beginning."""

    name = "retire the audit trail"

    def __init__(self, store: Store, *, retention: timedelta, clock: Clock) -> None:
        self._store = store
        self._retention = retention
        self._clock = clock

    async def reconcile(self) -> Outcome:
        first, until = await self._find()
        if first is None:
            return Outcome()
        ledger = self._store.ledger
        removed = 0
        if until is not None:
            await self._announce(until)
            async with ledger.view() as view:
                ended = [head.chain for head in await view.heads() if head.number <= until.number]
            await ledger.retire_seals(until.sequence, ended=ended)
            first = until
        if first.sequence > 1:
            while count := await ledger.retire(first.number, _AT_ONCE):
                removed += count
        return Outcome(changed=removed)

    async def _find(self) -> tuple[Seal | None, Seal | None]:
        """Return the first seal, and the last whole one that is old enough, if another."""
        cutoff = self._clock.now() - self._retention
        first: Seal | None = None
        until: Seal | None = None
        async with self._store.ledger.view() as view:
            async for text in seals_of(view):
                try:
                    seal = Seal.parse(text)
                except ValueError as exc:
                    raise HanseError(
                        f"seal {text.sequence} of the audit trail is damaged, so that nothing is "
                        "removed; run: hanse audit verify",
                        code="audit_damaged",
                    ) from exc
                if first is None:
                    first = seal
                if seal.at > cutoff:
                    break
                if seal.whole and seal is not first:
                    until = seal
        return first, until

    async def _announce(self, seal: Seal) -> None:
        record = AuditRecord(
            at=self._clock.now(),
            request_id=f"retire-{seal.sequence}",
            identity="system",
            action=RETIRE,
            outcome="ok",
            diff={"firstSeal": seal.sequence, "recordsUpTo": seal.number},
            reason=f"records up to {seal.at:%Y-%m-%d} are older than the retention",
        )

        async def work(transaction: Transaction) -> None:
            await transaction.audit(record)

        await self._store.transact(work)
