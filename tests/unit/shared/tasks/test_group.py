import asyncio
from contextlib import suppress

import pytest

from shared.tasks.group import Group


async def forever(ended: list[str], name: str) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(name)


async def fail(error: Exception) -> None:
    await asyncio.sleep(0)
    raise error


async def test_leaving_the_block_ends_the_tasks() -> None:
    ended: list[str] = []
    async with Group() as group:
        group.start(forever(ended, "a"), name="a")
        group.start(forever(ended, "b"), name="b")
        await asyncio.sleep(0)
    assert sorted(ended) == ["a", "b"]


async def test_the_first_failure_ends_all_and_is_raised_itself() -> None:
    ended: list[str] = []
    reached = False

    async def block() -> None:
        nonlocal reached
        async with Group() as group:
            group.start(forever(ended, "a"), name="a")
            group.start(fail(ValueError("first")), name="b")
            await asyncio.Event().wait()
            reached = True

    with pytest.raises(ValueError, match="first"):
        await block()
    assert ended == ["a"]
    assert not reached


async def test_what_others_raise_while_ending_does_not_hide_the_cause() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("while ending")

    async def block() -> None:
        async with Group() as group:
            group.start(stubborn(), name="a")
            await asyncio.sleep(0)
            group.start(fail(ValueError("first")), name="b")
            await asyncio.Event().wait()

    with pytest.raises(ValueError, match="first"):
        await block()


async def test_an_error_of_the_block_itself_is_raised_and_ends_the_tasks() -> None:
    ended: list[str] = []

    async def block() -> None:
        async with Group() as group:
            group.start(forever(ended, "a"), name="a")
            await asyncio.sleep(0)
            raise ValueError("block")

    with pytest.raises(ValueError, match="block"):
        await block()
    assert ended == ["a"]


async def test_cancelling_the_block_cancels_all() -> None:
    ended: list[str] = []
    started = asyncio.Event()

    async def block() -> None:
        async with Group() as group:
            group.start(forever(ended, "a"), name="a")
            started.set()
            await asyncio.Event().wait()

    async with Group() as outer:
        task = outer.start(block(), name="block")
        await started.wait()
        await asyncio.sleep(0)
        task.cancel()
        await outer.wait()
        assert task.cancelled()
    assert ended == ["a"]


async def test_waiting_ends_when_every_task_has() -> None:
    async with Group() as group:
        task = group.start(asyncio.sleep(0, "result"), name="a")
        await group.wait()
    assert task.result() == "result"


@pytest.mark.parametrize("inside", [False, True])
async def test_who_is_cancelled_while_another_task_fails_is_cancelled(inside: bool) -> None:
    """An agent that was told to stop just when its connection broke went on for ever."""
    broken, gate = asyncio.Event(), asyncio.Event()

    async def breaks() -> None:
        await broken.wait()
        raise ValueError("the connection")

    async def lingers() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await gate.wait()

    async def session() -> None:
        async with Group() as group:
            group.start(breaks(), name="breaks")
            group.start(lingers(), name="lingers")
            await asyncio.Event().wait()

    async def connects() -> None:
        while True:
            with suppress(ValueError):
                await session()

    async def limited() -> None:
        async with asyncio.timeout(None), Group():
            await connects()

    task = asyncio.create_task(limited() if inside else connects())
    await asyncio.sleep(0)
    broken.set()
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    gate.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert task.cancelled()


async def test_who_is_cancelled_while_his_own_work_fails_is_cancelled() -> None:
    """A site that was told to stop just as its FSM refused it once more went on for ever."""
    failed, gate = asyncio.Event(), asyncio.Event()

    async def lingers() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            failed.set()
            await gate.wait()

    async def connects() -> None:
        while True:
            with suppress(ValueError):
                async with Group() as group:
                    group.start(lingers(), name="watchdog")
                    await asyncio.sleep(0)
                    raise ValueError("refused")

    task = asyncio.create_task(connects())
    await failed.wait()
    task.cancel()
    gate.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert task.cancelled()
