from datetime import timedelta

import orjson
import pytest

from fsm.feed.service import Since
from fsm.tasks.compact import MARK_EVERY, Compact
from fsm.tasks.tidy import Tidy
from shared.enrolment.revocations import Revocations
from shared.errors import RevisionCompacted
from shared.tasks.group import Group
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore
from tests.unit.fsm.feed.federation import (
    FeedServer,
    delete,
    key,
    network,
    policy,
    put,
    site,
    subscription,
)

RETENTION = timedelta(days=7)


def passes(compact: Compact, clock: VirtualClock, hours: int):
    async def run() -> None:
        for _ in range(hours):
            await compact.reconcile()
            clock.advance(MARK_EVERY.total_seconds())

    return run()


async def test_the_log_is_kept_for_its_retention() -> None:
    clock, store = VirtualClock(), MemoryStore()
    server = FeedServer(store, clock=clock)
    compact = Compact(store, server.hub, retention=RETENTION, clock=clock)
    await put(store, site("sfo"))
    await passes(compact, clock, 24)
    await put(store, network("AppX"))
    first = store.at.revision
    await passes(compact, clock, 24 * 6)
    assert store.oldest == 0
    await put(store, network("B"))
    await passes(compact, clock, 24 * 2)
    assert store.oldest == first, "what was so seven days ago is the oldest that can be resumed"
    marks = store.kept["compaction"]["marks"]["marks"]
    assert len(marks) <= 24 * 7 + 2, "marks don't pile up"


async def test_a_site_behind_compaction_is_told_what_to_let_go() -> None:
    clock, store = VirtualClock(), MemoryStore()
    server = FeedServer(store, clock=clock)
    compact = Compact(store, server.hub, retention=RETENTION, clock=clock)
    await put(store, site("sfo", env="prod"))
    await put(store, policy("kept"), policy("gone"), policy("moved"), network("AppX"))
    async with Group() as group:
        group.start(server.hub.run(), name="hub")
        await server.hub.started()
        old = await server.send("POST", "/feed/v1/acknowledgements", await acknowledgement(server))
        assert old == b""
        await server.voices.flush()
        since = Since(store.at.incarnation, store.at.revision)

        # The site is cut off; meanwhile much happens, and the log is dropped.
        await delete(store, key("SecurityPolicy", "gone"))
        await put(store, policy("moved", sites={"env": "test"}))
        await put(store, policy("came-and-went"))
        await delete(store, key("SecurityPolicy", "came-and-went"))
        await passes(compact, clock, 24 * 8)
        with pytest.raises(RevisionCompacted):
            async with store.snapshot(since.revision):
                pass
        await server.hub.reach(store.at.revision)
        page = orjson.loads(await server.feed.page("sfo", revision=None, page=None, since=since))
    reasons = {each["key"]["name"]: each["reason"] for each in page["tombstones"]}
    assert reasons["gone"] == "deleted"
    assert reasons["moved"] == "deselected"
    assert "kept" not in reasons


async def acknowledgement(server: FeedServer) -> object:
    page = orjson.loads(await server.feed.page("sfo", revision=None, page=None, since=None))
    return {"position": page["position"], "outcome": "ack"}


async def test_tombstones_are_told_for_ninety_days_and_no_longer() -> None:
    clock, store = VirtualClock(), MemoryStore()
    server = FeedServer(store, clock=clock)
    compact = Compact(store, server.hub, retention=RETENTION, clock=clock)
    tidy = Tidy(store, Revocations(), clock=clock)
    await put(store, site("sfo"), policy("p"))
    async with Group() as group:
        group.start(server.hub.run(), name="hub")
        await server.hub.started()
        await server.send("POST", "/feed/v1/acknowledgements", await acknowledgement(server))
        await server.voices.flush()
    await put(store, policy("p", sites={"env": "test"}))
    await passes(compact, clock, 24 * 8)
    assert "sfo" in store.kept["feed.delivered"]
    clock.advance(timedelta(days=89).total_seconds())
    await tidy.reconcile()
    assert "sfo" in store.kept["feed.delivered"]
    clock.advance(timedelta(days=2).total_seconds())
    await tidy.reconcile()
    assert "sfo" not in store.kept["feed.delivered"]


async def test_what_belongs_to_a_deleted_site_is_dropped() -> None:
    clock, store = VirtualClock(), MemoryStore()
    await put(store, site("sfo"), site("fra"), subscription("sfo"), subscription("fra"))
    store.kept["feed.heard"] = {"sfo": {}, "fra": {}}
    store.kept["feed.reports"] = {"sfo": {}}
    await delete(store, key("Site", "sfo"))
    await Tidy(store, Revocations(), clock=clock).reconcile()
    assert store.kept["feed.heard"] == {"fra": {}}
    assert store.kept["feed.reports"] == {}
    assert {each.name for each in store.objects if each.kind == "Subscription"} == {"fra"}
