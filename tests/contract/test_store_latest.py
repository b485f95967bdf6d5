"""The latest version of an object, and what judging may go by: never behind what was promised."""

import asyncio

import pytest

from shared.errors import RevisionConflict, Unavailable
from shared.ids import Key, Revision
from shared.store.contract import Draft, Selection, Store, Stored, Transaction
from tests.contract.conftest import Opener

WEB = Key("Network", "common", "federation", "web")
OTHER = WEB._replace(name="other")
NETWORKS = Selection(kinds=frozenset({"Network"}))


async def put(store: Store, number: int, key: Key = WEB) -> Stored:
    async def work(transaction: Transaction) -> Stored:
        return await transaction.put(Draft(key, {"n": number}))

    return (await store.transact(work)).result


async def delete(store: Store, key: Key = WEB) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.delete(key)

    await store.transact(work)


async def test_the_latest_is_what_was_written_here(store: Store) -> None:
    assert await store.latest(WEB) is None
    for number in range(3):
        stored = await put(store, number)
        assert await store.latest(WEB) == stored
    await delete(store)
    assert await store.latest(WEB) is None


async def test_the_latest_is_what_another_process_has_written_before(open_again: Opener) -> None:
    here, there = await open_again(), await open_again()
    for number in range(5):
        stored = await put(there, number)
        assert await here.latest(WEB) == stored
        stored = await put(here, 100 + number)
        assert await there.latest(WEB) == stored
    await delete(there)
    assert await here.latest(WEB) is None


async def test_many_who_ask_at_once_all_see_what_was_written_before(open_again: Opener) -> None:
    here, there = await open_again(), await open_again()
    await put(there, 0)
    for number in range(1, 20):
        early = [asyncio.ensure_future(here.latest(WEB)) for _ in range(5)]
        await asyncio.sleep(0)
        stored = await put(there, number)
        late = await asyncio.gather(*(here.latest(WEB) for _ in range(20)))
        assert late == [stored] * 20
        for found in await asyncio.gather(*early):
            assert found is not None
            assert found.spec["n"] in (number - 1, number)


async def test_who_leaves_while_asking_holds_up_nobody(store: Store) -> None:
    stored = await put(store, 1)
    for patience in (0, 1, 2):
        asking = [asyncio.ensure_future(store.latest(WEB)) for _ in range(6)]
        for _ in range(patience):
            await asyncio.sleep(0)
        for each in asking[::2]:
            each.cancel()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert found[1::2] == [stored] * 3
    assert await store.latest(WEB) == stored


async def test_the_latest_has_the_latest_status(open_again: Opener) -> None:
    here, there = await open_again(), await open_again()
    await put(here, 1)
    for number, store in enumerate((here, there, here)):
        await store.put_status({WEB: {"seen": number}})
        for each in (here, there):
            found = await each.latest(WEB)
            assert found is not None
            assert found.status == {"seen": number}


async def test_an_object_unchanged_is_the_same_value(store: Store) -> None:
    await put(store, 1)
    first = await store.latest(WEB)
    await put(store, 2, OTHER)
    assert await store.latest(WEB) is first


async def test_a_recent_view_has_all_that_was_written_here(store: Store) -> None:
    stored = await put(store, 1)
    other = await put(store, 2, OTHER)
    async with store.recent() as view:
        assert view.position == await store.position()
        assert await view.get(WEB) == stored
        assert await view.get(WEB._replace(name="none")) is None
        assert [each.key for each in await view.list(NETWORKS)] == [OTHER, WEB]
        assert await view.get(OTHER) == other


async def test_a_recent_view_stays_what_it_was(open_again: Opener) -> None:
    here, there = await open_again(), await open_again()
    stored = await put(here, 1)
    async with here.recent() as view:
        at = view.position
        await put(there, 2)
        await put(here, 3, OTHER)
        assert view.position == at
        assert await view.get(WEB) == stored
        assert await view.get(OTHER) is None
        assert [each.spec for each in await view.list(NETWORKS)] == [{"n": 1}]


