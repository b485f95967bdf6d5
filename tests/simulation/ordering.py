"""Sets whose order doesn't depend on where in memory their members lie.

The product keeps watchers and events in sets and goes through them: any order is right, but a
seed has to give the same one each time.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from fsm.feed.hub import Watcher

_ORDERED: tuple[type[Any], ...] = (asyncio.Event, asyncio.Future, Watcher)


@contextmanager
def in_one_order() -> Iterator[None]:
    """Number the members of such sets instead of hashing their addresses."""
    numbers = count()

    def numbered(self: Any) -> int:
        found = self.__dict__.get("_simulated_number")
        if found is None:
            found = self.__dict__["_simulated_number"] = next(numbers)
        return int(found)

    kinds = [kind for kind in _ORDERED if isinstance(kind.__dict__.get("__dict__"), object)]
    changed = [kind for kind in kinds if _change(kind, numbered)]
    try:
        yield
    finally:
        for kind in changed:
            del kind.__hash__


def _change(kind: type[Any], numbered: Any) -> bool:
    try:
        kind.__hash__ = numbered  # type: ignore[method-assign]
    except TypeError:
        return False  # built in C; those are not kept in sets that are gone through
    return True
