"""End the pauses of sites whose time has come."""

from datetime import datetime
from typing import Final

from fsm.feed.hub import Hub
from fsm.sites.pausing import PAUSED
from shared.clock import Clock
from shared.store.contract import AuditRecord, Draft, Selection, Store, Stored, Transaction
from shared.tasks.loop import Outcome

_SITES: Final = Selection(kinds=frozenset({"Site"}))


class EndPauses:
    """A reconciler over the Sites: what it ends takes a revision and a record, as all that counts.

    It looks again in the transaction, so that of several processes one does it.
    """

    name = "end pauses"

    def __init__(self, store: Store, hub: Hub, *, clock: Clock) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock

    async def reconcile(self) -> Outcome:
        now = self._clock.now()
        if not any(_is_over(each.stored, now) for each in self._hub.world.of_kind("Site").values()):
            return Outcome()

        async def work(transaction: Transaction) -> int:
            over = [each for each in await transaction.list(_SITES) if _is_over(each, now)]
            for each in over:
                spec = {name: value for name, value in each.spec.items() if name != PAUSED}
                await transaction.put(Draft(each.key, spec, each.labels, each.annotations))
                await transaction.audit(_record(each, now))
            return len(over)

        return Outcome(changed=(await self._store.transact(work)).result)


def _is_over(site: Stored, now: datetime) -> bool:
    until = site.spec.get(PAUSED, {}).get("until")
    return until is not None and datetime.fromisoformat(until) <= now


def _record(site: Stored, now: datetime) -> AuditRecord:
    return AuditRecord(
        at=now,
        request_id=f"pause-{site.uid}-{site.revision}",
        identity="system",
        action="site.resume",
        outcome="expired",
        tenant=site.key.tenant,
        key=site.key,
        reason=site.spec[PAUSED]["reason"],
    )
