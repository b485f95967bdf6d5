"""Answer a question piece by piece, for as long as somebody listens and its deadline allows.

Whatever answers yields parts, each of which it waits for.  Between them the FSM hears once a
second that the site is at work, and so the site hears whether the FSM is still there: if it has
left, what waits is let go, and no further step is begun.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, Protocol

from shared.auth.identity import Caller
from shared.clock import Clock
from shared.errors import HanseError, TooManyRequests, Unavailable
from shared.feed.wire import Position
from shared.query import wire
from shared.tasks.group import Group

BEAT: Final = 1.0
"""Seconds between two signs of life."""

_MOST: Final = 8
"""Questions at a time; the FSM asks no more than a few at once."""


class Answerer(Protocol):
    """Knows the answer to one sort of question."""

    def answer(self, caller: Caller, question: wire.Question) -> AsyncGenerator[wire.Part, None]:
        """Yield the parts of an answer as they are known.

        `caller` is in whose name it is asked: nothing that he may not see belongs in it.
        """
        ...


class Answering:
    def __init__(self, *, site: str, clock: Clock) -> None:
        self._site = site
        self._clock = clock
        self._under_way = 0

    async def lines(
        self,
        answerer: Answerer,
        caller: Caller,
        question: wire.Question,
        position: Position | None,
    ) -> AsyncIterator[bytes]:
        """Yield the lines of an answer.

        Unavailable (`deadline_passed`) when it takes too long; TooManyRequests
        (`too_many_questions`); and what the answerer raises.
        """
        if self._under_way >= _MOST:
            raise TooManyRequests(
                f"the site answers {_MOST} questions already",
                retry_after=BEAT,
                code="too_many_questions",
            )
        self._under_way += 1
        try:
            yield wire.encode_begun(self._site, position)
            ends_at = self._clock.monotonic() + question.deadline
            parts = answerer.answer(caller, question)
            async with aclosing(parts), Group() as group:
                while True:
                    work = group.start(_next_of(parts), name=f"answer {question.ask}")
                    async for line in self._until(work, ends_at):
                        yield line
                    if (part := work.result()) is None:
                        break
                    if isinstance(part, HanseError):
                        raise part
                    yield wire.encode_part(part.name, part.data)
            yield wire.encode_end()
        finally:
            self._under_way -= 1

    async def _until(
        self, work: asyncio.Task[wire.Part | HanseError | None], ends_at: float
    ) -> AsyncIterator[bytes]:
        done = asyncio.Event()
        work.add_done_callback(lambda _: done.set())
        while not done.is_set():
            left = ends_at - self._clock.monotonic()
            if left <= 0:
                raise Unavailable("the question's deadline has passed", code="deadline_passed")
            if not await self._clock.wait(done, min(left, BEAT)):
                yield wire.encode_working()


async def _next_of(parts: AsyncGenerator[wire.Part, None]) -> wire.Part | HanseError | None:
    """Return the next part, why there is none, or None at the end.

    It doesn't raise: a task that fails cancels whoever waits for it, in the middle of a write.
    """
    try:
        return await anext(parts, None)
    except HanseError as exc:
        return exc
