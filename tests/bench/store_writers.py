"""How fast a store writes: one writer, 16 writers in one process, and 16 in four processes.

Each write is a new object of its own and is durable when it counts: SQLite with
synchronous=FULL, PostgreSQL 15 with fsync.  `put_off` counts the commits that PostgreSQL put off
(40001).
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from shared.clock import SystemClock
from shared.store.sql import open_store
from tests.bench.harness import Measurement, Program, Results, Run, benchmark
from tests.contract.store_processes import workers
from tests.contract.store_worker import Job
from tests.servers import postgres_server


@dataclass(frozen=True)
class Load:
    name: str
    processes: int
    writers: int


LOADS = (Load("1 writer", 1, 1), Load("16 in 1 process", 1, 16), Load("16 in 4 processes", 4, 4))


@dataclass(frozen=True)
class Figure:
    rate: float
    """Durable writes a second, of all writers."""
    put_off: int


async def measure(url: str, load: Load, *, writes: int, name: str) -> Figure:
    store = await open_store(url, clock=SystemClock(), create=True)
    await store.close()
    jobs = [
        Job(url, "write", name=f"{name}-{i}", writers=load.writers, writes=writes)
        for i in range(load.processes)
    ]
    async with workers(jobs) as started:
        for worker in started:
            await worker.start()
        last = [(await worker.finish())[-1] for worker in started]
    seconds = max(line["seconds"] for line in last)
    total = load.processes * load.writers * writes
    return Figure(total / seconds, sum(line["put_off"] for line in last))


def rates_of(database: str, url: str, *, writes: int, rounds: int) -> Iterator[Measurement]:
    """Yield the median rate of each load; the peer is one writer alone on the same database."""
    alone: float | None = None
    for load in LOADS:
        figures = [
            # One writer alone writes as much as four do together, so that it runs long enough.
            asyncio.run(
                measure(
                    url,
                    load,
                    writes=writes * (4 if load.processes * load.writers == 1 else 1),
                    name=f"{load.processes}x{load.writers}r{each}",
                )
            )
            for each in range(rounds)
        ]
        rate = median(figure.rate for figure in figures)
        yield Measurement(
            f"{database}: {load.name}",
            rate,
            "writes/s",
            peer=alone,
            peer_name="alone" if alone else "",
            extra={"put_off": sum(figure.put_off for figure in figures)},
        )
        alone = alone or rate


@benchmark(
    "store_writers",
    title="Writers of a store, alone and together",
    needs=(Program("postgres", apt="postgresql"),),
)
def store_writers(run: Run) -> Results:
    sizes = {"writes": run.pick(50, 5), "rounds": run.pick(3, 1)}
    measurements: list[Measurement] = []
    run.say("SQLite")
    measurements += rates_of("SQLite", f"sqlite:///{run.folder}/store.db", **sizes)
    run.say("PostgreSQL")
    with postgres_server(durable=True) as server:
        measurements += rates_of("PostgreSQL", server.create_database(), **sizes)
    return Results(measurements)
