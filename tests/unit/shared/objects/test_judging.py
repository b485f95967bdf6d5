"""Writes are judged by what a process knows, and refused only by what is so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from shared.access.permissions import ADMIN, ROLES
from shared.auth.identity import Caller, CallerKind, Grant
from shared.clock import SystemClock
from shared.errors import FieldError, Invalid
from shared.ids import Key
from shared.metrics.names import Metrics
from shared.model.base import Envelope
from shared.model.documents import parse_value
from shared.objects.admission import Admission, Batch, Fault, Review
from shared.objects.call import Call
from shared.objects.service import Objects, Write
from shared.objects.trail import Trail
from shared.store.contract import Position, Selection, Snapshot, Store
from shared.store.sql import open_store
from tests.fakes.secrets import secrets_of

ADMINISTRATOR = Caller(
    CallerKind.PERSON, "user:kim", "Kim", grants=(Grant(ADMIN, frozenset(ROLES[ADMIN])),)
)


def service(name: str) -> Envelope[object]:
    envelope, faults = parse_value(
        {
            "apiVersion": "hanse/v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"entries": [{"protocol": "tcp", "ports": ["80"]}]},
        }
    )
    assert envelope is not None, faults
    return envelope


def key(name: str) -> Key:
    return Key("Service", "common", "federation", name)


class OnlyAfterFirst:
    """Refuses everything until there is a Service `first`."""

    def __init__(self) -> None:
        self.reviews = 0

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        self.reviews += 1
        missing = await snapshot.get(key("first")) is None
        asks = [i for i, each in enumerate(batch.proposals) if each.key.name != "first"]
        faults = [Fault(i, FieldError("spec", "no_first", "there is no first")) for i in asks]
        return Review(
            tuple(faults) if missing else (),
            depends_on=Selection(kinds=frozenset({"Service"})),
        )


class Process:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.admission = OnlyAfterFirst()
        self.judge_by(self.admission)

    def judge_by(self, admission: Admission) -> None:
        clock = SystemClock()
        self._objects = Objects(
            store=self._store,
            home="fsm",
            admission=admission,
            trail=Trail(store=self._store, clock=clock),
            clock=clock,
            metrics=Metrics(),
            secrets=secrets_of(clock),
        )

    async def position(self) -> Position:
        return await self._store.position()

    async def put(self, name: str) -> int:
        write = Write(key(name), service(name))
        applied = await self._objects.apply(Call(ADMINISTRATOR, "r"), [write])
        return applied.revision


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[tuple[Process, Process]]:
    """Two processes' services over one database."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(2):
            url = f"sqlite:///{tmp_path}/store.db"
            store = await open_store(url, clock=SystemClock(), create=True)
            stack.push_async_callback(store.close)
            made.append(Process(store))
        yield made[0], made[1]


async def test_what_another_process_has_acknowledged_is_not_missed(
    processes: tuple[Process, Process],
) -> None:
    here, there = processes
    with pytest.raises(Invalid):
        await here.put("second")
    await there.put("first")
    # This process has judged by memory before, and has not heard of it yet.
    assert await here.put("second") == 2


async def test_a_refusal_is_judged_twice_and_an_acceptance_once(
    processes: tuple[Process, Process],
) -> None:
    here, _ = processes
    with pytest.raises(Invalid, match="there is no first"):
        await here.put("second")
    assert here.admission.reviews == 2
    await here.put("first")
    assert here.admission.reviews == 3
    assert await here.put("second") == 2
    assert here.admission.reviews == 4


class Slow:
    """Takes its time with the Service `slow`: `goes_on` is awaited within its first two reviews."""

    def __init__(self) -> None:
        self.reviewed: list[str] = []
        self.begun = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        name = batch.proposals[0].key.name
        self.reviewed.append(name)
        if name == "slow" and self.reviewed.count(name) <= 2:
            self.begun.set()
            await self.goes_on.wait()
            self.goes_on.clear()
        return Review(depends_on=Selection(kinds=frozenset({"Service"})))


async def test_a_write_that_was_overtaken_is_not_overtaken_by_who_comes_after(
    processes: tuple[Process, Process],
) -> None:
    here, _ = processes
    admission = Slow()
    here.judge_by(admission)
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(here.put("slow"))
        await admission.begun.wait()
        assert await here.put("first") == 1
        admission.begun.clear()
        admission.goes_on.set()
        await admission.begun.wait()
        later = group.create_task(here.put("later"))
        # It would be reviewed within a few of the store's answers, if it weren't behind.
        for _ in range(5):
            await here.position()
        admission.goes_on.set()
    assert (slow.result(), later.result()) == (2, 3)
    assert admission.reviewed == ["slow", "first", "slow", "later"]
