"""Drop the store's log beyond its retention, having noted what sites that are behind had.

Revisions have no time of their own, so each pass marks where the store is; the log is dropped up
to the youngest mark that is old enough, and no further than a paused site's policy needs it.
"""

from datetime import datetime, timedelta
from typing import Final

from fsm.feed.acks import read_heard
from fsm.feed.delivered import Delivered, remember
from fsm.feed.hub import Hub
from shared.clock import Clock
from shared.errors import HanseError
from shared.ids import Revision
from shared.store.contract import Store, Transaction
from shared.tasks.loop import Outcome

SPACE: Final = "compaction"
_MARKS: Final = "marks"
_LAST: Final = "last"

# An hour's exactness is enough for a retention of days.
MARK_EVERY: Final = timedelta(hours=1)


class Compact:
    """A reconciler over the store's log."""

    name = "compact the log"

    def __init__(self, store: Store, hub: Hub, *, retention: timedelta, clock: Clock) -> None:
        self._store = store
        self._hub = hub
        self._retention = retention
        self._clock = clock

    async def reconcile(self) -> Outcome:
        marks = await self._mark()
        now = self._clock.now()
        old = [revision for at, revision in marks if at + self._retention <= now]
        async with self._store.snapshot() as snapshot:
            last = await snapshot.record(SPACE, _LAST)
        before = min([max(old, default=0), *self._kept_by_pauses()])
        if not before or (last is not None and last["revision"] >= before):
            return Outcome()
        await self._remember(before)
        await self._store.compact(Revision(before))

        async def work(transaction: Transaction) -> None:
            await transaction.put_record(SPACE, _LAST, {"revision": before})

        await self._store.transact(work)
        return Outcome(changed=1)

    def _kept_by_pauses(self) -> list[int]:
        """Return the revisions whose policy paused sites keep: they must stay readable."""
        sites = self._hub.world.of_kind("Site").values()
        return [pause["revision"] for each in sites if (pause := each.spec.get("paused"))]

    async def _mark(self) -> list[tuple[datetime, int]]:
        """Note where the store is, if the last note is old; return the notes, oldest first."""
        now = self._clock.now()

        async def work(transaction: Transaction) -> list[tuple[datetime, int]]:
            record = await transaction.record(SPACE, _MARKS) or {"marks": []}
            marks = [(datetime.fromisoformat(at), revision) for at, revision in record["marks"]]
            if not marks or marks[-1][0] + MARK_EVERY <= now:
                marks.append((now, transaction.base.revision))
            # Of those that are old enough only the youngest matters.
            while len(marks) > 1 and marks[1][0] + self._retention <= now:
                del marks[0]
            written = [[at.isoformat(), revision] for at, revision in marks]
            await transaction.put_record(SPACE, _MARKS, {"marks": written})
            return marks

        return (await self._store.transact(work)).result

    async def _remember(self, before: int) -> None:
        """Put on record what each site that is behind had, while the store still knows."""
        async with self._store.snapshot() as snapshot:
            heard = await read_heard(snapshot)
            incarnation = snapshot.position.incarnation
        delivered: dict[str, Delivered] = {}
        for site, each in heard.items():
            position = each.position
            if position.incarnation != incarnation or position.revision >= before:
                continue
            try:
                _, selected = await self._hub.selected_at(position.revision, site)
            except HanseError:
                # Compacted before, so on record already; or the site was deleted since.
                continue
            keys = frozenset(selected.items) | selected.withheld
            delivered[site] = Delivered(incarnation, position.revision, keys, at=self._clock.now())

        async def work(transaction: Transaction) -> None:
            await remember(transaction, delivered)

        if delivered:
            await self._store.transact(work)
