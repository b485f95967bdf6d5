"""People are reminded of conflicts: at half of the time, and when the deadline has passed.

Once each.  What has been told is a record of the component, written with the event in one
transaction, so that a restart neither forgets nor repeats it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sdsp.conflicts.deadlines import Due, due, moment
from sdsp.conflicts.standing import KIND
from shared.clock import Clock
from shared.ids import COMMON
from shared.metrics.names import Metrics
from shared.store.contract import Selection, Snapshot, Store, Stored, Transaction
from shared.tasks.loop import Outcome
from shared.telemetry.journal import Journal
from shared.telemetry.signals import Event, Severity

SPACE: Final = "conflict-reminders"
MANY: Final = 10
"""So many events at once a person reads one by one; of more there is one for all."""

_CONFLICTS: Final = Selection(kinds=frozenset({KIND}))
_TYPES: Final[Mapping[Due, str]] = {"half": "conflict.due_soon", "overdue": "conflict.overdue"}


@dataclass(frozen=True, slots=True)
class _Reminder:
    conflict: Stored
    due: Due

    @property
    def record(self) -> dict[str, Any]:
        return {"deadline": self.conflict.spec["deadline"], "told": self.due}


class RemindOfConflicts:
    """A reconciler: writes what is due into the journal."""

    name = "remind of conflicts"

    def __init__(self, store: Store, *, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._journal = Journal(metrics)

    async def reconcile(self) -> Outcome:
        now = self._clock.now()
        async with self._store.snapshot() as snapshot:
            if not any(await _wanted(snapshot, now)):
                return Outcome()

        async def work(transaction: Transaction) -> list[Event]:
            reminders, superfluous = await _wanted(transaction, now)
            for name in superfluous:
                await transaction.delete_record(SPACE, name)
            for each in reminders:
                await transaction.put_record(SPACE, _name(each.conflict), each.record)
            events = _events(reminders, now)
            for event in events:
                await self._journal.add(transaction, event)
            return events

        events = (await self._store.transact(work)).result
        for event in events:
            self._journal.count(event)
        return Outcome(changed=len(events))


async def _wanted(
    view: Snapshot | Transaction, now: datetime
) -> tuple[Sequence[_Reminder], Sequence[str]]:
    """Return what is to be told, and the records that nobody needs any more."""
    told = await view.records(SPACE)
    conflicts = await view.list(_CONFLICTS)
    unsettled = {_name(each) for each in conflicts if each.spec.get("state") != "resolved"}
    reminders = []
    for each in conflicts:
        what = due(each.spec, now)
        before = told.get(_name(each), {})
        same = before.get("deadline") == each.spec.get("deadline")
        if what is None or (same and before.get("told") in (what, "overdue")):
            continue
        reminders.append(_Reminder(each, what))
    return reminders, [name for name in told if name not in unsettled]


def _events(reminders: Sequence[_Reminder], now: datetime) -> list[Event]:
    found = []
    for what in _TYPES:
        these = [each.conflict for each in reminders if each.due == what]
        if len(these) > MANY:
            found.append(_event_of_many(these, what, now))
        else:
            found += [_event(each, what, now) for each in these]
    return found


def _event(conflict: Stored, what: Due, now: datetime) -> Event:
    by = f"{moment(conflict.spec['deadline']).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    # The journal is the server's own: of a tenant's conflict it says only that there is one.
    is_told = conflict.key.tenant == COMMON
    name = f"conflict {conflict.key.name}" if is_told else "a tenant's conflict"
    message = (
        f"{name} was to be decided by {by}: see hanse conflicts list"
        if what == "overdue"
        else f"{name} is to be decided by {by}, and half of the time is over"
    )
    return Event(
        type=_TYPES[what],
        severity=_severity(what),
        at=now,
        message=message,
        object=conflict.key if is_told else None,
        fields={"deadline": conflict.spec["deadline"]},
    )


def _event_of_many(conflicts: Sequence[Stored], what: Due, now: datetime) -> Event:
    state = "are overdue" if what == "overdue" else "have used half of their time"
    return Event(
        type=_TYPES[what],
        severity=_severity(what),
        at=now,
        message=f"{len(conflicts)} conflicts {state}: hanse conflicts list",
        fields={"count": len(conflicts)},
    )


def _severity(what: Due) -> Severity:
    return Severity.CRITICAL if what == "overdue" else Severity.WARNING


def _name(conflict: Stored) -> str:
    return f"{conflict.key.tenant}/{conflict.key.name}"
