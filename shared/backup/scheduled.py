"""Make the backups that are due: a reconciler.

What is wanted is asked at each pass, and what was done stands in the store, so that a change of
policy, a restart and a second process on the same store need no code of their own: a pass claims
what is due in one transaction, makes it, and writes down what became of it.  Times missed while
the server was off are one run, soon after it starts.  A run that was cut short is made again once
its lease has passed.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from shared.backup.archive import file_faults
from shared.backup.contents import Home
from shared.backup.create import BackupMaker, Made, Wish
from shared.backup.partial import file_name, owner_of, sweep
from shared.backup.retention import backups_in, superfluous
from shared.backup.settings import LOCAL, BackupSettings
from shared.backup.standing import SPACE, BackupState, Lease, Task, state_of
from shared.clock import Clock
from shared.errors import HanseError, Unavailable
from shared.metrics.names import BACKUP_FAILING, BACKUP_SUCCEEDED, Metrics
from shared.store.contract import Store, Transaction
from shared.tasks.cron import Schedule
from shared.tasks.group import Group
from shared.tasks.loop import Outcome
from shared.telemetry.journal import Journal
from shared.telemetry.signals import Event, Severity

log = logging.getLogger(__name__)

PERIOD: Final = 15.0
"""Seconds between passes: a schedule counts in minutes."""
LEASE: Final = timedelta(seconds=120)
RENEWAL: Final = 30.0
"""Seconds between renewals of the lease."""
START: Final = timedelta(seconds=60)
"""What was missed waits so long after a start, for which a server has enough to do."""
LATE: Final = timedelta(minutes=5)
"""Later than this it was missed."""


@dataclass(frozen=True, slots=True)
class _Claim:
    task: Task
    due: datetime
    why: str | None
    """Why it is late: missed, or interrupted."""
    was_failing: bool


class ScheduledBackups:
    """Makes one server's backups as its tasks say."""

    name = "back up"

    def __init__(
        self,
        home: Home,
        store: Store,
        *,
        tasks: Callable[[], Sequence[Task] | None],
        settings: BackupSettings,
        metrics: Metrics,
        clock: Clock,
        executor: Executor,
        owner: str,
    ) -> None:
        """`tasks` returns what is wanted now, None if that isn't known yet.  `owner` names this
        process among all that ever use the store.
        """
        self._home = home
        self._store = store
        self._tasks = tasks
        self._settings = settings
        self._clock = clock
        self._owner = owner
        self._executor = executor
        self._maker = BackupMaker(home, clock=clock, executor=executor)
        self._journal = Journal(metrics)
        self._failing = metrics.gauge(BACKUP_FAILING)
        self._succeeded = metrics.gauge(BACKUP_SUCCEEDED)
        self._started = clock.now()
        self._unwritten: list[tuple[str, BackupState, Event]] = []

    async def reconcile(self) -> Outcome:
        wanted = self._tasks()
        if wanted is None:
            return Outcome()
        while self._unwritten:
            await self._write(*self._unwritten[0])
            del self._unwritten[0]
        changed = 0
        await self._forget({task.name for task in wanted})
        for task in wanted:
            claim = await self._claim(task)
            if claim is not None:
                code = await self._run(claim)
                changed += 1
                if code is not None:
                    log.warning("a backup failed", extra={"policy": task.name, "code": code})
        return Outcome(changed=changed)

    async def _forget(self, names: set[str]) -> None:
        async with self._store.snapshot() as snapshot:
            gone = (await snapshot.records(SPACE)).keys() - names
        if not gone:
            return

        async def work(transaction: Transaction) -> None:
            for name in gone:
                await transaction.delete_record(SPACE, name)

        await self._store.transact(work)
        for name in gone:
            for gauge in (self._failing, self._succeeded):
                with suppress(KeyError):
                    gauge.remove(name)

    async def _claim(self, task: Task) -> _Claim | None:
        """Claim what is due of a task, if anything is and nobody else is at it."""
        now = self._clock.now()
        async with self._store.snapshot() as snapshot:
            record = await snapshot.record(SPACE, task.name)
        state = state_of(record) if record else None
        self._show(task.name, state)
        if _claimed(task, state, now=now, started=self._started, owner=self._owner) is None:
            return None

        async def work(transaction: Transaction) -> _Claim | None:
            record = await transaction.record(SPACE, task.name)
            state = state_of(record) if record else None
            found = _claimed(task, state, now=now, started=self._started, owner=self._owner)
            if found is None:
                return None
            after, claim = found
            if claim is not None:
                lease = Lease(owner=self._owner, until=now + LEASE)
                after = replace(after, handled=now, lease=lease)
            await transaction.put_record(SPACE, task.name, after.to_record())
            return claim

        return (await self._store.transact(work)).result

    async def _run(self, claim: _Claim) -> str | None:
        """Make a backup and write down what became of it; return the code if it failed."""
        task = claim.task
        made, error = None, None
        async with Group() as group:
            group.start(self._renew(task.name), name="renew the lease of a backup")
            try:
                made = await self._make(task)
            except HanseError as exc:
                error = exc
        async with self._store.snapshot() as snapshot:
            record = await snapshot.record(SPACE, task.name)
        now = self._clock.now()
        before = state_of(record) if record else BackupState(times=task.times, handled=now)
        if made is not None:
            after = before.succeeded(
                now,
                file=made.path.name,
                size=made.size,
                revision=made.manifest.store.revision,
            )
        else:
            assert error is not None, "it was made or it failed"
            after = before.failed(now, error.code)
        event = _told(claim, now, made, error)
        self._show(task.name, after)
        self._unwritten.append((task.name, after, event))
        await self._write(*self._unwritten[-1])
        self._unwritten.pop()
        return after.code

    async def _make(self, task: Task) -> Made:
        folder = self._settings.folder(task.destination, self._home.data)
        with file_faults(f"write a backup to {folder}", code="backup_destination_unavailable"):
            if task.destination == LOCAL and folder == self._home.data / "backups":
                folder.mkdir(mode=0o700, exist_ok=True)
            sweep(folder, owner_of(self._home, task.name))
            path = folder / file_name(self._home, task.name, self._clock.now())
            wish = Wish(path=path, keys=self._settings.keys, policy=task.name)
            made = await self._maker.make(wish)
            await self._maker.run(partial(self._retire, folder, task, path))
        return made

    def _retire(self, folder: Path, task: Task, made: Path) -> None:
        found = backups_in(folder, self._home, task.name)
        for each in superfluous(found, task.retain):
            if each.path != made:
                each.path.unlink(missing_ok=True)

    async def _renew(self, name: str) -> None:
        while True:
            await self._clock.sleep(RENEWAL)
            until = self._clock.now() + LEASE

            async def work(transaction: Transaction, until: datetime = until) -> None:
                record = await transaction.record(SPACE, name)
                if record and record["lease"] and record["lease"][0] == self._owner:
                    lease = [self._owner, until.isoformat()]
                    await transaction.put_record(SPACE, name, {**record, "lease": lease})

            # A store that can't be written just now is no reason to give a backup up.
            with suppress(Unavailable):
                await self._store.transact(work)

    async def _write(self, name: str, state: BackupState, event: Event) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.put_record(SPACE, name, state.to_record())
            await self._journal.add(transaction, event)

        await self._store.transact(work)
        self._journal.count(event)

    def _show(self, name: str, state: BackupState | None) -> None:
        self._failing.labels(name).set(1 if state and state.is_failing else 0)
        if state and state.succeeded_at:
            self._succeeded.labels(name).set(state.succeeded_at.timestamp())


