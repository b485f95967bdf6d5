"""Turns are taken in order, a few at a time, and one that dawdles holds up nobody."""

import asyncio
from typing import Final

from shared.turns import Turns

FOR_EVER: Final = 3600.0


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_only_a_few_are_under_way_and_the_next_in_order_follows_who_ends() -> None:
    turns = Turns(2, FOR_EVER)
    begun: list[int] = []

    async def take(number: int, over: asyncio.Event) -> None:
        turn = await turns.begin()
        begun.append(number)
        await over.wait()
        turn.end()

    ends = [asyncio.Event() for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        for number, over in enumerate(ends):
            group.create_task(take(number, over))
        await _settle()
        assert begun == [0, 1]
        ends[1].set()
        await _settle()
        assert begun == [0, 1, 2]
        for over in ends:
            over.set()
    assert begun == [0, 1, 2, 3]


async def test_one_that_dawdles_makes_room_once() -> None:
    turns = Turns(1, 0.0)
    slow = await turns.begin()
    second = await turns.begin()  # the first one's moment is over at once
    slow.end()  # and its place is not given back again
    second.end()
    second.end()
    kept = Turns(1, FOR_EVER)
    first = await kept.begin()
    first.end()
    first.end()
    await kept.begin()
    waiting = asyncio.create_task(kept.begin())
    await _settle()
    assert not waiting.done()
    waiting.cancel()


async def test_who_gives_up_waiting_takes_no_place() -> None:
    turns = Turns(1, FOR_EVER)
    held = await turns.begin()
    gone = asyncio.create_task(turns.begin())
    await _settle()
    gone.cancel()
    await _settle()
    held.end()
    async with asyncio.timeout(FOR_EVER):
        (await turns.begin()).end()
