"""How long to try: a minute in all by default, long with HYPOTHESIS_PROFILE=soak."""

import os
import sys
import time
from collections.abc import Iterator

SOAKING = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
SOAK = float(os.environ.get("HANSE_SOAK_SECONDS", "120"))


def rolls(usual: int) -> Iterator[int]:
    """Yield seeds: the first `usual`, or in a soak as many new ones as there is time for."""
    if not SOAKING:
        yield from range(usual)
        return
    seed = time.time_ns() % 2**40
    end = time.monotonic() + SOAK
    count = 0
    while time.monotonic() < end:
        yield seed + count
        count += 1
    sys.stdout.write(f"\nsoaked: {count} worlds from seed {seed}\n")
