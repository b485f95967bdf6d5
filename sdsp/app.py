"""An SDSP's composition root: the only place that makes its parts and connects them."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from sdsp.admission import SiteAdmission
from sdsp.compile.compiler import Compiler
from sdsp.compile.model import SiteModel
from sdsp.nodes import handlers as node_handlers
from sdsp.nodes.enroll import NodeEnrolment
from sdsp.nodes.publication import Publications
from sdsp.nodes.states import NodeStates
from sdsp.settings import SDSPSettings
from sdsp.site import handlers as site_handlers
from sdsp.site.service import SiteView
from sdsp.tasks.certificates import RenewCertificates
from sdsp.tasks.expire_overrides import ExpireOverrides
from sdsp.tasks.forget_expired import ForgetExpired
from sdsp.upstream.apply import Inbound
from sdsp.upstream.enroll import SiteCredentials
from sdsp.upstream.report import ReportUpstream
from shared.backoff import Backoff
from shared.clock import Clock
from shared.enrolment import handlers as enrolment_handlers
from shared.enrolment.register import Revocations
from shared.errors import Invalid
from shared.feed.connect import Connector
from shared.feed.follow import Follower
from shared.http.peer import PeerClient
from shared.http.routes import Routes
from shared.http.server import Server, serving
from shared.metrics.names import Metrics
from shared.objects.api import Parts, Services, Tokens, Trust, create_api, create_services
from shared.pki.authority import Authority
from shared.pki.certificates import certificates_to_pem
from shared.pki.identity import Expectation, Role, SpiffeId
from shared.pki.tls import HotContext, ServerCheck, client_context, server_context
from shared.policy.compile import SitePlanner
from shared.policy.inputs import SiteInputs
from shared.policy.nodeplan import admitted_configurations
from shared.store.contract import Store
from shared.store.sql import open_store
from shared.tasks.group import Group
from shared.tasks.loop import Loop, Reconciler

# Reports go out this long after something changed, so that a burst is one report.
REPORT_SETTLE: Final = 0.1
_FIRST_RETRY: Final = 0.2
_LONGEST_RETRY: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The parts of a running SDSP, for those who start it."""

    server: Server
    store: Store
    compiler: Compiler
    follower: Follower | None


@asynccontextmanager
async def running(
    settings: SDSPSettings, data: Path, *, clock: Clock, source: random.Random
) -> AsyncIterator[Site]:
    """Serve a site that has joined, while the block runs.

    Invalid (`not_joined`) if it has not; else what opening the store and the port may raise.
    """
    credentials = SiteCredentials.beneath(data)
    if not settings.site or not credentials.server.exists():
        raise Invalid(
            f"the SDSP in {data} has not joined yet; run: hanse sdsp join --data {data} …",
            code="not_joined",
        )
    async with AsyncExitStack() as stack:
        store = await open_store(settings.database_url(data), clock=clock)
        stack.push_async_callback(store.close)
        executor = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="compile"))
        parts = await _Parts.make(settings, data, store, credentials, clock=clock, source=source)
        compiler = parts.compiler(executor)
        upstream = parts.upstream()
        if upstream:
            stack.push_async_callback(upstream.client.close)
        app, view = parts.application(compiler, upstream)
        # The last word of the nodes, for whoever starts next.
        stack.push_async_callback(parts.states.reconcile)
        group = await stack.enter_async_context(Group())
        parts.start(group, compiler, upstream, view)
        server = await stack.enter_async_context(
            serving(app, host=settings.listen.host, port=settings.listen.port, tls=parts.server_tls)
        )
        yield Site(
            server=server,
            store=store,
            compiler=compiler,
            follower=upstream.follower if upstream else None,
        )


