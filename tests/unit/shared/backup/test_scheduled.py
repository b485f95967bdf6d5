"""Scheduled backups: what is due is made, once, and what became of it is told."""

import shutil
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.backup.answers import backups_json, upward_json
from shared.backup.archive import opened
from shared.backup.contents import Home
from shared.backup.scheduled import LEASE, START, ScheduledBackups
from shared.backup.settings import BackupSettings, OwnSchedule
from shared.backup.standing import SPACE, BackupState, Lease, Task, states_in
from shared.ids import Key
from shared.metrics.names import Metrics
from shared.store.contract import Store, Transaction
from shared.store.sql import open_store
from shared.telemetry.journal import KEPT, Journal, recent_events
from shared.telemetry.signals import Event, Severity
from tests.fakes.clock import VirtualClock

NIGHTLY = Task(
    name="nightly",
    cron="30 2 * * *",
    timezone="UTC",
    retain=2,
    destination="disk",
    policy=Key("BackupPolicy", "common", "federation", "nightly"),
)
DAY = 86400.0
TO_THE_FIRST = 2.5 * 3600


class Server:
    """A store, its destination, and processes that make its backups."""

    def __init__(self, folder: Path, store: Store, executor: ThreadPoolExecutor) -> None:
        self.clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.store = store
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.metrics = Metrics()
        self.tasks: Sequence[Task] | None = [NIGHTLY]
        self._executor = executor
        self._home = Home(
            server="sdsp",
            name="sfo",
            data=folder,
            url=f"sqlite:///{folder}/sdsp.sqlite",
            authorities={},
            files={},
        )

    def process(self, owner: str = "one", **destinations: Path) -> ScheduledBackups:
        return ScheduledBackups(
            self._home,
            self.store,
            tasks=lambda: self.tasks,
            settings=BackupSettings(destinations=destinations or {"disk": self.disk}),
            metrics=self.metrics,
            clock=self.clock,
            executor=self._executor,
            owner=owner,
        )

    def files(self) -> list[str]:
        return sorted(each.name for each in self.disk.iterdir())

    async def state(self, name: str = "nightly") -> BackupState:
        async with self.store.snapshot() as snapshot:
            return (await states_in(snapshot))[name]

    async def events(self) -> list[Event]:
        async with self.store.snapshot() as snapshot:
            return list(await recent_events(snapshot, 100))

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    with ThreadPoolExecutor(1) as executor:
        store = await open_store(
            f"sqlite:///{tmp_path}/sdsp.sqlite", clock=VirtualClock(), create=True
        )
        yield Server(tmp_path, store, executor)
        await store.close()


async def test_a_new_schedule_waits_for_its_first_time(server: Server) -> None:
    process = server.process()
    assert (await process.reconcile()).changed == 0
    server.clock.advance(TO_THE_FIRST - 1)
    assert (await process.reconcile()).changed == 0
    assert server.files() == []

    server.clock.advance(1)
    assert (await process.reconcile()).changed == 1
    (file,) = server.files()
    with opened(server.disk / file) as reader:
        assert reader.manifest.policy == "nightly"
    state = await server.state()
    assert (state.file, state.code, state.lease) == (file, None, None)
    assert state.succeeded_at == server.clock.now()
    assert server.metric("hanse_backup_failing", policy="nightly") == 0
    assert server.metric("hanse_backup_last_success_timestamp_seconds", policy="nightly")

    assert (await process.reconcile()).changed == 0


async def test_only_the_newest_good_ones_are_kept(server: Server) -> None:
    process = server.process()
    await process.reconcile()
    server.clock.advance(TO_THE_FIRST)
    made = []
    for _ in range(3):
        await process.reconcile()
        made += [name for name in server.files() if name not in made]
        server.clock.advance(DAY)
    assert server.files() == made[-2:]

    # The newest is cut short on its disk: the one before must not go for its sake.
    (server.disk / made[-1]).write_bytes((server.disk / made[-1]).read_bytes()[:9000])
    await process.reconcile()
    kept = server.files()
    assert made[-2] in kept
    assert len(kept) == 3


