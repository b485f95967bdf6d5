"""From the store to the publications."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import orjson
import pytest

from sdsp.compile.compiler import Compiler
from sdsp.compile.model import SiteModel
from sdsp.nodes.publication import Publications
from shared.backoff import Backoff
from shared.errors import Gone, Unavailable
from shared.ids import Incarnation
from shared.policy.nodeconfig import from_json
from shared.policy.nodedelta import apply_delta
from shared.tasks.group import Group
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore
from tests.unit.sdsp.world import SITE, global_, key, policy, rule, to_network, write


class Wary(MemoryStore):
    """A store whose watch can fail, as when the database is away."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Exception] = []
        self.watches = 0

    async def watch(self, *args, **kwargs):
        self.watches += 1
        if self.failures:
            raise self.failures.pop(0)
        async for event in super().watch(*args, **kwargs):
            yield event


class World:
    def __init__(self, store: Wary, executor: ThreadPoolExecutor) -> None:
        self.store = store
        self.clock = VirtualClock()
        self.publications = Publications(Incarnation("i1"))
        self.compiler = Compiler(
            store,
            self.publications,
            model=SiteModel("s1"),
            now=self.clock.now,
            executor=executor,
            clock=self.clock,
        )
        self.wanted = asyncio.Event()
        self.compiler.on_change = self.wanted.set

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Group]:
        backoff = Backoff(first=1.0, longest=1.0, source=random.Random(1))
        async with Group() as group:
            group.start(self.compiler.follow(clock=self.clock, backoff=backoff), name="follow")
            await self.wanted.wait()
            yield group

    async def caught_up(self, revision: int) -> None:
        await turns(lambda: self.compiler._model.revision >= revision)


async def turns(until: Callable[[], bool]) -> None:
    """Let the loop turn until it is so; pytest-timeout ends a wait for ever."""
    while not until():  # noqa: ASYNC110 - what it waits for has no event of its own
        await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with ThreadPoolExecutor(1) as executor:
        yield World(Wary(), executor)


SITE_WITH_A_NODE = {
    SITE: {},
    key("Network", "A"): {"subnets": ["10.0.0.0/24"]},
    key("Node", "n1"): {},
    key("Workload", "w"): {"addresses": ["10.0.0.5"], "node": "n1"},
    global_("SecurityPolicy", "p"): policy(rule(to=to_network("A"))),
}


async def test_before_it_has_heard_of_itself_a_site_publishes_nothing(world: World) -> None:
    async with world.following():
        await world.compiler.reconcile()
        assert world.compiler.newest is None
        assert not world.publications.is_complete

        await write(world.store, SITE_WITH_A_NODE)
        await world.caught_up(1)
        await world.compiler.reconcile()
        newest = world.publications.newest("n1")
        assert newest is not None
        assert newest.generation == 1


async def test_a_burst_of_commits_is_one_compilation_of_the_last(world: World) -> None:
    await write(world.store, SITE_WITH_A_NODE)
    async with world.following():
        await world.compiler.reconcile()
        for last in range(6, 16):
            spec = {"addresses": [f"10.0.0.{last}"], "node": "n1"}
            await write(world.store, {key("Workload", "w"): spec})
        await world.caught_up(11)

        outcome = await world.compiler.reconcile()
        assert outcome.changed == 1
        newest = world.publications.newest("n1")
        assert newest is not None
        assert await enforced(world, "n1") == ["10.0.0.15/32"]
        assert (await world.compiler.reconcile()).changed == 0
        assert world.compiler.newest is not None
        assert world.compiler.newest.revision == 11


async def test_what_arrives_during_a_compilation_goes_into_the_next(world: World) -> None:
    await write(world.store, SITE_WITH_A_NODE)
    async with world.following() as group:
        first = group.start(world.compiler.reconcile(), name="first")
        await asyncio.sleep(0)
        await write(world.store, {key("Node", "n2"): {}})
        await world.caught_up(2)
        await first
        await world.compiler.reconcile()
        assert world.publications.newest("n2") is not None


