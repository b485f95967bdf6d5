"""Where a generator's choices come from: Hypothesis, which shrinks, or plain dice, which are fast."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st


class Choices:
    """Chooses by numbers; subclasses say where the numbers come from."""

    def number(self, least: int, most: int) -> int:
        raise NotImplementedError

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.number(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        # Zero is what Hypothesis shrinks to: the simpler world is the one without.
        return self.number(0, 99) >= 100 - percent

    def some(self, make: Callable[[], Any], least: int, most: int) -> list[Any]:
        return [make() for _ in range(self.number(least, most))]

    def some_of(self, options: Sequence[Any]) -> list[Any]:
        """Return some of the options, each at most once, in any order."""
        left = list(options)
        return [left.pop(self.number(0, len(left) - 1)) for _ in range(self.number(0, len(left)))]


class Drawn(Choices):
    """From Hypothesis."""

    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self._draw = draw

    def number(self, least: int, most: int) -> int:
        return self._draw(st.integers(least, most))


class Rolled(Choices):
    """From a seed; some fifty times faster."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def number(self, least: int, most: int) -> int:
        return self._random.randint(least, most)