async def test_others_files_are_left_alone(server: Server) -> None:
    other = server.disk / "fsm-0123456789abcdef-20200101T000000Z-00000000.hanse"
    other.write_text("another server's")
    server.tasks = [NIGHTLY, Task(**_fields(NIGHTLY, name="second", retain=1))]
    process = server.process()
    await process.reconcile()
    for _ in range(3):
        server.clock.advance(DAY)
        await process.reconcile()
    assert other.exists()
    assert len(server.files()) == 1 + 2 + 1


def _fields(task: Task, **changes: Any) -> dict[str, Any]:
    return {name: getattr(task, name) for name in Task.__dataclass_fields__} | changes


async def test_what_was_missed_is_made_once_soon_after_the_start(server: Server) -> None:
    await server.process().reconcile()
    server.clock.advance(5 * DAY)
    process = server.process("later")
    assert (await process.reconcile()).changed == 0
    server.clock.advance(START.total_seconds())
    assert (await process.reconcile()).changed == 1
    assert (await process.reconcile()).changed == 0
    assert len(server.files()) == 1
    (event,) = await server.events()
    assert (event.type, event.fields["late"]) == ("backup.completed", "missed")
    assert "missed at 2026-01-01 02:30 UTC" in event.message


async def test_a_failing_one_is_told_and_the_next_recovers_it(server: Server) -> None:
    process = server.process()
    await process.reconcile()
    shutil.rmtree(server.disk)
    server.clock.advance(TO_THE_FIRST)
    await process.reconcile()

    state = await server.state()
    assert (state.code, state.failed_at) == (
        "backup_destination_unavailable",
        server.clock.now(),
    )
    (event,) = await server.events()
    assert (event.type, event.severity, event.code) == (
        "backup.failed",
        Severity.WARNING,
        "backup_destination_unavailable",
    )
    assert event.object == NIGHTLY.policy
    assert str(server.disk) in event.message
    assert server.metric("hanse_backup_failing", policy="nightly") == 1
    assert server.metric("hanse_events_total", type="backup.failed", severity="warning") == 1

    server.disk.mkdir()
    server.clock.advance(DAY)
    await process.reconcile()
    state = await server.state()
    assert (state.code, state.failed_at is not None) == (None, True)
    event, _ = await server.events()
    assert event.type == "backup.completed"
    assert "again" in event.message
    assert server.metric("hanse_backup_failing", policy="nightly") == 0


async def test_a_destination_that_the_server_doesnt_know_fails(server: Server) -> None:
    server.tasks = [Task(**_fields(NIGHTLY, destination="elsewhere"))]
    process = server.process()
    await process.reconcile()
    server.clock.advance(TO_THE_FIRST)
    await process.reconcile()
    assert (await server.state()).code == "backup_destination_unknown"


async def test_a_full_disk_fails_and_leaves_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(28, "No space left on device")
    process = server.process()
    await process.reconcile()
    server.clock.advance(TO_THE_FIRST)
    with monkeypatch.context() as patched:
        patched.setattr("shared.backup.archive.ArchiveWriter.finish", _raise(full))
        await process.reconcile()
    assert (await server.state()).code == "storage_full"
    assert server.files() == []


def _raise(error: Exception) -> Any:
    def fail(*_: Any) -> None:
        raise error

    return fail


async def test_what_a_killed_process_left_is_swept_away(server: Server) -> None:
    process = server.process()
    await process.reconcile()
    server.clock.advance(TO_THE_FIRST)
    await process.reconcile()
    (file,) = server.files()
    (server.disk / f".{file}.00000000.partial").write_text("half")
    (server.disk / f".{file}.00000000.trial").mkdir()
    server.clock.advance(DAY)
    await process.reconcile()
    assert all(not name.startswith(".") for name in server.files())
    assert len(server.files()) == 2


