"""Work that is done to its end, whoever of those that wait for it leaves."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


async def to_its_end(work: Awaitable[Result]) -> Result:
    """Await `work` and return its result, even if cancelled meanwhile; then be cancelled.

    A group's commit is not its leader's alone, so the leader's cancellation must not end it.
    """
    whole = asyncio.gather(work)
    cancelled: asyncio.CancelledError | None = None
    while not whole.done():
        try:
            await asyncio.shield(whole)
        except asyncio.CancelledError as exc:
            if whole.cancelled():
                raise
            cancelled = exc
    if cancelled is not None:
        raise cancelled
    return whole.result()[0]
