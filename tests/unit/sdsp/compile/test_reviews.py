"""Reviews: at once where they are cheap, later and seldom where they aren't."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from sdsp.compile.compiler import Compiler, Reviews
from sdsp.compile.model import SiteModel
from sdsp.nodes.publication import Publications
from shared.ids import Incarnation
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore
from tests.unit.sdsp.world import SITE, global_, key, policy, rule, to_network, write

OBJECTS = {
    SITE: {},
    key("Network", "A"): {"subnets": ["10.0.0.0/24"]},
    key("Node", "n1"): {},
    key("Workload", "w"): {"addresses": ["10.0.0.5"], "node": "n1"},
    global_("SecurityPolicy", "p"): policy(rule(to=to_network("A"))),
}


class Slow(Executor):
    """Does its work at once, and lets so many seconds of the virtual clock go by with it."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.takes = 0.0
        self.count = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self.count += 1
        done: Future[Any] = Future()
        self.clock.advance(self.takes)
        done.set_result(fn(*args, **kwargs))
        return done


class Site:
    def __init__(self, executor: Executor) -> None:
        self.store = MemoryStore()
        self.clock = VirtualClock()
        self.reviewing = Slow(self.clock)
        self.put_off = 0
        self.publications = Publications(Incarnation("i1"))
        self.model = SiteModel("s1")
        self.compiler = Compiler(
            self.store,
            self.publications,
            model=self.model,
            now=self.clock.now,
            executor=executor,
            clock=self.clock,
            reviewing=self.reviewing,
        )
        self.reviews = Reviews(self.compiler)
        self.compiler.on_put_off = self._count

    def _count(self) -> None:
        self.put_off += 1

    async def compiled(self, last: int) -> None:
        """Change the store and compile, without a watch."""
        await write(
            self.store,
            {key("Workload", "w"): {"addresses": [f"10.0.0.{last}"], "node": "n1"}},
        )
        await self.compiler._load()
        await self.compiler.reconcile()

    @property
    def reviewed(self) -> int:
        newest = self.compiler.newest
        assert newest is not None
        return newest.revision


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    with ThreadPoolExecutor(1) as executor:
        site = Site(executor)
        await write(site.store, OBJECTS)
        yield site


async def test_cheap_reviews_come_with_each_compilation(site: Site) -> None:
    await site.compiled(6)
    assert site.reviewed == 2
    await site.compiled(7)
    assert (site.reviewed, site.put_off) == (3, 0)
    assert site.compiler.compiled.is_set()


async def test_after_a_dear_review_the_next_is_put_off(site: Site) -> None:
    site.reviewing.takes = 2.0
    await site.compiled(6)
    await site.compiled(7)
    assert (site.reviewed, site.put_off) == (2, 1)
    published = site.publications.newest("n1")
    assert published is not None
    assert published.generation == 3, "the nodes don't wait for it"


async def test_a_review_that_was_put_off_rests_four_times_as_long_as_the_last_took(
    site: Site,
) -> None:
    site.reviewing.takes = 2.0
    await site.compiled(6)
    await site.compiled(7)
    later = asyncio.ensure_future(site.reviews.reconcile())
    await site.clock.pass_time(7.9)
    assert not later.done()
    await site.compiled(8)
    await site.clock.pass_time(0.2)
    assert (await later).changed == 1
    assert site.reviewed == 4, "it is of the newest"
    assert site.reviewing.count == 2


async def test_without_anything_new_there_is_nothing_to_make_up_for(site: Site) -> None:
    await site.compiled(6)
    assert (await site.reviews.reconcile()).changed == 0
    assert site.reviewing.count == 1


async def test_who_asks_gets_a_review_at_once(site: Site) -> None:
    site.reviewing.takes = 2.0
    await site.compiled(6)
    await site.compiled(7)
    before = site.clock.monotonic()
    found = await site.compiler.up_to_date()
    assert found is not None
    assert found.revision == 3
    assert site.clock.monotonic() - before == pytest.approx(2.0), "no rest, only its own time"
    assert (await site.reviews.reconcile()).changed == 0, "and nothing is left to make up for"


async def test_many_who_ask_share_one_review(site: Site) -> None:
    site.reviewing.takes = 2.0
    await site.compiled(6)
    await site.compiled(7)
    found = await asyncio.gather(*(site.compiler.up_to_date() for _ in range(5)))
    assert {id(each) for each in found} == {id(site.compiler.newest)}
    assert site.reviewing.count == 2


async def test_a_review_that_becomes_cheap_comes_at_once_again(site: Site) -> None:
    site.reviewing.takes = 2.0
    await site.compiled(6)
    site.reviewing.takes = 0.0
    await site.compiled(7)
    await site.compiler.up_to_date()
    await site.compiled(8)
    assert (site.reviewed, site.put_off) == (4, 1)


async def test_before_anything_is_compiled_there_is_nothing_to_review(site: Site) -> None:
    assert await site.compiler.up_to_date() is None
    assert site.reviewing.count == 0
