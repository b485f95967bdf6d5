"""Writes are judged by what a process knows, and refused only by what is so."""

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
from shared.objects.admission import Batch, Fault, Review
from shared.objects.call import Call
from shared.objects.service import Objects, Write
from shared.objects.trail import Trail
from shared.store.contract import Selection, Snapshot, Store
from shared.store.sql import open_store

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
        self.admission = OnlyAfterFirst()
        clock = SystemClock()
        self._objects = Objects(
            store=store,
            home="fsm",
            admission=self.admission,
            trail=Trail(store=store, clock=clock),
            clock=clock,
            metrics=Metrics(),
        )

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
