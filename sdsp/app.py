"""An SDSP's composition root: the only place that makes its parts and connects them."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from sdsp.admission import SiteAdmission
from sdsp.backups import wanted_backups
from sdsp.compile.compiler import Compiler, Reviews
from sdsp.compile.model import SiteModel
from sdsp.home import RESTORED, home_of
from sdsp.nodes import handlers as node_handlers
from sdsp.nodes.enroll import NodeEnrolment
from sdsp.nodes.publication import Publications
from sdsp.nodes.states import NodeStates
from sdsp.nodes.trust import trust_of
from sdsp.restored import AfterRestore
from sdsp.rotations import SiteCertificates
from sdsp.settings import SDSPSettings
from sdsp.site import handlers as site_handlers
from sdsp.site.service import SiteView
from sdsp.steady import SteadyTime
from sdsp.tasks.certificates import RenewCertificates
from sdsp.tasks.expire_overrides import ExpireOverrides
from sdsp.tasks.register import KeepRegister
from sdsp.upstream.apply import Inbound, claim
from sdsp.upstream.enroll import SiteCredentials, make_ready, names_of
from sdsp.upstream.report import ReportUpstream
from sdsp.upstream.seals import SealUpstream
from sdsp.upstream.subscription import subscription_of
from sdsp.upstream.trust import SiteTrust
from shared.audit import background
from shared.audit.seals import PERIOD as SEAL_PERIOD
from shared.audit.syslog import Origin
from shared.auth.limiter import Limiter
from shared.backoff import Backoff
from shared.backup.scheduled import PERIOD, ScheduledBackups
from shared.backup.standing import Task
from shared.clock import Clock
from shared.enrolment import handlers as enrolment_handlers
from shared.enrolment.revocations import Revocations
from shared.errors import Invalid
from shared.feed.connect import Connector
from shared.feed.follow import Follower
from shared.http.peer import PeerClient
from shared.http.server import Server, serving
from shared.login.effective import site_policy
from shared.login.logins import Logins
from shared.login.rules import LoginRules
from shared.metrics.names import Metrics
from shared.objects import certificate_handlers
from shared.objects.api import Parts, Tokens, Trust, create_api, create_services
from shared.objects.certificates import Certificates
from shared.objects.keys import LOGINS
from shared.objects.trail import Trail
from shared.pki.alarm import ExpiryAlarm
from shared.pki.authority import Authority
from shared.pki.certificates import certificates_to_pem
from shared.pki.identity import Expectation, Role, SpiffeId, TrustDomain
from shared.pki.names import HostNames
from shared.pki.tls import HotContext, ServerCheck, client_context, server_context
from shared.store.contract import Store
from shared.store.sql import open_store
from shared.tasks.group import Group
from shared.tasks.lock import only_process
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
    logins: Logins


@asynccontextmanager
async def running(
    settings: SDSPSettings, data: Path, *, clock: Clock, source: random.Random
) -> AsyncIterator[Site]:
    """Serve a site that has joined, while the block runs.

    Invalid (`not_joined`) if it has not; Conflict (`already_running`, `other_site`); else what
    opening the store and the port may raise.
    """
    credentials = SiteCredentials.beneath(data)
    if not settings.site or not credentials.authority.exists():
        raise Invalid(
            f"the SDSP in {data} has not joined yet; run: hanse sdsp join --data {data} …",
            code="not_joined",
        )
    async with AsyncExitStack() as stack:
        stack.enter_context(only_process(data))
        make_ready(credentials, clock=clock)
        store = await open_store(settings.database_url(data), clock=clock)
        stack.push_async_callback(store.close)
        await claim(store, settings.site)
        compiling = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="compile"))
        reviewing = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="review"))
        judging = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="judge"))
        copying = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="backup"))
        base = _Base(settings, data, store, credentials, judging, copying, clock, source, Metrics())
        core = await _Core.make(base, compiling, reviewing)
        upstream = _upstream(base, core)
        if upstream:
            stack.push_async_callback(upstream.client.close)
        view = _view(base, core, upstream)
        renewal = _renewal(base, core, upstream)
        view.expiring = lambda: renewal.alarm.late
        app = _application(base, core, view, renewal)
        # The last word of the nodes, for whoever starts next.
        stack.push_async_callback(core.states.reconcile)
        group = await stack.enter_async_context(Group())
        _Background(base, group).start(core, upstream, view, renewal)
        server = await stack.enter_async_context(
            serving(
                app,
                host=settings.listen.host,
                port=settings.listen.port,
                tls=core.server_tls,
                limits=settings.listen.limits(),
            )
        )
        yield Site(
            server=server,
            store=store,
            compiler=core.compiler,
            follower=upstream.follower if upstream else None,
            logins=app[LOGINS],
        )


@dataclass(frozen=True, slots=True)
class _Base:
    """What every part is made from.

    `judging` is for planning that people or the feed wait for, `copying` for backups.
    """

    settings: SDSPSettings
    data: Path
    store: Store
    credentials: SiteCredentials
    judging: Executor
    copying: Executor
    clock: Clock
    source: random.Random
    metrics: Metrics

    @property
    def site(self) -> str:
        return self.settings.site

    def backoff(self) -> Backoff:
        return Backoff(first=_FIRST_RETRY, longest=_LONGEST_RETRY, source=self.source)

    def authority(self) -> Authority:
        """Read the site's CA of now: it is renewed while we live."""
        return Authority(self.credentials.authority.load(), clock=self.clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Core:
    """What the site knows and trusts, which the other parts share."""

    site: str
    trust_domain: TrustDomain
    trust: SiteTrust
    server_tls: HotContext
    upstream_tls: HotContext
    revocations: Revocations
    publications: Publications
    states: NodeStates
    time: SteadyTime
    inbound: Inbound
    compiler: Compiler

    @classmethod
    async def make(cls, base: _Base, compiling: Executor, reviewing: Executor) -> "_Core":
        own = base.credentials.server.load()
        trust_domain = base.authority().trust_domain
        revocations = Revocations()
        async with base.store.snapshot() as snapshot:
            await revocations.read(snapshot)
        check = ServerCheck(trust_domain, (Expectation(Role.FSM),), revoked=revocations)
        states = NodeStates(base.store)
        await states.load()
        publications = Publications((await base.store.position()).incarnation)
        time = SteadyTime(base.clock)
        return cls(
            site=base.site,
            trust_domain=trust_domain,
            trust=SiteTrust(base.store, base.credentials, clock=base.clock),
            server_tls=server_context(own),
            upstream_tls=client_context(own, check=check),
            revocations=revocations,
            publications=publications,
            states=states,
            time=time,
            inbound=Inbound(
                base.store,
                site=base.site,
                clock=base.clock,
                executor=base.judging,
                on_revoked=revocations.add,
            ),
            compiler=Compiler(
                base.store,
                publications,
                model=SiteModel(base.site),
                now=time.now,
                executor=compiling,
                clock=base.clock,
                reviewing=reviewing,
            ),
        )

    def tell_nodes(self, credentials: SiteCredentials) -> None:
        """Tell the site's nodes whom to believe from now on."""
        own = credentials.server.load()
        self.publications.tell(
            trust_of(
                own,
                self.revocations.all,
                self.trust.known.links,
                site=self.site,
                trust_domain=self.trust_domain,
            )
        )

    def registered_names(self) -> HostNames | None:
        """Return the names that the site's Site object registers, as far as it is known."""
        newest = self.compiler.newest
        return names_of(newest.planner.places.site) if newest else None


@dataclass(frozen=True, slots=True)
class _Upstream:
    client: PeerClient
    follower: Follower


def _upstream(base: _Base, core: _Core) -> _Upstream | None:
    if not base.settings.upstream:
        return None
    client = PeerClient(base.settings.upstream, tls=core.upstream_tls)
    core.revocations.on_change.append(client.cut_revoked)
    follower = Follower(
        transport=client,
        copy=core.inbound,
        connector=Connector(peer="the FSM", clock=base.clock, backoff=base.backoff()),
        subscription=subscription_of(base.settings.subscription),
    )
    return _Upstream(client, follower)


def _renewal(base: _Base, core: _Core, upstream: _Upstream | None) -> RenewCertificates:
    return RenewCertificates(
        base.credentials,
        upstream=upstream.client if upstream else None,
        contexts=(core.server_tls, core.upstream_tls),
        registered=core.registered_names,
        clock=base.clock,
        trust=core.trust,
        on_change=lambda: core.tell_nodes(base.credentials),
        alarm=ExpiryAlarm(clock=base.clock, metrics=base.metrics),
        link_error=lambda: upstream.follower.link.error if upstream else None,
    )


def _view(base: _Base, core: _Core, upstream: _Upstream | None) -> SiteView:
    return SiteView(
        site=base.site,
        store=base.store,
        newest=lambda: core.compiler.newest,
        up_to_date=core.compiler.up_to_date,
        publications=core.publications,
        states=core.states,
        link=lambda: upstream.follower.link if upstream else None,
        time=core.time,
        clock=base.clock,
        executor=base.judging,
        backups=lambda: _backups(base, core),
    )


def _backups(base: _Base, core: _Core) -> list[Task] | None:
    """Return the backups that are wanted, as far as the site knows its policies."""
    newest = core.compiler.newest
    return wanted_backups(newest.planner, base.settings.backup) if newest else None


def _application(
    base: _Base, core: _Core, view: SiteView, renewal: RenewCertificates
) -> web.Application:
    trail = Trail(store=base.store, clock=base.clock, metrics=base.metrics)
    enrolment = NodeEnrolment(
        base.store,
        authority=base.authority,
        revocations=core.revocations,
        trail=trail,
        limiter=Limiter(clock=base.clock),
        clock=base.clock,
    )
    parts = replace(_parts(base, core, enrolment), trail=trail)
    services = create_services(parts)
    app = create_api(parts, services)
    app[node_handlers.ENROLMENT] = enrolment
    own = SiteCertificates(
        base.store, base.credentials, renewal=renewal, trust=core.trust, clock=base.clock
    )
    app[certificate_handlers.CERTIFICATES] = Certificates(
        base.store,
        home="sdsp",
        own=own,
        rotations=own.rotations,
        revocations=core.revocations,
        trail=services.trail,
        clock=base.clock,
    )
    app[node_handlers.PUBLICATIONS] = core.publications
    app[node_handlers.STATES] = core.states
    app[site_handlers.SITE_VIEW] = view
    app[site_handlers.INBOUND] = core.inbound
    core.inbound.on_logged_out = lambda names: app[LOGINS].callers.end(*names)
    app[enrolment_handlers.LINKS] = lambda: certificates_to_pem(core.trust.known.links)
    app[enrolment_handlers.ROOTS] = lambda: certificates_to_pem(
        base.credentials.server.load_public()[1]
    )
    return app


def _parts(base: _Base, core: _Core, enrolment: NodeEnrolment) -> Parts:
    identity = str(SpiffeId.sdsp(core.trust_domain, base.site))
    # Names of nodes are unique within a site only: another site's node-1 is not ours.
    expected = (
        Expectation(Role.NODE, base.site),
        Expectation(Role.SDSP, base.site),
        Expectation(Role.FSM),
    )
    return Parts(
        home="sdsp",
        store=base.store,
        admission=SiteAdmission(site=base.site, now=core.time.now, executor=base.judging),
        tokens=Tokens(data=base.data, server=identity),
        login=LoginRules(partial(site_policy, base.site), core.time.now),
        trust=Trust(domain=core.trust_domain, revoked=core.revocations, expected=expected),
        clock=base.clock,
        metrics=base.metrics,
        routes=[
            enrolment_handlers.routes,
            certificate_handlers.routes,
            node_handlers.routes,
            site_handlers.routes,
        ],
        alongside=enrolment.after_writes,
        rates=base.settings.rates,
    )


@dataclass(frozen=True, slots=True)
class _Background:
    """Starts what runs beside the server."""

    base: _Base
    group: Group

    def start(
        self,
        core: _Core,
        upstream: _Upstream | None,
        view: SiteView,
        renewal: RenewCertificates,
    ) -> None:
        base, store, clock = self.base, self.base.store, self.base.clock
        compiler = core.compiler
        waiting = AfterRestore(
            compiler,
            mark=base.data / RESTORED,
            is_current=lambda: upstream is None or upstream.follower.is_current,
            clock=clock,
        )
        compiler.on_change = self._loop(waiting, period=60.0).activate
        compiler.on_put_off = self._loop(Reviews(compiler), period=60.0).activate
        self.group.start(waiting.wait(compiler.on_change), name="wait after a restore")
        self.group.start(
            compiler.follow(clock=clock, backoff=base.backoff()), name="follow the store"
        )
        following = core.revocations.follow(store, clock=clock, backoff=base.backoff())
        self.group.start(following, name="follow the revocations")
        self._loop(core.states, period=5.0, settle=1.0)
        self._loop(ExpireOverrides(store, now=core.time.now), period=5.0)
        backups = ScheduledBackups(
            home_of(base.data, base.settings),
            store,
            tasks=lambda: _backups(base, core),
            settings=base.settings.backup,
            metrics=base.metrics,
            clock=clock,
            executor=base.copying,
            owner=f"{base.source.getrandbits(64):016x}",
        )
        self._loop(backups, period=PERIOD)
        keepers = background.keepers(
            store,
            base.settings.audit,
            credentials=base.credentials.server.load,
            origin=Origin(base.site, "sdsp"),
            owner=f"{base.source.getrandbits(64):016x}",
            clock=clock,
            metrics=base.metrics,
        )
        for keeper, period in keepers:
            self._loop(keeper, period=period)
        register = self._loop(KeepRegister(store, core.revocations, clock=clock), period=15.0)
        core.revocations.on_change.append(lambda: core.tell_nodes(base.credentials))
        core.inbound.on_trust = self._loop(renewal, period=60.0).activate
        report = self._follow(core, upstream, view, renewal) if upstream else None

        def compiled() -> None:
            if compiler.newest:
                core.states.keep_only(compiler.newest.planner.places.nodes)
            # Perhaps a node was deleted, and its certificates revoked.
            register.activate()
            if report:
                report.activate()

        self.group.start(_when(compiler.compiled, compiled), name="after compiling")
        if report:
            self.group.start(_when(core.states.changed, report.activate), name="report soon")

    def _follow(
        self, core: _Core, upstream: _Upstream, view: SiteView, renewal: RenewCertificates
    ) -> Loop:
        async def trust() -> dict[str, Any]:
            said = await core.trust.report(lambda node: core.states.get(node).roots)
            return {**said, "expiring": [each.to_json() for each in renewal.alarm.late]}

        self.group.start(upstream.follower.run(), name="follow the FSM")
        report = ReportUpstream(
            view=view,
            upstream=upstream.client,
            connected=lambda: upstream.follower.link.connected,
            trust=trust,
        )
        showing = SealUpstream(
            self.base.store,
            upstream=upstream.client,
            connected=lambda: upstream.follower.link.connected,
        )
        self._loop(showing, period=SEAL_PERIOD)
        return self._loop(report, period=5.0, settle=REPORT_SETTLE)

    def _loop(self, reconciler: Reconciler, *, period: float, settle: float = 0.0) -> Loop:
        loop = Loop(
            reconciler,
            period=period,
            settle=settle,
            backoff=self.base.backoff(),
            clock=self.base.clock,
        )
        self.group.start(loop.run(), name=reconciler.name)
        return loop


async def _when(event: asyncio.Event, act: Callable[[], None]) -> None:
    while True:
        await event.wait()
        event.clear()
        act()