async def test_what_was_judged_by_a_recent_view_is_not_committed_over_others_writes(
    open_again: Opener,
) -> None:
    here, there = await open_again(), await open_again()
    await put(here, 1)
    async with here.recent() as view:
        judged_at = view.position.revision
    await put(there, 2)

    async def work(transaction: Transaction) -> Stored:
        return await transaction.put(Draft(OTHER, {}))

    with pytest.raises(RevisionConflict) as caught:
        await here.transact(work, validated_at=judged_at, depends_on=NETWORKS)
    assert caught.value.code == "validation_outdated"
    assert await here.latest(OTHER) is None


async def test_writers_of_two_processes_never_overwrite_what_they_have_not_seen(
    open_again: Opener,
) -> None:
    stores = [await open_again(), await open_again()]
    await put(stores[0], 0)
    runs: list[Revision] = []

    async def count(store: Store) -> None:
        async def work(transaction: Transaction) -> None:
            current = await transaction.get(WEB)
            assert current is not None
            written = await transaction.put(Draft(WEB, {"n": current.spec["n"] + 1}))
            runs.append(written.revision)

        for _ in range(10):
            await store.transact(work)

    await asyncio.gather(*(count(store) for store in stores))
    for store in stores:
        found = await store.latest(WEB)
        assert found is not None
        assert found.spec == {"n": 20}
        assert found.revision == 21


async def test_a_write_refused_by_what_is_known_here_is_right_about_what_others_wrote(
    open_again: Opener,
) -> None:
    here, there = await open_again(), await open_again()
    await put(here, 1)
    theirs = await put(there, 2)

    async def work(transaction: Transaction) -> Stored:
        return await transaction.put(Draft(WEB, {"n": 3}), expected=theirs.revision)

    # This process has not seen that revision yet, and must not call it wrong.
    assert (await here.transact(work)).result.spec == {"n": 3}


@pytest.mark.parametrize("patience", [0, 1, 2, 5, 20])
async def test_a_store_that_is_closed_while_somebody_asks_leaves_nothing_open(
    open_again: Opener, patience: int
) -> None:
    store = await open_again()
    asking = [asyncio.ensure_future(store.latest(WEB)) for _ in range(4)]
    for _ in range(patience):
        await asyncio.sleep(0)
    asking[0].cancel()
    await store.close()
    for found in await asyncio.gather(*asking, return_exceptions=True):
        # Found to be absent, left, or told that it is closed; a warning would be an error.
        assert found is None or isinstance(found, asyncio.CancelledError | Unavailable)


async def test_a_page_is_the_same_whether_it_comes_from_memory_or_not(open_again: Opener) -> None:
    here, there = await open_again(), await open_again()
    keys = [WEB._replace(name=f"web-{number}") for number in range(6)]

    async def pages(store: Store) -> list[Stored]:
        found: list[Stored] = []
        async with store.snapshot() as snapshot:
            while True:
                after = found[-1].key if found else None
                page = await snapshot.list(NETWORKS, after=after, limit=2)
                found += page
                if len(page) < 2:
                    return found

    async def whole(store: Store) -> list[Stored]:
        async with store.snapshot() as snapshot:
            return list(await snapshot.list(NETWORKS))

    for number, key in enumerate(keys):
        writer, reader = (here, there) if number % 2 else (there, here)
        await put(writer, number, key)
        await put(writer, 10 + number, keys[0])
        await writer.put_status({key: {"seen": number}})
        if number == 4:
            await delete(writer, keys[1])
        for store in (reader, writer):
            await store.latest(key)
            expected = await whole(store)
            assert await pages(store) == expected
            assert await pages(store) == expected
            async with store.snapshot() as snapshot:
                seen = Selection(kinds=frozenset({"Network"}), labels=lambda labels: not labels)
                assert list(await snapshot.list(seen, limit=3)) == expected[:3]
                none = Selection(kinds=frozenset({"Network"}), labels=bool)
                assert list(await snapshot.list(none, limit=3)) == []
