"""Many watchers of one store: who is told what, how often, and by whom."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from shared.access.permissions import reading
from shared.auth.identity import Grant
from shared.errors import HanseError, Unavailable
from shared.ids import Key, Revision
from shared.objects import broadcast as broadcast_module
from shared.objects.broadcast import Broadcast, View
from shared.objects.selection import parse_label_selector
from shared.store.contract import EVERYTHING, Bookmark, Commit, Draft, Selection
from shared.tasks.group import Group
from shared.tasks.streams import LONG, closing
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore

KINDS = frozenset({"Network"})


def grant(*tenants: str) -> Grant:
    held = frozenset({reading("Network")})
    return Grant("viewer", held, tenants=frozenset(tenants) if tenants else None)


def view(*tenants: str, selector: str | None = None) -> View:
    parsed = parse_label_selector(selector)
    labels = parsed.matches if parsed else None
    return View((grant(*tenants),), KINDS, selector=selector, labels=labels)


async def put(store: MemoryStore, *names: str, tenant: str = "common", **spec: object) -> None:
    async def work(transaction) -> None:
        for name in names:
            await transaction.put(Draft(Key("Network", tenant, "federation", name), dict(spec)))

    await store.transact(work)


class Reader:
    """One watcher and its connection, which takes chunks while `takes` says so."""

    def __init__(self, lines: AsyncIterator[object]) -> None:
        self.chunks: list[bytes] = []
        self.own: list[bytes] = []
        self.heard: list[bytes] = []
        self.sat = 0
        self.error: HanseError | None = None
        self.takes = True
        self._lines = lines

    def offer(self, chunk: bytes) -> bool:
        if not self.takes:
            return False
        self.chunks.append(chunk)
        size, _, rest = chunk.partition(b"\r\n")
        assert len(rest) == int(size, 16) + 2
        assert rest.endswith(b"\r\n")
        self.heard.append(rest[:-2])
        return True

    async def run(self) -> None:
        try:
            async with closing(self._lines) as lines:
                async for each in lines:
                    if isinstance(each, bytes):
                        self.own.append(each)
                        self.heard.append(each)
                    else:
                        self.sat += 1
                        await each.take(self)
        except HanseError as exc:
            self.error = exc

    @property
    def revisions(self) -> list[int]:
        documents = [orjson.loads(each) for each in self.heard]
        return [each["revision"] for each in documents if each["type"] == "commit"]


class Setting:
    def __init__(self, group: Group) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore()
        self.broadcast = Broadcast(self.store, clock=self.clock)
        self.group = group

    async def reader(self, watched: View, *, after: int | None = None) -> Reader:
        at = Revision(self.store.at.revision if after is None else after)
        reader = Reader(self.broadcast.watch(watched, at))
        self.group.start(reader.run(), name="reader")
        await settle()
        return reader

    async def seated(self, *views: View) -> list[Reader]:
        readers = [await self.reader(each) for each in views]
        # Those who came before the store was followed sit down behind the first commit.
        await put(self.store, "first", tenant="everybody")
        await settle()
        return readers


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


@asynccontextmanager
async def running() -> AsyncIterator[Setting]:
    async with Group() as group:
        setting = Setting(group)
        group.start(setting.broadcast.run(), name="broadcast")
        yield setting


async def test_watchers_of_one_view_get_the_same_bytes() -> None:
    async with running() as setting:
        readers = await setting.seated(*(view() for _ in range(5)))
        assert setting.broadcast.seated == 5
        await put(setting.store, "a")
        await settle()
        assert {id(reader.chunks[-1]) for reader in readers} == {id(readers[0].chunks[-1])}
        assert readers[0].revisions == [1, 2]


async def test_nobody_is_told_what_another_view_may_see() -> None:
    async with running() as setting:
        all_, mine, theirs = await setting.seated(view(), view("a"), view("b"))
        await put(setting.store, "x", tenant="a")
        await put(setting.store, "y", tenant="b")
        await settle()
        assert all_.revisions == [1, 2, 3]
        assert mine.revisions == [2]
        assert theirs.revisions == [3]
        assert setting.broadcast.seated == 3
        assert not any(b'"y"' in each for each in mine.heard)


async def test_labels_make_another_view() -> None:
    async with running() as setting:
        some, all_ = await setting.seated(view(selector="env=prod"), view())
        await put(setting.store, "x")
        await settle()
        assert some.revisions == []
        assert all_.revisions == [1, 2]


async def test_a_slow_watcher_goes_on_from_its_own_position() -> None:
    async with running() as setting:
        slow, quick = await setting.seated(view(), view())
        slow.takes = False
        await put(setting.store, "a")
        await settle()
        assert len(slow.own) == len(quick.own) + 1
        slow.takes = True
        await put(setting.store, "b")
        await settle()
        assert slow.revisions == quick.revisions == [1, 2, 3]
        assert setting.broadcast.seated == 2


async def test_long_lines_are_taken_at_each_one_s_own_pace() -> None:
    async with running() as setting:
        one, other = await setting.seated(view(), view())
        await put(setting.store, "long", filler="x" * LONG)
        await settle()
        assert one.revisions == other.revisions == [1, 2]
        assert all(len(chunk) < LONG for chunk in one.chunks)
        assert one.own[-1] is other.own[-1], "there is one copy for all"
        assert setting.broadcast.seated == 2


async def test_a_view_without_news_is_told_once_in_a_while_how_far_it_is() -> None:
    async with running() as setting:
        (mine,) = await setting.seated(view("a"))
        setting.clock.advance(broadcast_module.CATCH_UP)
        before = len(mine.heard)
        for number in range(10):
            await put(setting.store, f"n{number}", tenant="b")
            await settle()
        assert len(mine.heard) == before + 1
        setting.clock.advance(broadcast_module.CATCH_UP)
        await put(setting.store, "x", tenant="b")
        await settle()
        last = orjson.loads(mine.heard[-1])
        assert last == {"type": "bookmark", "revision": setting.store.at.revision}


async def test_every_watcher_gets_every_commit_once_and_in_order_however_they_falter() -> None:
    chance = random.Random(7)
    async with running() as setting:
        readers = [await setting.reader(view()) for _ in range(20)]
        for number in range(200):
            for reader in readers:
                reader.takes = chance.random() < 0.8
            await put(setting.store, "n", number=number)
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            if chance.random() < 0.1:
                late = await setting.reader(view(), after=0)
                readers.append(late)
        await settle()
        assert {tuple(reader.revisions) for reader in readers} == {tuple(range(1, 201))}
        assert max(reader.sat for reader in readers) > 10, "they did falter"


class FailingStore(MemoryStore):
    """Its watches fail once it is told to."""

    failing = False

    async def watch(
        self, after: Revision, *, selection: Selection = EVERYTHING
    ) -> AsyncIterator[Commit | Bookmark]:
        async for each in super().watch(after, selection=selection):
            if self.failing:
                raise Unavailable("the store has been closed", code="store_closed")
            yield each


async def test_what_ends_the_store_s_watch_each_watcher_hears_itself() -> None:
    async with Group() as group:
        setting = Setting(group)
        setting.store = FailingStore()
        setting.broadcast = Broadcast(setting.store, clock=setting.clock)
        group.start(setting.broadcast.run(), name="broadcast")
        readers = await setting.seated(view(), view())
        setting.store.failing = True
        await put(setting.store, "a")
        await settle()
        assert [reader.error and reader.error.code for reader in readers] == ["store_closed"] * 2
        assert setting.broadcast.seated == 0


@pytest.mark.parametrize("count", [1, 3])
async def test_the_store_is_followed_for_those_who_are_there(count: int) -> None:
    async with running() as setting:
        async with Group() as group:
            for _ in range(count):
                reader = Reader(setting.broadcast.watch(view(), Revision(0)))
                group.start(reader.run(), name="reader")
            await settle()
            await put(setting.store, "a")
            await settle()
            assert setting.broadcast.seated == count
        await settle()
        assert setting.broadcast.seated == 0
        assert setting.broadcast.is_following
        await put(setting.store, "b")
        await settle()
        assert not setting.broadcast.is_following, "it waits for somebody to come"
