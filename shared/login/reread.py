"""Read again for whoever asks, but only so often: a flood of askers costs a few reads a second."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from shared.clock import Clock

INTERVAL: Final = 0.25
"""Seconds between two readings, and so about the longest wait."""


class Reread:
    """Called, it returns after a reading that began when, or after, it was called."""

    def __init__(
        self, read: Callable[[], Awaitable[None]], *, clock: Clock, interval: float = INTERVAL
    ) -> None:
        self._read = read
        self._clock = clock
        self._interval = interval
        self._lock = asyncio.Lock()
        self._begun = 0
        self._last = float("-inf")

    async def __call__(self) -> None:
        arrived = self._begun
        async with self._lock:
            # Whoever held the lock has finished: was his reading begun after we came?
            if self._begun > arrived:
                return
            wait = self._last + self._interval - self._clock.monotonic()
            if wait > 0:
                await self._clock.sleep(wait)
            self._begun += 1
            self._last = self._clock.monotonic()
            await self._read()
