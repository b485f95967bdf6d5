"""Each process's own idea of the time, over the loop's."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.simulation.loop import SimulatedLoop

START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class SimulatedClock:
    """Implements shared.clock.Clock for one machine: its wall clock may be wrong, and may jump."""

    def __init__(self, loop: SimulatedLoop, *, skew: float = 0.0) -> None:
        self._loop = loop
        self._skew = timedelta(seconds=skew)

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time()) + self._skew

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back; timers don't notice."""
        self._skew += timedelta(seconds=seconds)
