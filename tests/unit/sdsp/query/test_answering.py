"""An answer comes piece by piece, for as long as somebody listens and the deadline allows."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from sdsp.query.answering import Answering
from shared.auth.identity import Caller, CallerKind
from shared.errors import Forbidden, HanseError, TooManyRequests, Unavailable
from shared.query.wire import Part, Question
from tests.fakes.clock import VirtualClock

KIM = Caller(CallerKind.PERSON, "user:kim", "Kim")
QUESTION = Question("impact", "sfo", 3.5, {})


class Slow:
    """Answers one part once it may, and remembers whether it was let go."""

    def __init__(self, *, error: HanseError | None = None) -> None:
        self.may = asyncio.Event()
        self.ended = False
        self._error = error

    async def answer(self, caller: Caller, question: Question) -> AsyncGenerator[Part, None]:
        del caller, question
        try:
            await self.may.wait()
            if self._error:
                raise self._error
            yield Part("impact", {"changes": True})
        finally:
            self.ended = True


def lines_of(answering: Answering, answerer: Slow) -> Any:
    return answering.lines(answerer, KIM, QUESTION, None)


async def test_a_sign_of_life_comes_each_second_until_the_answer_is_whole() -> None:
    clock = VirtualClock()
    slow = Slow()
    lines = lines_of(Answering(site="sfo", clock=clock), slow)
    told: list[Any] = []

    async def listen() -> None:
        async for each in lines:
            told.append(json.loads(each))  # noqa: PERF401 - what came before an error counts

    async with asyncio.TaskGroup() as group:
        group.create_task(listen())
        for _ in range(2):
            await clock.sleepers()
            clock.advance(1.0)
        await clock.sleepers()
        slow.may.set()
    assert told == [
        {"begun": 1, "site": "sfo", "position": None},
        {"working": True},
        {"working": True},
        {"part": "impact", "data": {"changes": True}},
        {"end": True},
    ]


async def test_what_takes_too_long_is_let_go() -> None:
    clock = VirtualClock()
    slow = Slow()
    lines = lines_of(Answering(site="sfo", clock=clock), slow)

    async def listen() -> None:
        with pytest.raises(Unavailable) as caught:
            assert [each async for each in lines]
        assert caught.value.code == "deadline_passed"

    async with asyncio.TaskGroup() as group:
        group.create_task(listen())
        for seconds in (1.0, 1.0, 1.0, 0.5):
            await clock.sleepers()
            clock.advance(seconds)
    assert slow.ended


async def test_who_stops_listening_lets_the_work_go() -> None:
    slow = Slow()
    answering = Answering(site="sfo", clock=VirtualClock())
    async with aclosing(lines_of(answering, slow)) as lines:
        await anext(lines)
        waiting = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert slow.ended


async def test_a_refusal_is_the_answers_end() -> None:
    slow = Slow(error=Forbidden("not for you"))
    slow.may.set()
    lines = lines_of(Answering(site="sfo", clock=VirtualClock()), slow)
    await anext(lines)
    with pytest.raises(Forbidden):
        await anext(lines)


async def test_only_so_many_questions_are_answered_at_a_time() -> None:
    answering = Answering(site="sfo", clock=VirtualClock())
    open_ones = [lines_of(answering, Slow()) for _ in range(8)]
    for each in open_ones:
        await anext(each)
    one_more = lines_of(answering, Slow())
    with pytest.raises(TooManyRequests) as caught:
        await anext(one_more)
    assert caught.value.code == "too_many_questions"
    await open_ones.pop().aclose()
    assert await anext(lines_of(answering, Slow()))
    for each in open_ones:
        await each.aclose()
