"""Announce exceptions that will end: seven days before and one day, with what that changes here.

Once each.  What has been told is a record of the component, written with the event in one
transaction, so that a restart neither forgets nor repeats it; an exception that is given another
end is announced for that one.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sdsp.compile.compiler import Compilation
from shared.errors import TooLarge
from shared.ids import COMMON, Key
from shared.metrics.names import Metrics
from shared.policy.compile import SitePlanner
from shared.policy.impact.site import site_impact
from shared.policy.inputs import SiteInputs
from shared.store.contract import Selection, Snapshot, Store, Stored, Transaction
from shared.tasks.loop import Outcome
from shared.telemetry.journal import Journal
from shared.telemetry.signals import Event, Severity

TYPE: Final = "override.expiring"
SPACE: Final = "override-announcements"

_OVERRIDES: Final = Selection(kinds=frozenset({"Override"}))
_AHEAD: Final = (("day", timedelta(days=1)), ("week", timedelta(days=7)))
"""How long before the end it is announced, the last word first."""

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Due:
    stored: Stored
    expires_at: datetime
    word: str

    @property
    def record(self) -> dict[str, str]:
        return {"expiresAt": self.expires_at.isoformat(), "told": self.word}


class AnnounceExpiries:
    """A reconciler: writes into the journal which exceptions end soon."""

    name = "announce expiries"

    def __init__(
        self,
        store: Store,
        *,
        newest: Callable[[], Compilation | None],
        now: Callable[[], datetime],
        executor: Executor,
        metrics: Metrics,
    ) -> None:
        """`now` is the time by which the planner judges them, too; `executor` is where planners
        are asked.
        """
        self._store = store
        self._newest = newest
        self._now = now
        self._executor = executor
        self._journal = Journal(metrics)

    async def reconcile(self) -> Outcome:
        now, newest = self._now(), self._newest()
        async with self._store.snapshot() as snapshot:
            due, superfluous = await _wanted(snapshot, now)
        if newest is None or not (due or superfluous):
            return Outcome()
        loop = asyncio.get_running_loop()
        told: dict[Key, Event] = {}
        for each in due:
            if newest.planner.inputs.local.get(each.stored.key) is None:
                continue  # written a moment ago, and not compiled yet
            impact = await loop.run_in_executor(
                self._executor, _impact, newest.planner, each.stored.key
            )
            told[each.stored.key] = _event(each, impact, now)

        async def work(transaction: Transaction) -> list[Event]:
            still, gone = await _wanted(transaction, now)
            for name in gone:
                await transaction.delete_record(SPACE, name)
            events = []
            for each in still:
                # What has come since is for the next pass: its impact isn't known yet.
                if (event := told.get(each.stored.key)) is not None:
                    await transaction.put_record(SPACE, _name(each.stored), each.record)
                    await self._journal.add(transaction, event)
                    events.append(event)
            return events

        events = (await self._store.transact(work)).result
        for event in events:
            self._journal.count(event)
        return Outcome(changed=len(events))


async def _wanted(
    view: Snapshot | Transaction, now: datetime
) -> tuple[Sequence[_Due], Sequence[str]]:
    """Return what is to be announced, and the records that nobody needs any more."""
    told = await view.records(SPACE)
    overrides = {_name(each): each for each in await view.list(_OVERRIDES)}
    due = []
    for name, stored in overrides.items():
        expires_at = _end_of(stored)
        word = _word(expires_at, now)
        if expires_at is None or word is None:
            continue
        before = told.get(name, {})
        is_same = before.get("expiresAt") == expires_at.isoformat()
        if not (is_same and before.get("told") in (word, "day")):
            due.append(_Due(stored, expires_at, word))
    return due, [name for name in told if name not in overrides]


def _word(expires_at: datetime | None, now: datetime) -> str | None:
    """Return how long before its end an exception is; None if that is long, or it is over."""
    if expires_at is None or expires_at <= now:
        return None
    return next((word for word, ahead in _AHEAD if expires_at - now <= ahead), None)


def _end_of(stored: Stored) -> datetime | None:
    text = stored.spec.get("expiresAt")
    return datetime.fromisoformat(text) if text else None


def _impact(planner: SitePlanner, key: Key) -> JSON | None:
    """Return what the end of an exception changes at the site; None if that is too intricate."""
    inputs = planner.inputs
    local = inputs.local.changed(delete=[key])
    without = SiteInputs(inputs.site, inputs.federation, local, inputs.now)
    try:
        found: JSON = site_impact(planner, SitePlanner(without)).to_json(max_boxes=1)
    except TooLarge:
        return None
    return found


def _event(due: _Due, impact: JSON | None, now: datetime) -> Event:
    stored = due.stored
    by = f"{due.expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    # The journal is the server's own: of a tenant's exception it says only that there is one.
    is_told = stored.key.tenant == COMMON
    target = stored.spec["target"]
    what = (
        f"exception {stored.key.name} to {target['kind']} {target['name']}"
        if is_told
        else "a tenant's exception"
    )
    sides = (
        {side: str(impact[side]["packets"]) for side in ("newlyAllowed", "newlyDenied")}
        if impact and is_told
        else {}
    )
    return Event(
        type=TYPE,
        severity=Severity.WARNING,
        at=now,
        message=f"{what} ends at {by}{_told(impact) if is_told else ''}",
        object=stored.key if is_told else None,
        fields={"expiresAt": due.expires_at.isoformat(), **sides},
    )


def _told(impact: JSON | None) -> str:
    if impact is None:
        return "; what that changes is too intricate to tell"
    parts = [
        f"newly {word} {int(impact[side]['packets']):,} packets, such as {_example(impact[side])}"
        for side, word in (("newlyAllowed", "allowed"), ("newlyDenied", "denied"))
        if impact[side]["example"] is not None
    ]
    return f": then are {' and '.join(parts)}" if parts else "; that changes no packet's verdict"


def _example(side: JSON) -> str:
    found = side["example"]
    port = f" port {found['port']}" if "port" in found else ""
    return f"{found['from']} to {found['to']}, {found['protocol']}{port}"


def _name(stored: Stored) -> str:
    return f"{stored.key.tenant}/{stored.key.scope}/{stored.key.name}"