def _claimed(
    task: Task, state: BackupState | None, *, now: datetime, started: datetime, owner: str
) -> tuple[BackupState, _Claim | None] | None:
    """Return what to write of a task and what to run of it; None if neither.  Pure."""
    if state is None:
        return BackupState(times=task.times, handled=now), None
    if state.times != task.times:
        # Another schedule begins now: it has missed nothing.
        return replace(state, times=task.times, handled=now), None
    lease = state.lease
    if lease is not None:
        if lease.owner != owner and now < lease.until:
            return None
        return state, _Claim(task, state.handled, "interrupted", state.is_failing)
    due = Schedule.parse(task.cron, task.timezone).after(state.handled)
    if due is None or due > now:
        return None
    if now - due < LATE:
        return state, _Claim(task, due, None, state.is_failing)
    if now < started + START:
        return None
    return state, _Claim(task, due, "missed", state.is_failing)


def _told(claim: _Claim, now: datetime, made: Made | None, error: HanseError | None) -> Event:
    task = claim.task
    fields = {
        "policy": task.name,
        "destination": task.destination,
        "due": claim.due.isoformat(),
        "late": claim.why,
    }
    which = f"the backup {task.name}" if task.policy else "the backup of the server's own settings"
    late = {
        None: "",
        "missed": f", missed at {claim.due:%Y-%m-%d %H:%M} UTC,",
        "interrupted": ", begun before and cut short,",
    }[claim.why]
    if made is not None:
        again = " again" if claim.was_failing else ""
        return Event(
            type="backup.completed",
            severity=Severity.INFO,
            at=now,
            message=f"{which}{late} was made{again} and proved",
            object=task.policy,
            fields={**fields, "file": made.path.name, "size": made.size},
        )
    assert error is not None, "it was made or it failed"
    return Event(
        type="backup.failed",
        severity=Severity.WARNING,
        at=now,
        message=f"{which}{late} failed: {error.message}",
        object=task.policy,
        code=error.code,
        fields=fields,
    )