@dataclass(frozen=True, slots=True)
class _Upstream:
    client: PeerClient
    follower: Follower


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the steps of putting a site together hand on."""

    settings: SDSPSettings
    data: Path
    store: Store
    credentials: SiteCredentials
    authority: Authority
    server_tls: HotContext
    upstream_tls: HotContext
    revocations: Revocations
    publications: Publications
    states: NodeStates
    inbound: Inbound
    clock: Clock
    source: random.Random

    @classmethod
    async def make(
        cls,
        settings: SDSPSettings,
        data: Path,
        store: Store,
        credentials: SiteCredentials,
        *,
        clock: Clock,
        source: random.Random,
    ) -> "_Parts":
        authority = Authority(credentials.authority.load(), clock=clock)
        own = credentials.server.load()
        revocations = Revocations()
        async with store.snapshot() as snapshot:
            await revocations.read(snapshot)
        check = ServerCheck(authority.trust_domain, (Expectation(Role.FSM),), revoked=revocations)
        states = NodeStates(store)
        await states.load()
        return cls(
            settings=settings,
            data=data,
            store=store,
            credentials=credentials,
            authority=authority,
            server_tls=server_context(own),
            upstream_tls=client_context(own, check=check),
            revocations=revocations,
            publications=Publications((await store.position()).incarnation),
            states=states,
            inbound=Inbound(store, site=settings.site, clock=clock, enforced_rules=enforced_rules),
            clock=clock,
            source=source,
        )

    def compiler(self, executor: ThreadPoolExecutor) -> Compiler:
        return Compiler(
            self.store,
            self.publications,
            model=SiteModel(self.settings.site),
            node_configurations=admitted_configurations,
            clock=self.clock,
            executor=executor,
        )

    def upstream(self) -> _Upstream | None:
        if not self.settings.upstream:
            return None
        client = PeerClient(self.settings.upstream, tls=self.upstream_tls)
        connector = Connector(peer="the FSM", clock=self.clock, backoff=self._backoff())
        follower = Follower(
            transport=client, copy=self.inbound, connector=connector, subscription={}
        )
        return _Upstream(client, follower)

    def application(
        self, compiler: Compiler, upstream: _Upstream | None
    ) -> tuple[web.Application, SiteView]:
        view = SiteView(
            site=self.settings.site,
            store=self.store,
            newest=lambda: compiler.newest,
            publications=self.publications,
            states=self.states,
            inbound=self.inbound,
            link=lambda: upstream.follower.link if upstream else None,
            clock=self.clock,
        )
        parts = self._api()
        services = create_services(parts)
        app = create_api(parts, services)
        app[node_handlers.ENROLMENT] = self._enrolment(services)
        app[node_handlers.PUBLICATIONS] = self.publications
        app[node_handlers.STATES] = self.states
        app[site_handlers.SITE_VIEW] = view
        app[site_handlers.INBOUND] = self.inbound
        app[enrolment_handlers.ROOTS] = lambda: certificates_to_pem(
            self.credentials.server.load_public()[1]
        )
        return app, view

    def start(
        self, group: Group, compiler: Compiler, upstream: _Upstream | None, view: SiteView
    ) -> None:
        """Start everything that runs beside the server."""
        group.start(compiler.run(), name="compile")
        self._loop(group, self.states, period=5.0, settle=1.0)
        self._loop(group, ExpireOverrides(self.store, clock=self.clock), period=5.0)
        self._loop(
            group,
            ForgetExpired(self.store, self.revocations, clock=self.clock),
            period=30.0,
        )
        renew = RenewCertificates(
            self.credentials,
            upstream=upstream.client if upstream else None,
            contexts=(self.server_tls, self.upstream_tls),
            clock=self.clock,
        )
        self._loop(group, renew, period=60.0)
        if upstream:
            group.start(upstream.follower.run(), name="follow the FSM")
            report = self._loop(
                group,
                ReportUpstream(
                    view=view,
                    inbound=self.inbound,
                    upstream=upstream.client,
                    connected=lambda: upstream.follower.link.connected,
                ),
                period=5.0,
                settle=REPORT_SETTLE,
            )
            for event in (compiler.compiled, self.states.changed):
                group.start(_activate_on(event, report.activate), name="report soon")

    def _loop(
        self, group: Group, reconciler: Reconciler, *, period: float, settle: float = 0.0
    ) -> Loop:
        loop = Loop(
            reconciler, period=period, settle=settle, backoff=self._backoff(), clock=self.clock
        )
        group.start(loop.run(), name=reconciler.name)
        return loop

    def _backoff(self) -> Backoff:
        return Backoff(first=_FIRST_RETRY, longest=_LONGEST_RETRY, source=self.source)

    def _enrolment(self, services: Services) -> NodeEnrolment:
        return NodeEnrolment(
            self.store,
            authority=lambda: Authority(self.credentials.authority.load(), clock=self.clock),
            revocations=self.revocations,
            trail=services.trail,
            clock=self.clock,
        )

    def _api(self) -> Parts:
        identity = str(SpiffeId.sdsp(self.authority.trust_domain, self.settings.site))
        # Names of nodes are unique within a site only: another site's node-1 is not ours.
        site = self.settings.site
        expected = (
            Expectation(Role.NODE, site),
            Expectation(Role.SDSP, site),
            Expectation(Role.FSM),
        )
        routes: list[Routes] = [
            enrolment_handlers.routes,
            node_handlers.routes,
            site_handlers.routes,
        ]
        return Parts(
            home="sdsp",
            store=self.store,
            admission=SiteAdmission(site=self.settings.site, clock=self.clock),
            tokens=Tokens(key_file=self.data / "token-key.pem", issuer=identity, audience=identity),
            trust=Trust(
                domain=self.authority.trust_domain, revoked=self.revocations, expected=expected
            ),
            clock=self.clock,
            metrics=Metrics(),
            routes=routes,
        )


def enforced_rules(inputs: SiteInputs) -> list[tuple[str, ...]]:
    """Return the rules that a site enforces, each named by where it comes from."""
    planner = SitePlanner(inputs)
    if planner.places.document is None:
        return []
    return [
        (rule.tier, rule.tenant, rule.policy, rule.rule, rule.origin)
        for rule in planner.plan().rules
    ]


async def _activate_on(event: asyncio.Event, activate: Callable[[], None]) -> None:
    while True:
        await event.wait()
        event.clear()
        activate()
