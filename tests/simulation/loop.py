"""One event loop for many programs, with a clock of its own and an order drawn by a seed.

Each program is a Process: what it schedules runs in the order of an ordinary event loop, but which
program goes next is drawn.  Time passes only while nobody has anything to do.  A killed process
never runs another line, not even of its `finally` blocks; a stopped one goes on later.

Executors are not used: what is handed to one runs on the loop, after a drawn delay.  No socket,
no thread and no hour of the machine is involved, so that a seed gives the same run again.
"""

import asyncio
import heapq
import random
from asyncio import base_events, events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

CURRENT: Final[ContextVar["Process"]] = ContextVar("process")


class Stuck(Exception):
    """Nobody has anything to do, now or later."""


class Killed(BaseException):
    """The process that was running is killed; nothing of it may go on."""


class Process:
    """One program's life, from a start to its end or kill."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False
        self.severed = False
        """Whether the run is over: what is left is only cleared away."""
        self.machine: Any = None
        """Where it runs, if that is a machine that can fail."""
        self.ready: deque[events.Handle] = deque()
        self.on_kill: list[Callable[[], None]] = []
        self.context = copy_context()
        self.context.run(CURRENT.set, self)

    def __repr__(self) -> str:
        return f"<{self.name}>"


def current() -> Process:
    """Return the process that runs now."""
    return CURRENT.get()


class SimulatedTask(asyncio.Task[Any]):
    """A task whose place in a set doesn't depend on its address."""

    _numbers = 0

    def __init__(self, coroutine: Any, *, context: Context | None = None, **options: Any) -> None:
        SimulatedTask._numbers += 1
        self._number = SimulatedTask._numbers
        self.owner = current() if context is None else context[CURRENT]
        super().__init__(coroutine, context=context, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimulatedLoop(base_events.BaseEventLoop):
    def __init__(self, source: random.Random) -> None:
        super().__init__()
        SimulatedTask._numbers = 0
        self.source = source
        self.steps = 0
        self.world = Process("world")
        self.slowest = 0.004
        """Seconds that a statement of a database, or a thread's job, takes at most, usually."""
        self.on_fault: Callable[[BaseException], None] = lambda exc: None
        self._time = 0.0
        self._runnable: list[Process] = []
        self._graves: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._make)
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._time

    def start(
        self, process: Process, work: Coroutine[Any, Any, Any], *, name: str | None = None
    ) -> asyncio.Task[Any]:
        """Run a coroutine in a process."""
        return self.create_task(work, name=name, context=process.context.copy())

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run the world's own coroutine to its end; Stuck if that can't come."""
        result: Result = self.run_until_complete(self.start(self.world, work))
        return result

    def kill(self, process: Process) -> None:
        """End a process between two of its steps; what it had in memory is lost."""
        if not process.alive:
            return
        # What was to run next stays where it is, and is never run.
        process.alive = False
        # Kept, for a task that nobody keeps is closed, and its `finally` blocks run.
        self._graves += [each for each in asyncio.all_tasks(self) if _owner(each) is process]
        for act in process.on_kill:
            act()

    def stop_process(self, process: Process) -> None:
        process.stopped = True

    def continue_process(self, process: Process) -> None:
        process.stopped = False
        if process.ready and process.alive and process not in self._runnable:
            self._runnable.append(process)

    def lag(self) -> float:
        """Draw how long a disk or a thread takes."""
        if self.source.random() < 0.02:
            return self.source.uniform(0.0, 20 * self.slowest)
        return self.source.uniform(0.0, self.slowest)

    def bury(self) -> None:
        """Clear away everything that still waits.  Only then has the loop no tasks."""
        self.set_exception_handler(lambda _loop, _context: None)
        for _ in range(50):
            every = {*asyncio.all_tasks(self), *self._graves}
            left = [each for each in every if not each.done()]
            if not left:
                break
            for task in left:
                self._sever(_owner(task))
                task.cancel()
            self.run(_turns(100))
        self._graves.clear()
        self.run(self.shutdown_asyncgens())
        self.close()

    def _sever(self, process: Process) -> None:
        """Let what is left of a process end, but do nothing any more."""
        if process.severed:
            return
        process.alive, process.stopped, process.severed = True, False, True
        if process.ready and process not in self._runnable:
            self._runnable.append(process)

    # What asyncio asks of a loop.

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.Handle:
        handle = events.Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as exc:  # noqa: BLE001 - it is its caller's
                future.set_exception(exc)
            else:
                future.set_result(result)

        self.call_later(self.lag(), run)
        return future

    def _run_once(self) -> None:
        handle = self._next()
        if handle is None or handle.cancelled():
            return
        self.steps += 1
        handle._run()

    def _next(self) -> events.Handle | None:
        while self._runnable:
            place = int(self.source.random() * len(self._runnable))
            process = self._runnable[place]
            if not process.ready or process.stopped or not process.alive:
                self._runnable[place] = self._runnable[-1]
                self._runnable.pop()
                continue
            handle = process.ready.popleft()
            if not process.ready:
                self._runnable[place] = self._runnable[-1]
                self._runnable.pop()
            return handle
        while self._scheduled:
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False
            if not timer.cancelled():
                self._time = max(self._time, timer.when())
                self._enqueue(timer)
                return None
        if self._stopping:
            return None
        raise Stuck("nothing is left to happen")

    def _enqueue(self, handle: events.Handle) -> None:
        process = handle._context.get(CURRENT, self.world)
        if process.alive and not process.ready and not process.stopped:
            self._runnable.append(process)
        process.ready.append(handle)

    def _make(
        self, _loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        return SimulatedTask(coroutine, loop=self, **options)

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Killed):
            return
        self.on_fault(error if error is not None else RuntimeError(context.get("message")))

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        """Cancelled timers are dropped when they are due."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""


def _owner(task: asyncio.Task[Any]) -> Process:
    assert isinstance(task, SimulatedTask)
    return task.owner


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)