async def test_a_log_compacted_under_it_means_to_load_again(world: World) -> None:
    await write(world.store, SITE_WITH_A_NODE)
    world.store.failures = [Gone("compacted", code="revision_compacted")]
    async with world.following():
        await turns(lambda: world.store.watches == 2)
        await write(world.store, {key("Node", "n2"): {}})
        await world.caught_up(2)
        await world.compiler.reconcile()
        assert world.publications.newest("n2") is not None


async def test_it_outlives_a_database_that_goes_away(world: World) -> None:
    await write(world.store, SITE_WITH_A_NODE)
    world.store.failures = [Unavailable("away"), Unavailable("away")]
    async with world.following():
        while world.store.watches < 3:
            await world.clock.pass_time(1.0)
        await write(world.store, {key("Node", "n2"): {}})
        await world.caught_up(2)


async def test_another_store_beneath_ends_it(world: World) -> None:
    world.store.failures = [Gone("another", code="history_diverged")]
    with pytest.raises(Gone, match="another"):
        async with world.following():
            await asyncio.Event().wait()


async def enforced(world: World, node: str) -> list[str]:
    """Return the own addresses in a node's newest configuration."""
    whole = await world.compiler.snapshot(node)
    assert whole is not None
    addresses: list[str] = orjson.loads(whole[1])["snapshot"]["addresses"]
    return addresses


async def test_an_unchanged_node_keeps_its_generation(world: World) -> None:
    await write(world.store, {**SITE_WITH_A_NODE, key("Node", "n2"): {}})
    async with world.following():
        await world.compiler.reconcile()
        before = world.publications.newest("n2")
        spec = {"addresses": ["10.0.0.6"], "node": "n1"}
        await write(world.store, {key("Workload", "w"): spec})
        await world.caught_up(2)
        await world.compiler.reconcile()
        assert world.publications.newest("n2") is before
        changed = world.publications.newest("n1")
        assert changed is not None
        assert changed.generation == 2


async def test_a_change_is_a_delta_from_what_was_published_before(world: World) -> None:
    await write(world.store, SITE_WITH_A_NODE)
    async with world.following():
        await world.compiler.reconcile()
        before = world.publications.newest("n1")
        whole = await world.compiler.snapshot("n1")
        assert before is not None
        assert whole is not None
        spec = {"addresses": ["10.0.0.6"], "node": "n1"}
        await write(world.store, {key("Workload", "w"): spec})
        await world.caught_up(2)
        await world.compiler.reconcile()
        line = world.publications.step("n1", before.hash)
        assert line is not None
        have = from_json(orjson.loads(whole[1])["snapshot"])
        now = apply_delta(have, orjson.loads(line)["delta"])
        assert now.addresses == ("10.0.0.6/32",)
        again = await world.compiler.snapshot("n1")
        assert again is not None
        assert from_json(orjson.loads(again[1])["snapshot"]) == now


async def test_a_site_that_goes_and_comes_back_is_compiled_anew(world: World) -> None:
    await write(world.store, SITE_WITH_A_NODE)
    async with world.following():
        await world.compiler.reconcile()
        await write(world.store, {}, delete=[SITE])
        await world.caught_up(2)
        await world.compiler.reconcile()
        await write(world.store, {SITE: {"defaultAction": "allow"}})
        await world.caught_up(3)
        await world.compiler.reconcile()
        newest = world.publications.newest("n1")
        assert newest is not None
        assert newest.generation == 3


async def test_what_was_reviewed_is_what_was_compiled(world: World) -> None:
    await write(world.store, SITE_WITH_A_NODE)
    async with world.following():
        await world.compiler.reconcile()
        await write(world.store, {key("Node", "n2"): {}})
        await world.caught_up(2)
        # Not compiled yet: nobody may be told that it counts.
        found = await world.compiler.up_to_date()
        assert found is not None
        assert found.revision == 1
        assert list(found.planner.places.nodes) == ["n1"]