async def test_two_processes_on_one_store_make_one_backup(server: Server) -> None:
    one, two = server.process("one"), server.process("two")
    await one.reconcile()
    server.clock.advance(TO_THE_FIRST)
    changed = [(await each.reconcile()).changed for each in (one, two)]
    assert changed == [1, 0]
    assert len(server.files()) == 1


async def test_a_run_that_was_cut_short_is_made_again_when_its_lease_has_passed(
    server: Server,
) -> None:
    """As kill -9 in the middle leaves it: claimed, and nobody at it."""
    lease = Lease(owner="killed", until=server.clock.now() + LEASE)
    state = BackupState(times=NIGHTLY.times, handled=server.clock.now(), lease=lease)

    async def work(transaction: Transaction) -> None:
        await transaction.put_record(SPACE, "nightly", state.to_record())

    await server.store.transact(work)
    process = server.process("next")
    assert (await process.reconcile()).changed == 0
    server.clock.advance(LEASE.total_seconds())
    assert (await process.reconcile()).changed == 1
    (event,) = await server.events()
    assert event.fields["late"] == "interrupted"


async def test_a_changed_schedule_has_missed_nothing(server: Server) -> None:
    await server.process().reconcile()
    server.clock.advance(10 * DAY)
    server.tasks = [Task(**_fields(NIGHTLY, cron="0 5 * * *"))]
    process = server.process()
    server.clock.advance(START.total_seconds())
    assert (await process.reconcile()).changed == 0
    server.clock.advance(5 * 3600 - 60)
    assert (await process.reconcile()).changed == 1


async def test_a_policy_that_is_gone_is_forgotten_and_its_backups_stay(server: Server) -> None:
    process = server.process()
    await process.reconcile()
    server.clock.advance(TO_THE_FIRST)
    await process.reconcile()
    server.tasks = []
    await process.reconcile()
    async with server.store.snapshot() as snapshot:
        assert await states_in(snapshot) == {}
    assert len(server.files()) == 1
    assert server.metric("hanse_backup_failing", policy="nightly") is None


async def test_nothing_is_forgotten_before_the_policies_are_known(server: Server) -> None:
    await server.process().reconcile()
    server.tasks = None
    await server.process().reconcile()
    assert (await server.state()).times == NIGHTLY.times


async def test_status_shows_what_became_of_it_and_the_next_time(server: Server) -> None:
    process = server.process()
    await process.reconcile()
    server.clock.advance(TO_THE_FIRST)
    await process.reconcile()
    states = {"nightly": await server.state()}
    (shown,) = backups_json([NIGHTLY], states, now=server.clock.now())
    assert (shown["state"], shown["nextAt"]) == ("good", "2026-01-02T02:30:00+00:00")
    (told,) = upward_json([NIGHTLY], states)
    assert told == {
        "policy": "nightly",
        "succeededAt": server.clock.now().isoformat(),
        "failedAt": None,
        "code": None,
    }


def test_settings_may_ask_for_backups_themselves(tmp_path: Path) -> None:
    settings = BackupSettings(schedule=OwnSchedule(cron="0 1 * * *"))
    task = settings.own_task()
    assert task is not None
    assert (task.policy, task.destination) == (None, "local")
    assert settings.folder("local", tmp_path) == tmp_path / "backups"


async def test_the_journal_keeps_the_newest_events(server: Server) -> None:
    journal = Journal(server.metrics)

    async def work(transaction: Transaction) -> None:
        for number in range(KEPT + 5):
            at = server.clock.now() + timedelta(seconds=number)
            await journal.add(transaction, Event("test", Severity.INFO, at, str(number)))

    await server.store.transact(work)
    async with server.store.snapshot() as snapshot:
        found = await recent_events(snapshot, KEPT * 2)
    assert [each.message for each in found] == [str(n) for n in range(KEPT + 4, 4, -1)]
