"""How fast a store writes: one writer, 16 writers in one process, and 16 in four processes.

    python -m tests.bench.store_writers [--writes 50] [--folder DIR] [--rounds 3]

Each write is a new object of its own and is durable when it counts: SQLite with
synchronous=FULL, PostgreSQL 15 with fsync.  DIR must be on a real disk, not a tmpfs.  Prints the
median of the rounds, and how often PostgreSQL put a commit off (40001).
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from shared.clock import SystemClock
from shared.store.sql import open_store
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


def report(database: str, url: str, *, writes: int, rounds: int) -> None:
    rates: dict[str, float] = {}
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
        rates[load.name] = median(figure.rate for figure in figures)
        ratio = rates[load.name] / rates[LOADS[0].name]
        put_off = sum(figure.put_off for figure in figures)
        sys.stdout.write(
            f"{database:<11}{load.name:<19}{rates[load.name]:>8.0f} writes/s"
            f"{ratio:>7.2f} of one writer  put off {put_off}\n"
        )
        sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="How fast a store writes.")
    parser.add_argument("--writes", type=int, default=50, help="of each writer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default=None, help="on a real disk")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="hanse-bench-", dir=options.folder) as folder:
        url = f"sqlite:///{folder}/store.db"
        report("sqlite", url, writes=options.writes, rounds=options.rounds)
    with postgres_server(durable=True) as server:
        url = server.create_database()
        report("postgresql", url, writes=options.writes, rounds=options.rounds)


if __name__ == "__main__":
    main()
