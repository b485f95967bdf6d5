"""The product's three programs put together for the simulation, without sockets and certificates.

Everything that decides is the product's own; what stands in for a request handler does only what
the handler does.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from dsn.dataplane.memory import MemoryDataPlane
from dsn.enforce.apply import Enforcer
from dsn.enforce.last_good import LastGood
from dsn.tasks.enforce import EnforceWanted
from dsn.tasks.read_back import RepairDrift
from dsn.upstream.follow import ConfigurationFollower
from dsn.upstream.report import Reporter
from fsm.admission import FederationAdmission
from fsm.feed.acks import SiteVoices
from fsm.feed.hub import Hub
from fsm.feed.reports import Acknowledgement, Report
from fsm.feed.select import site_key
from fsm.feed.service import Feed, Since
from fsm.rollouts.admission import RolloutAdmission
from fsm.rollouts.drafts import Wish
from fsm.rollouts.service import Asked, Rollouts
from fsm.sites.facts import KnownSites
from fsm.sites.pausing import PauseAdmission, Pauses
from fsm.tasks.compact import Compact
from fsm.tasks.flush_voices import FlushVoices
from fsm.tasks.rollout import AdvanceRollouts
from sdsp.admission import SiteAdmission
from sdsp.compile.compiler import Compiler, Reviews
from sdsp.compile.model import SiteModel
from sdsp.nodes.feed import admitted_or_refuse, configuration_lines
from sdsp.nodes.handlers import Report as NodeReport
from sdsp.nodes.publication import Publications
from sdsp.nodes.states import NodeStates
from sdsp.settings import Wishes
from sdsp.site.away import Upward
from sdsp.site.service import SiteView
from sdsp.steady import SteadyTime
from sdsp.tasks.expire_overrides import ExpireOverrides
from sdsp.upstream.apply import Inbound, claim
from sdsp.upstream.report import ReportUpstream
from sdsp.upstream.subscription import subscription_of
from shared.access.permissions import Permission
from shared.auth.identity import Caller, CallerKind, Grant
from shared.backoff import Backoff
from shared.enrolment.register import CERTIFICATES
from shared.errors import Invalid, Malformed
from shared.feed.connect import Connector
from shared.feed.follow import Follower
from shared.feed.wire import Position, parse_key
from shared.ids import Key
from shared.metrics.names import Metrics
from shared.model.base import Envelope
from shared.model.kinds import DEFAULT_SCOPE, KINDS, Home
from shared.model.selectors import Selector
from shared.model.subscription import Subscription
from shared.objects.admission import Admission, AdmissionChain
from shared.objects.call import Call
from shared.objects.service import Objects, Options, Write
from shared.objects.trail import Trail
from shared.pki.identity import SpiffeId, TrustDomain
from shared.store.contract import AuditRecord, Store, Transaction
from shared.tasks.group import Group
from shared.tasks.loop import Loop, Outcome, Reconciler
from tests.fakes.secrets import secrets_of
from tests.simulation.clock import SimulatedClock
from tests.simulation.judging import Judging
from tests.simulation.machine import Machine
from tests.simulation.recorders import RecordedCopy, RecordedPlane, record_watch

ADMIN: Final = Caller(
    CallerKind.PERSON, "user:admin", "admin", grants=(Grant("admin", frozenset(Permission)),)
)


class Program:
    """What all three have in common."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.clock: SimulatedClock = machine.clock
        self.source = random.Random(machine.source.random())
        self.loops: list[Loop] = []

    async def run(self) -> None:
        raise NotImplementedError

    def _loop(
        self, group: Group, reconciler: Reconciler, *, period: float, settle: float = 0.0
    ) -> Loop:
        loop = Loop(
            reconciler, period=period, settle=settle, backoff=self._backoff(), clock=self.clock
        )
        group.start(loop.run(), name=reconciler.name)
        self.loops.append(loop)
        return loop

    def _backoff(self, longest: float = 20.0) -> Backoff:
        return Backoff(first=0.2, longest=longest, source=self.source)


