from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fsm.feed import hub as hub_module
from fsm.feed.hub import Hub
from fsm.feed.item import Item
from fsm.feed.select import view_of
from shared.errors import Gone, NotFound, Unavailable
from shared.feed.serve import OUTBOX_LINES
from shared.feed.wire import Position
from shared.ids import Key
from shared.tasks.group import Group
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore
from tests.unit.fsm.feed.federation import (
    backoff,
    delete,
    document,
    key,
    network,
    policy,
    put,
    site,
    subscription,
    world_of,
)


class Setting:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore()
        self.hub = Hub(self.store, clock=self.clock, backoff=backoff())

    async def now(self, name: str = "sfo") -> Position:
        view = view_of(await world_of(self.store), name)
        assert view is not None
        at = self.store.at
        return Position(at.incarnation, at.revision, at.digest, view.digest)


@asynccontextmanager
async def running() -> AsyncIterator[Setting]:
    setting = Setting()
    await put(setting.store, site("sfo", env="prod"), site("fra", env="test"), network("AppX"))
    async with Group() as group:
        group.start(setting.hub.run(), name="hub")
        await setting.hub.started()
        yield setting


async def frame(lines: AsyncIterator[bytes]) -> Any:
    return document(await anext(lines))


async def test_one_revision_is_one_frame_with_all_that_concerns_the_site() -> None:
    async with running() as setting:
        at = await setting.now()
        async with setting.hub.watching("sfo", at) as lines:
            assert await frame(lines) == {"protocol": 1}
            await put(
                setting.store,
                policy("ours", sites={"env": "prod"}),
                policy("theirs", sites={"env": "test"}),
                network("B"),
            )
            seen = await frame(lines)
            names = [each["put"]["metadata"]["name"] for each in seen["changes"]]
            assert sorted(names) == ["B", "ours"]
            assert seen["after"] == at.revision
            assert seen["position"] == (await setting.now()).to_json()


async def test_what_does_not_concern_a_site_moves_its_bookmark_only() -> None:
    async with running() as setting:
        at = await setting.now()
        async with setting.hub.watching("sfo", at) as lines:
            await frame(lines)
            await put(setting.store, policy("theirs", sites={"env": "test"}))
            async with Group() as group:
                waiting = group.start(frame(lines), name="reader")
                await setting.clock.sleepers(1)
                await setting.clock.pass_time(5)
                bookmark = await waiting
            assert bookmark["bookmark"]
            assert bookmark["after"] == at.revision
            assert bookmark["position"]["revision"] == setting.store.at.revision


async def test_an_object_is_serialised_once_for_all_sites(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Key] = []
    real = Item.document.func

    class Counting(Item):
        pass

    def counted(item: Item) -> bytes:
        made.append(item.key)
        return real(item)

    async with running() as setting:
        prop = type(Item.__dict__["document"])(counted)
        prop.__set_name__(Item, "document")
        monkeypatch.setattr(Item, "document", prop)
        first, second = await setting.now("sfo"), await setting.now("fra")
        async with (
            setting.hub.watching("sfo", first) as one,
            setting.hub.watching("fra", second) as other,
        ):
            await frame(one), await frame(other)
            await put(setting.store, policy("both"))
            assert (await frame(one))["changes"] == (await frame(other))["changes"]
    assert made == [key("SecurityPolicy", "both")]


async def test_a_site_that_does_not_read_is_cut_off_and_others_go_on() -> None:
    async with (
        running() as setting,
        setting.hub.watching("sfo", await setting.now("sfo")) as slow,
        setting.hub.watching("fra", await setting.now("fra")) as quick,
    ):
        await frame(slow), await frame(quick)
        for number in range(OUTBOX_LINES + 2):
            await put(setting.store, network("B", vlan=number))
            assert "changes" in await frame(quick)
        assert setting.hub.watched_sites == {"fra"}
        assert await frame(slow) == {"end": "too_slow"}
        with pytest.raises(StopAsyncIteration):
            await anext(slow)


async def test_a_view_that_changes_ends_that_site_s_stream_alone() -> None:
    async with running() as setting:
        async with (
            setting.hub.watching("sfo", await setting.now("sfo")) as ours,
            setting.hub.watching("fra", await setting.now("fra")) as theirs,
        ):
            await frame(ours), await frame(theirs)
            await put(setting.store, site("sfo", env="other"), network("B"))
            assert await frame(ours) == {"end": "view_changed"}
            assert "changes" in await frame(theirs)
        await delete(setting.store, key("Site", "sfo"))
        await setting.hub.reach(setting.store.at.revision)
        with pytest.raises(NotFound):
            setting.hub.view("sfo")


async def test_a_change_too_long_for_a_line_means_to_list_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "LONGEST_LINE", 1000)
    async with running() as setting:
        before = await setting.now()
        async with setting.hub.watching("sfo", before) as lines:
            await frame(lines)
            await put(setting.store, *(network(f"net-{i}") for i in range(10)))
            assert await frame(lines) == {"end": "revision_compacted"}
        with pytest.raises(Gone) as caught:
            async with setting.hub.watching("sfo", before):
                pass
        assert caught.value.code == "revision_compacted"


async def test_a_site_ahead_of_this_process_is_waited_for() -> None:
    """Another process on the same store has served it a revision that isn't seen here yet."""
    setting = Setting()
    await put(setting.store, site("sfo"))
    ahead = await setting.now()
    async with Group() as group:
        group.start(setting.hub.run(), name="hub")
        await setting.hub.started()
        # The store moves on, the hub hears of it only after its next turn of the loop.
        await put(setting.store, network("B"))
        ahead = await setting.now()
        assert setting.hub.position.revision < ahead.revision
        async with setting.hub.watching("sfo", ahead) as lines:
            assert await frame(lines) == {"protocol": 1}
        assert setting.hub.position.revision == ahead.revision


async def test_before_it_has_read_the_store_nobody_is_served() -> None:
    setting = Setting()
    await put(setting.store, site("sfo"))
    with pytest.raises(Unavailable):
        await setting.hub.check()
    with pytest.raises(Unavailable):
        async with setting.hub.watching("sfo", await setting.now()):
            pass


async def test_a_hub_left_behind_by_compaction_begins_anew() -> None:
    class Breaking(MemoryStore):
        """Its watch falls behind compaction once."""

        broken = False

        async def watch(self, after: Any, *, selection: Any = None) -> AsyncIterator[Any]:
            if not self.broken and after >= 3:
                self.broken = True
                self.oldest = self.at.revision
            async for each in super().watch(after, selection=selection):
                yield each

    setting = Setting()
    setting.store = Breaking()
    setting.hub = Hub(setting.store, clock=setting.clock, backoff=backoff())
    await put(setting.store, site("sfo"), subscription("sfo"))
    async with Group() as group:
        group.start(setting.hub.run(), name="hub")
        await setting.hub.started()
        for name in "abcd":
            await put(setting.store, network(name))
            await setting.clock.pass_time(30)
        assert setting.hub.position.revision == setting.store.at.revision
        assert key("Network", "d") in setting.hub.world
