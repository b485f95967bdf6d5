"""Taking turns: a few at a time, and whoever dawdles makes room for the next after a moment.

What begins with computing and goes on with waiting for somebody else is quickest one after another
while it computes, and all at once while it waits.  From outside the two look alike but for how long
they take, so a turn lasts a moment at most: those that are quick go one by one, and one that takes
long holds up nobody.
"""

import asyncio
from typing import Final


class Turn:
    """One of those under way; it is given back once, by whoever took it or by time."""

    def __init__(self, semaphore: asyncio.Semaphore, moment: float) -> None:
        self._semaphore: asyncio.Semaphore | None = semaphore
        self._timer: Final = asyncio.get_running_loop().call_later(moment, self.end)

    def end(self) -> None:
        if self._semaphore is not None:
            self._timer.cancel()
            self._semaphore.release()
            self._semaphore = None


class Turns:
    """Lets `at_once` begin, and the next when one of them has ended or `moment` seconds old."""

    def __init__(self, at_once: int, moment: float) -> None:
        self._moment: Final = moment
        self._semaphore: Final = asyncio.Semaphore(at_once)

    async def begin(self) -> Turn:
        """Wait for a turn, in order of asking; its holder must end it."""
        await self._semaphore.acquire()
        return Turn(self._semaphore, self._moment)