class _Writable(Program):
    """A program with a store, in which people write."""

    home: Home
    store: Store
    objects: Objects

    def _open(self) -> Store:
        return self.machine.disk.open(clock=self.clock, source=self.source)

    def _services(self, admission: Admission) -> Objects:
        trail = Trail(store=self.store, clock=self.clock)
        return Objects(
            store=self.store,
            home=self.home,
            admission=admission,
            trail=trail,
            clock=self.clock,
            metrics=Metrics(),
            secrets=secrets_of(self.clock),
        )

    async def _write(self, body: Any) -> bytes:
        call = Call(ADMIN, body["request"], repeatable=True)
        writes = [self._wish(each) for each in body["writes"]]
        applied = await self.objects.apply(call, writes, Options(force=True))
        incarnation = (await self.store.position()).incarnation
        return orjson.dumps({"revision": applied.revision, "incarnation": incarnation})

    def _wish(self, each: Any) -> Write:
        if "delete" in each:
            return Write(parse_key(each["delete"]), None)
        document = each["put"]
        kind = KINDS[document["kind"]]
        metadata = {"scope": DEFAULT_SCOPE[self.home], **document["metadata"]}
        spec = kind.spec.model_validate(document["spec"])
        envelope = Envelope[Any].model_validate({**document, "metadata": metadata, "spec": spec})
        key = Key(document["kind"], envelope.metadata.tenant, metadata["scope"], metadata["name"])
        return Write(key, envelope)


_DOMAIN: Final = TrustDomain("hanse.example")
SITES: Final = ("s1", "s2", "s3")


class Vouched:
    """A reconciler: has the sites joined, as far as anybody asks; nobody has certificates here."""

    name = "vouch for the sites"

    def __init__(self, store: Store, clock: SimulatedClock) -> None:
        self._store = store
        self._until = (clock.now() + timedelta(days=3650)).isoformat()

    async def reconcile(self) -> Outcome:
        async with self._store.snapshot() as snapshot:
            if await snapshot.records(CERTIFICATES):
                return Outcome()

        async def work(transaction: Transaction) -> None:
            for site in SITES:
                identity = str(SpiffeId.sdsp(_DOMAIN, site))
                record = {"identity": identity, "notAfter": self._until}
                await transaction.put_record(CERTIFICATES, site, record)

        await self._store.transact(work)
        return Outcome(changed=len(SITES))


