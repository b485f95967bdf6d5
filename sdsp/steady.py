"""The hour by which overrides expire: the wall's, as long as it goes on at an even pace.

An exception that expires because somebody set the clock to another year would cut off what it was
made for.  So a leap forward isn't believed: time goes on from where it was until the clock is
right again, or until a person restarts the SDSP, which takes the clock at its word.  A leap back
is followed: it makes nothing expire early.
"""

import logging
from datetime import datetime, timedelta
from typing import Final

from shared.clock import Clock

log = logging.getLogger(__name__)

# A clock that is disciplined drifts by milliseconds between two looks; a leap second is one.
LEAP: Final = timedelta(seconds=5)


class SteadyTime:
    def __init__(self, clock: Clock) -> None:
        self.has_leapt = False
        """Whether the wall clock leapt forward and hasn't come back."""
        self._clock = clock
        self._at = clock.now()
        self._read = clock.monotonic()

    def now(self) -> datetime:
        """Return the wall time, or less if that leapt ahead."""
        read = self._clock.monotonic()
        steady = self._at + timedelta(seconds=read - self._read)
        wall = self._clock.now()
        leapt = wall > steady + LEAP
        if leapt and not self.has_leapt:
            log.warning(
                "the clock leapt ahead, overrides won't expire by it until a restart",
                extra={"wall": wall.isoformat(), "expected": steady.isoformat()},
            )
        self.has_leapt = leapt
        self._at, self._read = (steady if leapt else wall), read
        return self._at
