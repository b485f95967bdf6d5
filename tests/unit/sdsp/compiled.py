"""A compiled site with one node, and the task that reports it, without a server."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import orjson

from sdsp.compile.compiler import review_site
from sdsp.compile.model import SiteModel
from sdsp.compile.nodes import CompiledNodes
from sdsp.nodes.publication import Publications
from sdsp.nodes.states import NodeStates
from sdsp.site.away import Upward
from sdsp.site.service import SiteView
from sdsp.steady import SteadyTime
from sdsp.upstream.apply import FEED, INHERITED, POSITION
from sdsp.upstream.removals import record_name
from sdsp.upstream.report import ReportUpstream
from shared.errors import FieldError, Invalid, Unreachable
from shared.feed.wire import Position
from shared.ids import Generation, Incarnation, Revision
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore, MemoryTransaction
from tests.unit.sdsp.world import SITE, global_, key, policy, rule, to_network, write

P = global_("SecurityPolicy", "p")
AT = Position("i1", 9, "digest", "view")


class Upstream:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.is_away = False
        self.unknown: frozenset[str] = frozenset()
        """Parts of a report that this FSM doesn't know, since it is older."""

    async def post(self, path: str, body: Any) -> None:
        assert path == "/feed/v1/report"
        if self.is_away:
            raise Unreachable("away")
        if unknown := sorted(self.unknown & body.keys()):
            raise Invalid(
                "the request's body is not valid",
                fields=[
                    FieldError(each, "unknown_field", "there is no such field") for each in unknown
                ],
            )
        self.sent.append(orjson.loads(orjson.dumps(body)))


class World:
    """A compiled site with one node, and the task that reports it."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.store = MemoryStore()
        self.clock = VirtualClock()
        self.states = NodeStates(self.store)
        self.publications = Publications(Incarnation("i1"))
        self.model = SiteModel("s1")
        self.nodes = CompiledNodes("s1")
        self.newest: Any = None
        self.upstream = Upstream()
        self.is_connected = True
        self.judged: Revision | None = None
        self.view = SiteView(
            site="s1",
            store=self.store,
            newest=lambda: self.newest,
            up_to_date=self.up_to_date,
            publications=self.publications,
            states=self.states,
            upward=Upward(),
            time=SteadyTime(self.clock),
            clock=self.clock,
            executor=executor,
        )
        self.task = ReportUpstream(
            view=self.view,
            upstream=self.upstream,  # type: ignore[arg-type]  # all that it uses of a PeerClient
            connected=lambda: self.is_connected,
            judged=lambda: self.judged,
        )

    async def up_to_date(self) -> Any:
        return self.newest

    async def inherit(self, generation: int, **spec: Any) -> None:
        """Take over policy p as the feed does."""
        await write(self.store, {P: policy(rule(to=to_network("A"), **spec))})
        local = self.store.objects[P].revision

        async def work(transaction: MemoryTransaction) -> None:
            versions = {"revision": 70, "generation": generation, "local": local}
            await transaction.put_record(INHERITED, record_name(P), versions)
            await transaction.put_record(FEED, POSITION, AT.to_json())

        await self.store.transact(work)

    async def compile(self) -> None:
        async with self.store.snapshot() as snapshot:
            revision = snapshot.position.revision
            self.model.load(await snapshot.list(), revision)
        now = self.clock.now()
        changes = self.nodes.load(self.model.sources(), generation=Generation(revision), now=now)
        assert changes is not None
        self.publications.publish(changes)
        self.newest = review_site(self.model.inputs(now), Revision(revision))

    def acknowledge(self) -> None:
        newest = self.publications.newest("n1")
        assert newest is not None
        said = {"outcome": "ack", "hash": newest.hash, "read_back": newest.hash}
        self.states.report("n1", said, at=self.clock.now())

    async def told(self) -> Any:
        await self.task.reconcile()
        return self.upstream.sent[-1]


@asynccontextmanager
async def compiled() -> AsyncIterator[World]:
    with ThreadPoolExecutor(1) as executor:
        world = World(executor)
        await write(
            world.store,
            {
                SITE: {},
                global_("Network", "A"): {},
                key("Network", "A"): {"subnets": ["10.66.0.0/24"]},
                key("Node", "n1"): {},
                key("Workload", "w"): {"addresses": ["10.66.0.5"], "node": "n1"},
                key("SecurityPolicy", "ours"): policy(rule()),
            },
        )
        await world.inherit(4)
        await world.compile()
        yield world