class FSM(_Writable):
    home = "fsm"

    def __init__(self, machine: Machine, *, retention: timedelta) -> None:
        """`retention` is how long the log is kept; weeks in reality."""
        super().__init__(machine)
        self._retention = retention

    async def run(self) -> None:
        self.store = self._open()
        self.hub = Hub(self.store, clock=self.clock, backoff=self._backoff())
        self.feed = Feed(self.store, self.hub)
        self.voices = SiteVoices(self.store, clock=self.clock)
        judges = (FederationAdmission(self.hub), RolloutAdmission(self.hub), PauseAdmission())
        self.objects = self._services(AdmissionChain(judges))
        known = KnownSites(self.store, self.voices, trust_domain=_DOMAIN, clock=self.clock)
        self.rollouts = Rollouts(
            self.hub,
            self.store,
            objects=self.objects,
            trail=Trail(store=self.store, clock=self.clock),
            known=known,
            clock=self.clock,
        )
        self.pauses = Pauses(objects=self.objects, clock=self.clock)
        async with Group() as group:
            group.start(self.hub.run(), name="feed hub")
            self._loop(group, FlushVoices(self.voices), period=1.0)
            rollouts = AdvanceRollouts(
                self.store, self.hub, known=known, clock=self.clock, metrics=Metrics()
            )
            self._loop(group, rollouts, period=1.0)
            self._loop(group, Vouched(self.store, self.clock), period=30.0)
            compact = Compact(self.store, self.hub, retention=self._retention, clock=self.clock)
            self._loop(group, compact, period=30.0)
            await self.hub.started()
            group.start(record_watch(self.store, self.machine), name="a client's watch")
            self.machine.listen(self)
            await asyncio.Event().wait()

    async def call(
        self, peer: str, method: str, path: str, params: Mapping[str, str], body: Any
    ) -> bytes:
        match path:
            case "/api/v1/transactions":
                if "rollout" in body:
                    return await self._roll_out(body)
                if "pause" in body:
                    return await self._pause(body)
                return await self._write(body)
            case "/feed/v1/snapshot":
                since = None
                if "since_incarnation" in params:
                    since = Since(params["since_incarnation"], int(params["since_revision"]))
                revision = params.get("revision")
                return await self.feed.page(
                    peer,
                    revision=None if revision is None else int(revision),
                    page=params.get("page"),
                    since=since,
                )
            case "/feed/v1/subscription":
                audit = AuditRecord(
                    at=self.clock.now(), request_id="-", identity=peer, action="s", outcome="ok"
                )
                await self.feed.subscribe(peer, Subscription.model_validate(body), audit=audit)
            case "/feed/v1/acknowledgements":
                await self._acknowledge(peer, Acknowledgement.model_validate(body))
            case "/feed/v1/report":
                await self.voices.report(peer, Report.model_validate(body))
            case _:
                raise Malformed(f"there is no {path}")
        return b"{}"

    async def _roll_out(self, body: Any) -> bytes:
        """Write one policy that goes site by site; a site that takes long has failed soon."""
        call = Call(ADMIN, body["request"], repeatable=True)
        [wish] = [self._wish(each) for each in body["writes"]]
        assert wish.envelope is not None
        order = tuple(Selector.model_validate(each) for each in body["rollout"])
        asked = Asked(Wish(order, max_failures=9, patience="20s", name=body["request"]))
        await self.rollouts.start(call, wish.envelope, asked)
        return await self._written(wish.key)

    async def _pause(self, body: Any) -> bytes:
        """Pause a site, or let it go on if it is paused."""
        call, site = Call(ADMIN, body["request"]), body["pause"]
        stored = await self.objects.find(site_key(site))
        if stored is not None and "paused" in stored.spec:
            await self.pauses.resume(call, site, reason="r")
        else:
            await self.pauses.pause(call, site, reason="p")
        return await self._written(site_key(site))

    async def _written(self, key: Key) -> bytes:
        stored = await self.objects.find(key)
        assert stored is not None
        position = await self.store.position()
        return orjson.dumps({"revision": stored.revision, "incarnation": position.incarnation})

    @asynccontextmanager
    async def stream(
        self, peer: str, path: str, params: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        at = Position(
            params["incarnation"], int(params["revision"]), params["digest"], params["view"]
        )
        try:
            async with self.hub.watching(peer, at) as lines:
                yield lines
        finally:
            if peer not in self.hub.watched_sites:
                self.voices.left(peer)

    async def _acknowledge(self, peer: str, said: Acknowledgement) -> None:
        if said.position.revision > self.hub.position.revision:
            await self.hub.catch_up(said.position.revision)
        await self.voices.acknowledge(
            peer,
            said,
            incarnation=self.hub.position.incarnation,
            revision_of=partial(self.hub.revision_at, peer),
        )


class SDSP(_Writable):
    home = "sdsp"

    def __init__(
        self, machine: Machine, *, upstream: str, wishes: Wishes, judges: bool = False
    ) -> None:
        """With `judges` it finds conflicts, and lets people decide them."""
        super().__init__(machine)
        self._judges = judges
        self.site = machine.name
        self._upstream = upstream
        self._wishes = wishes

    async def run(self) -> None:
        self.store = self._open()
        await claim(self.store, self.site)
        self.states = NodeStates(self.store)
        await self.states.load()
        time = SteadyTime(self.clock)
        incarnation = (await self.store.position()).incarnation
        self.publications = Publications(incarnation)
        executor: Any = None
        self.compiler = Compiler(
            self.store,
            self.publications,
            model=SiteModel(self.site),
            now=time.now,
            executor=executor,
            clock=self.clock,
        )
        self.objects = self._services(
            SiteAdmission(site=self.site, now=time.now, executor=executor)
        )
        inbound = Inbound(self.store, site=self.site, clock=self.clock, executor=executor)
        self.inbound = inbound
        upstream = self.machine.client(self._upstream)
        self.follower = Follower(
            transport=upstream,
            copy=RecordedCopy(inbound, self.machine),
            connector=Connector(peer="the FSM", clock=self.clock, backoff=self._backoff()),
            subscription=subscription_of(self._wishes),
        )
        view = self._view(time)
        async with Group() as group:
            self.compiler.on_change = self._loop(group, self.compiler, period=60.0).activate
            # A program that was stopped meanwhile takes its review for a long one.
            late = self._loop(group, Reviews(self.compiler), period=60.0)
            self.compiler.on_put_off = late.activate
            follow = self.compiler.follow(clock=self.clock, backoff=self._backoff())
            group.start(follow, name="follow the store")
            self._loop(group, self.states, period=5.0, settle=1.0)
            self._loop(group, ExpireOverrides(self.store, now=time.now), period=5.0)
            group.start(self.follower.run(), name="follow the FSM")
            peer: Any = upstream
            judging = self.judging = Judging(self, time.now) if self._judges else None
            report = self._loop(
                group,
                ReportUpstream(
                    view=view,
                    upstream=peer,
                    connected=lambda: self.follower.link.connected,
                    since=lambda: self.follower.link.since,
                    judged=judging.judged if judging else lambda: None,
                ),
                period=5.0,
                settle=0.1,
            )
            look = judging.start(group, view, report) if judging else report.activate

            def compiled() -> None:
                if self.compiler.newest:
                    self.states.keep_only(self.compiler.newest.planner.places.nodes)
                look()
                report.activate()

            group.start(_when(self.compiler.compiled, compiled), name="after compiling")
            group.start(_when(self.states.changed, report.activate), name="report soon")
            group.start(record_watch(self.store, self.machine), name="a client's watch")
            self.machine.listen(self)
            await asyncio.Event().wait()

    def _view(self, time: SteadyTime) -> SiteView:
        executor: Any = None
        return SiteView(
            site=self.site,
            store=self.store,
            newest=lambda: self.compiler.newest,
            up_to_date=self.compiler.up_to_date,
            publications=self.publications,
            states=self.states,
            upward=Upward(link=lambda: self.follower.link),
            time=time,
            clock=self.clock,
            executor=executor,
        )

    async def call(
        self, peer: str, method: str, path: str, params: Mapping[str, str], body: Any
    ) -> bytes:
        match path:
            case "/api/v1/transactions":
                return await self._write(body)
            case "/node/v1/reports":
                report = NodeReport.model_validate(body)
                fields = report.model_dump(exclude={"incarnation", "telemetry"})
                self.states.report(_node(peer), fields, at=self.clock.now())
            case "/api/v1/conflicts":
                return await self.judging.listed()
            case "/api/v1/conflicts/decision":
                return await self.judging.decide(body)
            case "/api/v1/held/drop":
                audit = AuditRecord(
                    at=self.clock.now(), request_id="-", identity=peer, action="d", outcome="ok"
                )
                dropped = await self.inbound.drop_held(map(parse_key, body["keys"]), audit=audit)
                return orjson.dumps({"dropped": dropped})
            case _:
                raise Malformed(f"there is no {path}")
        return b"{}"

    @asynccontextmanager
    async def stream(
        self, peer: str, path: str, params: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        node = _node(peer)
        admitted_or_refuse(self.publications, node)
        lines = configuration_lines(
            self.publications, node, have=params.get("hash"), clock=self.clock
        )
        with self.states.connection(node, at=self.clock.now()):
            yield lines


class DSN(Program):
    """A node's agent; its data plane is the machine's and outlives it."""

    def __init__(
        self, machine: Machine, *, node: str, site: str, plane: MemoryDataPlane, file: Path
    ) -> None:
        super().__init__(machine)
        self.node = node
        self.site = site
        self._plane = plane
        self._file = file

    async def run(self) -> None:
        plane = RecordedPlane(self._plane, self.machine)
        enforcer = Enforcer(plane=plane, last_good=LastGood(self._file))
        plane.version = lambda: enforcer.wanted.version if enforcer.wanted else None
        # A data plane that was told to refuse may keep it from that for a while.
        had = self._file.exists() and not self._plane._refusals
        restored = await enforcer.restore(self.node)
        if had and not restored:
            self.machine.history.fault(f"{self.machine.name} did not enforce its last good rules")
        transport = self.machine.client(self.site)
        reporter = Reporter(
            transport=transport, plane=plane, agent="0", period=15.0, clock=self.clock
        )
        enforcer.watchers.append(reporter.note)
        reporter.note(enforcer.standing)
        self.enforcer = enforcer
        self.follower = ConfigurationFollower(
            node=self.node,
            transport=transport,
            enforcer=enforcer,
            reporter=reporter,
            connector=Connector(
                peer=self.site, clock=self.clock, backoff=self._backoff(longest=10.0)
            ),
        )
        async with Group() as group:
            enforce = self._loop(group, EnforceWanted(enforcer), period=60.0)
            self.follower.on_wanted = enforce.activate
            self._loop(group, RepairDrift(enforcer), period=30.0)
            group.start(self.follower.run(), name="follow")
            await asyncio.Event().wait()


async def _when(event: asyncio.Event, act: Callable[[], None]) -> None:
    while True:
        await event.wait()
        event.clear()
        act()


def _node(peer: str) -> str:
    """Return the node of a machine's name, `site/node`."""
    _, slash, node = peer.partition("/")
    if not slash:
        raise Invalid(f"{peer} is no node")
    return node
