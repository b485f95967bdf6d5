"""Open a store in a process that dies before its Nth statement.

    python migrating.py URL N

It ends with EXIT_STATUS when it has come so far, with 0 when there are fewer statements.
"""

import asyncio
import itertools
import os
import sys
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from shared.clock import SystemClock
from shared.failpoints import EXIT_STATUS
from shared.store.sql import open_store


async def open_until_killed(url: str, die_at: int) -> None:
    counted = itertools.count(1)

    def before(*_: Any) -> None:
        if next(counted) == die_at:
            os._exit(EXIT_STATUS)

    event.listen(Engine, "before_cursor_execute", before)
    store = await open_store(url, clock=SystemClock(), create=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(open_until_killed(sys.argv[1], int(sys.argv[2])))
