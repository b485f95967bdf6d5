"""Start workers that share a store, and hear what they say."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.contract.store_worker import Job, command

Lines = list[dict[str, Any]]


class Worker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: Lines = []

    async def start(self) -> None:
        """Let it begin; it is ready already."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        await self._process.stdin.drain()

    async def line(self) -> dict[str, Any] | None:
        """Return what it says next; None at its end."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        # A killed process may leave half a line.
        if not line.endswith(b"\n"):
            return None
        self.lines.append(json.loads(line))
        return self.lines[-1]

    async def finish(self) -> Lines:
        """Return all it said; RuntimeError if it failed."""
        while await self.line() is not None:
            pass
        if await self._process.wait() != 0:
            raise RuntimeError(f"the worker ended with status {self._process.returncode}")
        return self.lines

    async def kill(self) -> Lines:
        """Kill it without warning (SIGKILL); return all it had said."""
        self._process.kill()
        while await self.line() is not None:
            pass
        await self._process.wait()
        return self.lines


@asynccontextmanager
async def workers(jobs: Sequence[Job]) -> AsyncIterator[list[Worker]]:
    """Start a process per job; all are ready and none has begun."""
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(_worker(job)) for job in jobs]
        for worker in started:
            assert await worker.line() == {"ready": True}
        yield started


@asynccontextmanager
async def _worker(job: Job) -> AsyncIterator[Worker]:
    process = await asyncio.create_subprocess_exec(
        *command(job),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    try:
        yield Worker(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        # asyncio closes a subprocess's pipes only when they are read to the end.
        process._transport.close()
