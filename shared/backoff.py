"""Exponential back-off with full jitter.

After M. Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015): a delay is
drawn evenly from zero to a cap that doubles, so that many who fail together don't come back
together.
"""

import random


class Backoff:
    def __init__(self, *, first: float, longest: float, source: random.Random) -> None:
        """Draw delays up to `first` seconds, then twice that, and so on up to `longest`."""
        self._first = first
        self._longest = longest
        self._source = source
        self._failures = 0

    def next(self) -> float:
        """Return how many seconds to wait after one more failure."""
        # The exponent is capped so that a day of failures doesn't overflow a float.
        cap = min(self._longest, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return self._source.uniform(0.0, cap)

    def reset(self) -> None:
        """Begin anew after a success."""
        self._failures = 0
