"""A clock that stands still until a test moves it."""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta


class VirtualClock:
    """Implements shared.clock.Clock; time passes only by advance() and pass_time().

    A test that must not advance before somebody waits awaits `sleepers()` first.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._skew = timedelta()
        self._numbers = itertools.count()
        self._timers: list[tuple[float, int, asyncio.Timeout]] = []
        self._arrival = asyncio.Event()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed) + self._skew

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        await self.wait(asyncio.Event(), seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if event.is_set():
            return True
        if seconds is not None and seconds <= 0:
            await asyncio.sleep(0)
            return event.is_set()
        try:
            async with asyncio.timeout(None) as timeout:
                timer = None if seconds is None else self._start_timer(timeout, seconds)
                try:
                    await event.wait()
                finally:
                    if timer in self._timers:
                        self._timers.remove(timer)
                        heapq.heapify(self._timers)
        except TimeoutError:
            return False
        return True

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once; who waited no longer than that wakes, once."""
        self._elapsed += seconds
        while self._timers and self._timers[0][0] <= self._elapsed + 1e-9:
            _, _, timeout = heapq.heappop(self._timers)
            timeout.reschedule(asyncio.get_running_loop().time())

    async def pass_time(self, seconds: float, *, turns: int = 20) -> None:
        """Let `seconds` pass timer by timer; each who wakes has `turns` turns of the loop."""
        end = self._elapsed + seconds
        while True:
            for _ in range(turns):
                await asyncio.sleep(0)
            if not self._timers or self._timers[0][0] > end:
                break
            self.advance(max(0.0, self._timers[0][0] - self._elapsed))
        self._elapsed = max(self._elapsed, end)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back; nobody wakes."""
        self._skew += timedelta(seconds=seconds)

    async def sleepers(self, count: int = 1) -> None:
        """Return when at least `count` sleep or wait with a time limit."""
        while len(self._timers) < count:
            self._arrival.clear()
            await self._arrival.wait()

    @property
    def deadlines(self) -> list[float]:
        """The monotonic times at which those who wait now will wake, soonest first."""
        return sorted(at for at, _, _ in self._timers)

    def _start_timer(
        self, timeout: asyncio.Timeout, seconds: float
    ) -> tuple[float, int, asyncio.Timeout]:
        timer = (self._elapsed + seconds, next(self._numbers), timeout)
        heapq.heappush(self._timers, timer)
        self._arrival.set()
        return timer
