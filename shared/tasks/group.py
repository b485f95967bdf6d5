"""Tasks that live and die together; the only place that creates tasks.

After asyncio.TaskGroup, with two differences that suit long-lived parts of a program: leaving the
block ends the tasks instead of waiting for them, and the first failure is raised itself, not in
an exception group, so that callers need no other `except` for what ran beside them.
"""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

Result = TypeVar("Result")


class Group:
    """Use as `async with Group() as group: group.start(loop.run(), name="pull")`.

    When a task fails, the block and all other tasks are cancelled and its exception is raised;
    what they raise while ending is lost to it.  Cancelling the block's own task cancels all.
    """

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cause: BaseException | None = None

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None and not isinstance(exc, asyncio.CancelledError) and not self._cause:
            self._cause = exc
        for task in tuple(self._tasks):
            task.cancel()
        try:
            await self._group.__aexit__(kind, exc, traceback)
        except BaseExceptionGroup:
            # TaskGroup forgets that its own task was cancelled from outside if another task fails
            # at that moment (mended in Python 3.13); whoever catches the failure would go on.
            own = asyncio.current_task()
            if own is not None and own.cancelling():
                raise asyncio.CancelledError from None
            if self._cause is None:
                raise
            raise self._cause from None

    def start(self, work: Coroutine[Any, Any, Result], *, name: str) -> asyncio.Task[Result]:
        """Run a coroutine until it ends, the block is left, or another one fails."""
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def wait(self) -> None:
        """Wait until every task has ended by itself."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and self._cause is None:
            self._cause = task.exception()
