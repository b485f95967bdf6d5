"""Bring rollouts forward: the next wave, the end, or a stop.

What is to be done follows from the Rollouts and from what sites have said, so a restart is no
special case.  Each step is one transaction that holds only if the Rollout is still as it was: of
several processes one makes it, and none makes it twice.
"""

import logging
from datetime import datetime
from typing import Final

from fsm.feed.hub import Hub
from fsm.feed.item import ROLLOUT, Item
from fsm.rollouts.drafts import rewritten, stepped
from fsm.rollouts.sites import sites_of
from fsm.rollouts.steps import Finish, Reach, Step, StopFor, Wait, next_step
from fsm.sites.facts import KnownSites
from shared.clock import Clock
from shared.errors import RevisionConflict
from shared.failpoints import pause
from shared.metrics.names import Metrics
from shared.model.rollout import Rollout
from shared.store.contract import AuditRecord, Store, Transaction
from shared.tasks.loop import Outcome
from shared.telemetry.journal import Journal
from shared.telemetry.signals import Event, Severity

log = logging.getLogger(__name__)

# Of a step that reaches more sites than these, the record has so many names.
_NAMED: Final = 100


class AdvanceRollouts:
    """A reconciler over the Rollouts that haven't ended."""

    name = "advance rollouts"

    def __init__(
        self, store: Store, hub: Hub, *, known: KnownSites, clock: Clock, metrics: Metrics
    ) -> None:
        self._store = store
        self._hub = hub
        self._known = known
        self._clock = clock
        self._journal = Journal(metrics)

    async def reconcile(self) -> Outcome:
        rollouts = self._hub.world.of_kind(ROLLOUT).values()
        if not any(each.rolling is not None for each in rollouts):
            return Outcome()
        told = await self._known.read()
        # One moment of the world, and one no older than what the sites have said.
        world = dict(self._hub.world)
        steps = 0
        for item in [each for key, each in sorted(world.items()) if key.kind == ROLLOUT]:
            if item.rolling is None:
                continue
            now = self._clock.now()
            sites = await sites_of(world, item, item.rolling, told, now=now)
            step = next_step(Rollout.model_validate(item.spec), sites, now=now)
            if not isinstance(step, Wait):
                steps += await self._make(item, step, now)
        return Outcome(changed=steps)

    async def _make(self, item: Item, step: Step, now: datetime) -> int:
        """Write a step; return 0 if somebody was quicker, or somebody said something else."""
        seen = item.stored
        event = _event(item, step, now)

        async def work(transaction: Transaction) -> None:
            spec = Rollout.model_validate(seen.spec)
            draft = rewritten(seen, stepped(spec, step, now=now))
            await transaction.put(draft, expected=seen.revision)
            await transaction.audit(_record(item, step, now))
            if event is not None:
                await self._journal.add(transaction, event)

        await pause("fsm.rollout.before")
        try:
            await self._store.transact(work)
        except RevisionConflict:
            return 0
        await pause("fsm.rollout.after")
        if event is not None:
            self._journal.count(event)
            log.warning(event.message, extra={"rollout": item.key.name})
        return 1


def _record(item: Item, step: Step, now: datetime) -> AuditRecord:
    match step:
        case Reach(wave, sites):
            what: dict[str, object] = {"wave": wave, "sites": list(sites[:_NAMED])}
            action, outcome = "rollout.reach", f"{len(sites)} sites"
        case StopFor(failed):
            names = [f"{each.site}: {each.code}" for each in failed[:_NAMED]]
            what, action, outcome = {"failed": names}, "rollout.stop", "stopped"
        case _:
            what, action, outcome = {}, "rollout.finish", "done"
    stored = item.stored
    return AuditRecord(
        at=now,
        request_id=f"rollout-{stored.uid}-{stored.revision}",
        identity="system",
        action=action,
        outcome=outcome,
        tenant=stored.key.tenant,
        key=stored.key,
        diff=what,
    )


def _event(item: Item, step: Step, now: datetime) -> Event | None:
    """Return what is told to who runs the federation: that a rollout has come to an end or stop."""
    name, target = item.key.name, item.spec["target"]
    match step:
        case StopFor(failed):
            return Event(
                "rollout.stopped",
                Severity.CRITICAL,
                now,
                f"rollout {name} of {target} stopped: {len(failed)} sites failed",
                object=item.key,
                code="rollout_stopped",
                fields={"failed": [each.site for each in failed[:_NAMED]]},
            )
        case Finish():
            return Event(
                "rollout.done",
                Severity.INFO,
                now,
                f"rollout {name} of {target} is done",
                object=item.key,
            )
    return None
