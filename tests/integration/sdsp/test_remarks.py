"""What is noted of objects as they come, in a real store."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from sdsp.upstream.apply import Inbound
from sdsp.upstream.remarks import remarks_in
from shared.feed.wire import Changes, FeedObject, Position, Put, Removal, Remove, Snapshot
from shared.ids import Key
from shared.policy.conflicts.remarks import Remarks
from shared.store.contract import Draft, Store, Transaction
from tests.fakes.clock import VirtualClock

P = Key("SecurityPolicy", "common", "federation", "p")
LOCAL = P._replace(scope="site")


def policy(name: str, *, generation: int = 1, uid: str = "one") -> FeedObject:
    spec = {"rules": [{"name": name, "from": "any", "to": "any", "action": "allow"}]}
    metadata = {**P._asdict(), "revision": 7, "generation": generation, "uid": uid}
    return FeedObject(P, 7, {"apiVersion": "hanse/v1", "metadata": metadata, "spec": spec})


@pytest.fixture
def inbound(store: Store, clock: VirtualClock) -> Iterator[Inbound]:
    with ThreadPoolExecutor(1) as executor:
        yield Inbound(store, site="s1", clock=clock, executor=executor)


class Feed:
    """Hands one object after another to a site."""

    def __init__(self, inbound: Inbound) -> None:
        self.inbound = inbound
        self.revision = 0

    async def listed(self, *objects: FeedObject, incarnation: str = "i1") -> None:
        self.revision += 1
        await self.inbound.replace(Snapshot(self._position(incarnation), objects))

    async def put(self, given: FeedObject) -> None:
        self.revision += 1
        changes = Changes(self.revision - 1, self._position(), (Put(given),))
        await self.inbound.apply(changes)

    async def remove(self, key: Key) -> None:
        self.revision += 1
        gone = Remove(key, Removal.DELETED)
        await self.inbound.apply(Changes(self.revision - 1, self._position(), (gone,)))

    def _position(self, incarnation: str = "i1") -> Position:
        return Position(incarnation, self.revision, f"d{self.revision}", "v1")


async def noted(store: Store) -> Remarks:
    async with store.snapshot() as snapshot:
        return await remarks_in(snapshot)


async def write(store: Store, key: Key, spec: Mapping[str, Any]) -> int:
    async def work(transaction: Transaction) -> int:
        return (await transaction.put(Draft(key, spec, origin="local"))).revision

    return (await store.transact(work)).result


async def test_what_comes_after_a_local_namesake_is_noted_until_it_goes(
    store: Store, inbound: Inbound
) -> None:
    feed = Feed(inbound)
    await feed.listed()
    revision = await write(store, LOCAL, policy("mine").spec)
    await feed.put(policy("theirs"))
    assert (await noted(store)).arrived == {P: {"site": revision}}
    await feed.put(policy("newer", generation=2))
    assert (await noted(store)).arrived == {P: {"site": revision}}
    await feed.remove(P)
    assert await noted(store) == Remarks()


async def test_whoever_writes_a_namesake_of_what_is_there_knows_it(
    store: Store, inbound: Inbound
) -> None:
    feed = Feed(inbound)
    await feed.listed(policy("theirs"))
    await write(store, LOCAL, policy("mine").spec)
    await feed.put(policy("newer", generation=2))
    await feed.listed(policy("again", generation=3), incarnation="i2")
    assert await noted(store) == Remarks()


async def test_an_object_that_comes_back_older_is_noted_with_what_was_known(
    store: Store, inbound: Inbound
) -> None:
    feed = Feed(inbound)
    await feed.listed(policy("a", generation=4))
    await feed.put(policy("b", generation=5))
    await feed.listed(policy("a", generation=4), incarnation="i2")
    found = (await noted(store)).went_back[P]
    assert (found.before, found.generation) == (5, 4)
    assert found.known == policy("b").spec

    # A restart of the road in between forgets nothing, and older still is the same story.
    await feed.listed(policy("a", generation=4), incarnation="i2")
    await feed.put(policy("c", generation=3))
    assert (await noted(store)).went_back[P] == replace(found, generation=3)
    await feed.put(policy("d", generation=5))
    assert await noted(store) == Remarks()


async def test_another_object_of_the_name_and_the_same_text_did_not_go_back(
    store: Store, inbound: Inbound
) -> None:
    feed = Feed(inbound)
    await feed.listed(policy("a", generation=4))
    await feed.put(policy("b", generation=1, uid="another"))
    assert await noted(store) == Remarks()
    await feed.put(policy("c", generation=9, uid="another"))
    await feed.put(policy("c", generation=8, uid="another"))
    assert await noted(store) == Remarks()


async def test_many_objects_at_once_are_noted_as_single_ones_are(
    store: Store, inbound: Inbound
) -> None:
    def of(number: int, *, generation: int) -> FeedObject:
        key = P._replace(name=f"p{number}")
        given = policy("a" if generation == 1 else "b", generation=generation)
        metadata = {**given.document["metadata"], "name": key.name}
        return FeedObject(key, 7, {**given.document, "metadata": metadata})

    feed = Feed(inbound)
    local = LOCAL._replace(name="p3")
    revision = await write(store, local, policy("mine").spec)
    await feed.listed(*(of(number, generation=2) for number in range(40)))
    assert (await noted(store)).arrived == {P._replace(name="p3"): {"site": revision}}
    await feed.listed(*(of(number, generation=1) for number in range(40)), incarnation="i2")
    assert len((await noted(store)).went_back) == 40
