"""Watches and status of a store, within one process."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from shared.errors import Invalid, RevisionCompacted, Unavailable
from shared.ids import Key, Revision
from shared.store import tail
from shared.store.contract import (
    JSON,
    Bookmark,
    Commit,
    Draft,
    Operation,
    Selection,
    StatusChange,
    Store,
    Transaction,
)
from tests.contract.conftest import Opener
from tests.fakes.clock import VirtualClock

WEB = Key("Network", "common", "federation", "web")
DATABASE = Key("Network", "common", "federation", "database")


async def put(store: Store, *drafts: Draft) -> Revision:
    async def work(transaction: Transaction) -> None:
        for draft in drafts:
            await transaction.put(draft)

    return (await store.transact(work)).position.revision


async def put_numbers(store: Store, numbers: range) -> None:
    for number in numbers:
        await put(store, Draft(WEB, {"n": number}))


async def next_commits(events: AsyncIterator[Commit | Bookmark], count: int) -> list[Commit]:
    found: list[Commit] = []
    while len(found) < count:
        event = await anext(events)
        if isinstance(event, Commit):
            found.append(event)
    return found


def numbers_in(commits: list[Commit]) -> list[Mapping[str, Any]]:
    return [
        change.after.spec["n"] for commit in commits for change in commit.changes if change.after
    ]


async def test_a_watch_yields_what_was_and_what_will_be(store: Store) -> None:
    await put(store, Draft(WEB, {"n": 1}), Draft(DATABASE, {"n": 1}))
    events = store.watch(Revision(0))
    first = await anext(events)
    assert isinstance(first, Commit)
    assert [change.key for change in first.changes] == [WEB, DATABASE]

    async def work(transaction: Transaction) -> None:
        await transaction.delete(WEB)

    done = await store.transact(work)
    second = await anext(events)
    assert isinstance(second, Commit)
    assert (second.revision, second.digest) == (done.position.revision, done.position.digest)
    [change] = second.changes
    assert (change.operation, change.before, change.after) == (
        Operation.DELETE,
        first.changes[0].after,
        None,
    )


async def test_a_watch_from_the_end_begins_with_a_bookmark(store: Store) -> None:
    revision = await put(store, Draft(WEB, {}))
    position = await store.position()
    assert await anext(store.watch(revision)) == Bookmark(revision, position.digest)
    with pytest.raises(Invalid, match="future"):
        await anext(store.watch(Revision(revision + 1)))


async def test_what_is_not_selected_becomes_a_bookmark(store: Store) -> None:
    selection = Selection(kinds=frozenset({"Network"}), labels=lambda labels: "tier" in labels)
    events = store.watch(Revision(0), selection=selection)
    await anext(events)
    await put(store, Draft(WEB, {}))
    event = await anext(events)
    assert event == Bookmark(Revision(1), (await store.position()).digest)
    await put(store, Draft(WEB, {}, {"tier": "web"}), Draft(DATABASE, {}))
    event = await anext(events)
    assert isinstance(event, Commit)
    assert [change.key for change in event.changes] == [WEB]
    # It leaves the selection: that is a change of it, too.
    await put(store, Draft(WEB, {}))
    event = await anext(events)
    assert isinstance(event, Commit)
    assert event.changes[0].before is not None
    assert event.changes[0].before.labels == {"tier": "web"}


async def test_bookmarks_come_while_it_is_quiet(open_again: Opener) -> None:
    clock = VirtualClock()
    store = await open_again(clock=clock)
    events = store.watch(Revision(0))
    first = await anext(events)
    waiting = asyncio.ensure_future(anext(events))
    while not waiting.done():
        # Between two waits it reads the database, in real time.
        asleep = asyncio.ensure_future(clock.sleepers())
        await asyncio.wait({waiting, asleep}, return_when=asyncio.FIRST_COMPLETED)
        if not asleep.cancel():
            clock.advance(clock.deadlines[0] - clock.monotonic())
    assert await waiting == first
    assert 5.0 <= clock.monotonic() < 5.2


async def test_watchers_share_one_reading_of_each_commit(store: Store) -> None:
    watches = [store.watch(Revision(0)) for _ in range(50)]
    await asyncio.gather(*(anext(events) for events in watches))
    waiting = [asyncio.ensure_future(anext(events)) for events in watches]
    await asyncio.sleep(0)
    await put(store, Draft(WEB, {}))
    events = await asyncio.gather(*waiting)
    assert all(event is events[0] for event in events)


async def test_a_watcher_that_goes_leaves_the_others_watching(
    store: Store, open_again: Opener
) -> None:
    other = await open_again()
    watches = [other.watch(Revision(0)) for _ in range(4)]
    await asyncio.gather(*(anext(events) for events in watches))
    waiting = [asyncio.ensure_future(anext(events)) for events in watches]
    await asyncio.sleep(0)
    for task in waiting[:3]:  # the first of them reads for all
        task.cancel()
        await asyncio.wait([task])
    await put(store, Draft(WEB, {"n": 1}))
    event = await waiting[3]
    assert isinstance(event, Commit)


async def test_a_busy_watcher_does_not_keep_the_others_waiting(
    store: Store, open_again: Opener
) -> None:
    other = await open_again()
    busy, idle = other.watch(Revision(0)), other.watch(Revision(0))
    await anext(busy)
    await anext(idle)
    for n in range(3):
        revision = await put(store, Draft(WEB, {"n": n}))
        event = await anext(idle)  # while nobody asks `busy` for anything
        assert event.revision == revision
    assert numbers_in(await next_commits(busy, 3)) == [0, 1, 2]


@pytest.mark.parametrize(("limit", "most"), [("RING_CHANGES", 4), ("RING_BYTES", 4500)])
async def test_a_slow_watcher_reads_from_the_log(
    store: Store, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(tail, limit, most)
    slow = store.watch(Revision(0))
    await anext(slow)
    await put_numbers(store, range(30))
    assert numbers_in(await next_commits(slow, 30)) == list(range(30))
    await put_numbers(store, range(30, 33))
    assert numbers_in(await next_commits(slow, 3)) == [30, 31, 32]


@pytest.mark.parametrize(("limit", "most"), [("RING_CHANGES", 4), ("RING_BYTES", 4500)])
async def test_a_watcher_slower_than_compaction_is_cut_off(
    store: Store, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(tail, limit, most)
    slow = store.watch(Revision(0))
    await anext(slow)
    await put_numbers(store, range(30))
    await store.compact(Revision(20))
    with pytest.raises(RevisionCompacted) as caught:
        await anext(slow)
    assert caught.value.oldest == 20


async def test_a_watch_catches_up_with_more_than_it_can_read_at_once(
    store: Store, open_again: Opener
) -> None:
    other = await open_again()
    live = other.watch(Revision(0))
    await anext(live)
    await asyncio.gather(
        *(put(store, Draft(WEB._replace(name=f"n{i}"), {"n": i})) for i in range(600))
    )
    commits = await next_commits(live, 600)
    assert [commit.revision for commit in commits] == list(range(1, 601))
    again = await next_commits(store.watch(Revision(0)), 600)
    assert again == commits


async def test_a_closed_store_ends_its_watches(store: Store, open_again: Opener) -> None:
    other = await open_again()
    watches = [other.watch(Revision(0)) for _ in range(2)]
    await asyncio.gather(*(anext(events) for events in watches))
    waiting = [asyncio.ensure_future(anext(events)) for events in watches]
    await asyncio.sleep(0)
    await other.close()
    for task in waiting:
        with pytest.raises(Unavailable) as caught:
            await task
        assert caught.value.code == "store_closed"


async def test_status_is_the_latest_and_takes_no_revision(store: Store, open_again: Opener) -> None:
    await put(store, Draft(WEB, {}), Draft(DATABASE, {}))
    position = await store.position()
    await store.put_status({WEB: {"sites": 1}})
    await store.put_status({WEB: {"sites": 2}, DATABASE: {"sites": 1}})
    async with (await open_again()).snapshot() as snapshot:
        assert snapshot.position == position
        assert [each.status for each in await snapshot.list()] == [{"sites": 1}, {"sites": 2}]
    events = store.watch_status(0)
    latest = [await anext(events), await anext(events)]
    assert {each.key: each.status for each in latest} == {
        WEB: {"sites": 2},
        DATABASE: {"sites": 1},
    }
    assert latest[0].sequence < latest[1].sequence
    assert len(await store.history(WEB)) == 1


async def test_status_survives_a_change_of_spec_but_not_the_object(store: Store) -> None:
    await put(store, Draft(WEB, {"n": 1}))
    await store.put_status({WEB: {"ok": True}, DATABASE: {"ignored": True}})
    await put(store, Draft(WEB, {"n": 2}))
    async with store.snapshot() as snapshot:
        stored = await snapshot.get(WEB)
        assert stored is not None
        assert stored.status == {"ok": True}

    async def again(transaction: Transaction) -> None:
        await transaction.delete(WEB)
        await transaction.put(Draft(WEB, {"n": 3}))
        await transaction.put(Draft(DATABASE, {}))

    await store.transact(again)
    async with store.snapshot() as snapshot:
        assert [each.status for each in await snapshot.list()] == [{}, {}]


async def test_a_watch_of_status_coalesces_and_goes_on(store: Store, open_again: Opener) -> None:
    await put(store, Draft(WEB, {}))
    other = await open_again()
    events = other.watch_status(0)
    for n in range(5):
        await store.put_status({WEB: {"n": n}})
    first = await anext(events)
    assert first == StatusChange(5, WEB, {"n": 4})
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await store.put_status({WEB: {"n": 4}})  # as it was: no change
    await store.put_status({WEB: None})
    assert await waiting == StatusChange(6, WEB, {})


async def test_status_written_at_once_is_coalesced(store: Store) -> None:
    await put(store, Draft(WEB, {}))
    await asyncio.gather(*(store.put_status({WEB: {"n": n}}) for n in range(20)))
    events = store.watch_status(0)
    last = await anext(events)
    statuses: list[JSON] = [last.status]
    assert statuses == [{"n": 19}]
