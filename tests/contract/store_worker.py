"""A process of its own that writes to a store, or watches one, and says so line by line.

    python store_worker.py '{"url": …, "role": "write", …}'

It says {"ready": true} and waits for a line on its input, so that many can start at once.  Every
line it prints is JSON; a write is acknowledged by its line only after it is committed.
"""

import asyncio
import json
import logging
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from shared.clock import SystemClock
from shared.errors import RevisionConflict
from shared.ids import Key, Revision
from shared.store.contract import Bookmark, Change, Commit, Draft, Store, Transaction
from shared.store.sql import open_store


@dataclass(frozen=True)
class Job:
    """What a worker does: `role` is write, count or watch."""

    url: str
    role: str
    name: str = "w"
    writers: int = 1
    """Writers at work at the same time in this process."""
    writes: int = 10
    """Of each writer; 0: without end."""
    keys: int = 0
    """Over how many keys all writers of all processes meet; 0: each key is written once."""
    after: int = 0
    until: str = ""
    """A watch ends at the change of the object of this name."""
    pause_at: int = 0
    """A watch stops and resumes by its position after so many commits."""
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)


class PutOff(logging.Handler):
    """Counts the commits that the database put off (40001)."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "put off" in record.getMessage()


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def key_of(name: str) -> Key:
    return Key("Network", "common", "federation", name)


def said_of(change: Change) -> dict[str, Any]:
    after = change.after
    return {
        "key": list(change.key),
        "operation": change.operation.value,
        "spec": dict(after.spec) if after else None,
        "generation": after.generation if after else None,
        "uid": after.uid if after else None,
    }


def said(event: Commit | Bookmark) -> dict[str, Any]:
    """Return a watch's event as plain JSON."""
    if isinstance(event, Bookmark):
        return {"bookmark": event.revision, "digest": event.digest}
    changes = [said_of(change) for change in event.changes]
    return {"commit": event.revision, "digest": event.digest, "changes": changes}


async def write(store: Store, job: Job, writer: int) -> None:
    """Put, delete and batch at random; with no shared keys, put new objects only."""
    source = random.Random(f"{job.seed} {job.name} {writer}")
    number = 0
    while job.writes == 0 or number < job.writes:
        number += 1
        spec = {"by": job.name, "writer": writer, "number": number}
        names = [f"{job.name}-{writer}-{number}"]
        if job.keys:
            names = source.sample([f"k{i}" for i in range(job.keys)], source.choice((1, 1, 1, 3)))
        delete = bool(job.keys) and source.random() < 0.25

        async def work(
            transaction: Transaction,
            names: list[str] = names,
            spec: dict[str, Any] = spec,
            delete: bool = delete,
        ) -> None:
            for name in names:
                if not delete:
                    await transaction.put(Draft(key_of(name), spec))
                elif await transaction.get(key_of(name)):
                    await transaction.delete(key_of(name))

        done = await store.transact(work, request_id=f"{job.name}-{writer}-{number}")
        say(revision=done.position.revision, names=names, delete=delete, spec=spec)


async def count(store: Store, job: Job) -> None:
    """Add one to a shared number, by read, compare and write, over and over."""
    key = key_of("number")
    for _ in range(job.writes):
        while True:
            async with store.snapshot() as snapshot:
                current = await snapshot.get(key)
            number = current.spec["number"] + 1 if current else 1
            expected = current.revision if current else Revision(0)
            draft = Draft(key, {"number": number})

            async def work(
                transaction: Transaction, draft: Draft = draft, expected: Revision = expected
            ) -> None:
                await transaction.put(draft, expected=expected)

            try:
                done = await store.transact(work)
            except RevisionConflict:
                continue
            say(revision=done.position.revision, number=number)
            break


async def watch(store: Store, job: Job) -> None:
    """Say every event, until the last; stop and resume by position now and then."""
    after = job.after
    while True:
        say(start=after)
        commits = 0
        events = store.watch(Revision(after))
        async for event in events:
            say(**said(event))
            after = event.revision
            if isinstance(event, Bookmark):
                continue
            if any(change.key.name == job.until for change in event.changes):
                return
            commits += 1
            if commits == job.pause_at:
                break
        await events.aclose()


async def run(job: Job) -> None:
    put_off = PutOff()
    logger = logging.getLogger("shared.store.commit")
    logger.addHandler(put_off)
    logger.setLevel(logging.INFO)
    store = await open_store(job.url, clock=SystemClock())
    say(ready=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    began = time.perf_counter()
    if job.role == "watch":
        await watch(store, job)
    else:
        async with asyncio.TaskGroup() as group:
            for writer in range(job.writers):
                group.create_task(
                    count(store, job) if job.role == "count" else write(store, job, writer)
                )
    say(seconds=time.perf_counter() - began, put_off=put_off.count)
    await store.close()


def command(job: Job) -> list[str]:
    """Return how to run a job in a process of its own."""
    return [sys.executable, __file__, json.dumps(asdict(job))]


if __name__ == "__main__":
    asyncio.run(run(Job(**json.loads(sys.argv[1]))))
