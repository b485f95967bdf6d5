"""Keep the site's conflicts at what its newest compilation says."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import datetime
from typing import Final

from sdsp.compile.compiler import Compilation
from sdsp.conflicts.standing import KIND, Change, changes
from shared.clock import Clock
from shared.ids import Revision
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.detect import conflicts_of_documents, conflicts_of_rules
from shared.store.contract import AuditRecord, Selection, Snapshot, Store, Transaction
from shared.tasks.loop import Outcome

CONFLICTS: Final = Selection(kinds=frozenset({KIND}))


class FindConflicts:
    """A reconciler: opens, changes and closes conflicts, each write with its audit record."""

    name = "find conflicts"

    def __init__(
        self,
        store: Store,
        *,
        newest: Callable[[], Compilation | None],
        executor: Executor,
        rules: Executor,
        clock: Clock,
    ) -> None:
        """`executor` is where planners are asked; `rules` are judged in another thread, since that
        may take a second, and traces wait for the first.
        """
        self._store = store
        self._newest = newest
        self._executor = executor
        self._rules = rules
        self._clock = clock
        self._judged: tuple[Compilation, Sequence[Finding]] | None = None
        self.judged_revision: Revision | None = None
        """The store's revision that the conflicts in it are of; None before the first pass."""
        self.on_judged: Callable[[], None] = lambda: None
        """Called when that has moved on."""

    async def reconcile(self) -> Outcome:
        newest = self._newest()
        if newest is None:
            return Outcome()
        if self._judged is None or self._judged[0] is not newest:
            self._judged = newest, await self._find(newest)
        found = self._judged[1]
        now = self._clock.now()

        async def due(view: Snapshot | Transaction) -> list[Change]:
            known = await view.list(CONFLICTS)
            return list(changes(found, known, seen_at=newest.revision, now=now))

        async with self._store.snapshot() as snapshot:
            if not await due(snapshot):
                self._tell(newest.revision)
                return Outcome()

        async def work(transaction: Transaction) -> int:
            wanted = await due(transaction)
            for each in wanted:
                await transaction.put(each.draft)
                await transaction.audit(_record(each, newest.revision, now))
            return len(wanted)

        changed = (await self._store.transact(work)).result
        self._tell(newest.revision)
        return Outcome(changed=changed)

    def _tell(self, revision: Revision) -> None:
        if revision != self.judged_revision:
            self.judged_revision = revision
            self.on_judged()

    async def _find(self, compilation: Compilation) -> Sequence[Finding]:
        loop = asyncio.get_running_loop()
        found, rules = await loop.run_in_executor(
            self._executor, conflicts_of_documents, compilation.planner
        )
        return *found, *await loop.run_in_executor(self._rules, conflicts_of_rules, rules)


def _record(change: Change, revision: int, now: datetime) -> AuditRecord:
    key = change.draft.key
    return AuditRecord(
        at=now,
        request_id=f"conflict-{revision}-{key.name}"[:128],
        identity="system",
        action=f"conflict.{change.action}",
        outcome="ok",
        tenant=key.tenant,
        key=key,
        reason=change.draft.spec.get("closed", {}).get("why"),
    )
