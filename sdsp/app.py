"""An SDSP's composition root: the only place that makes its parts and connects them."""

import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from aiohttp import web

from sdsp.admission import SiteAdmission
from sdsp.background import Background
from sdsp.compile.compiler import Compiler
from sdsp.conflicts import handlers as conflict_handlers
from sdsp.conflicts.asking import Asking
from sdsp.conflicts.cases import Cases
from sdsp.conflicts.deadlines import Deadlines
from sdsp.conflicts.decide import Decisions
from sdsp.conflicts.impact import Impacts
from sdsp.conflicts.undo import Undoings
from sdsp.flows import PastFlows
from sdsp.nodes import handlers as node_handlers
from sdsp.nodes.enroll import NodeEnrolment
from sdsp.parts import Base, Core, Upstream, backups_of
from sdsp.query import handlers as query_handlers
from sdsp.query.answering import Answerer, Answering
from sdsp.query.askers import Askers
from sdsp.query.impact import DraftImpacts
from sdsp.rotations import SiteCertificates
from sdsp.settings import SDSPSettings
from sdsp.site import handlers as site_handlers
from sdsp.site.away import Upward
from sdsp.site.service import SiteView
from sdsp.tasks.certificates import RenewCertificates
from sdsp.upstream import handlers as upstream_handlers
from sdsp.upstream.apply import claim
from sdsp.upstream.enroll import SiteCredentials, make_ready
from sdsp.upstream.subscription import subscription_of
from shared.auth.limiter import Limiter
from shared.clock import Clock
from shared.enrolment import handlers as enrolment_handlers
from shared.errors import Invalid
from shared.feed.connect import Connector
from shared.feed.follow import Follower
from shared.http.peer import PeerClient
from shared.http.server import Server, serving
from shared.login.effective import site_policy
from shared.login.logins import Logins
from shared.login.people import span_of
from shared.login.rules import LoginRules
from shared.metrics.names import Metrics
from shared.objects import certificate_handlers
from shared.objects.api import Parts, Tokens, Trust, create_api, create_services
from shared.objects.certificates import Certificates
from shared.objects.keys import LOGINS
from shared.objects.trail import Trail
from shared.pki.alarm import ExpiryAlarm
from shared.pki.certificates import certificates_to_pem
from shared.pki.identity import Expectation, Role, SpiffeId
from shared.query.impact import IMPACT
from shared.store.contract import Store
from shared.store.sql import open_store
from shared.tasks.group import Group
from shared.tasks.lock import only_process
from shared.telemetry.recorded import FlowFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The parts of a running SDSP, for those who start it."""

    server: Server
    store: Store
    compiler: Compiler
    follower: Follower | None
    logins: Logins
    answerers: dict[str, Answerer]


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
        finding = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="find"))
        weighing = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="weigh"))
        copying = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="backup"))
        base = Base(
            settings=settings,
            data=data,
            store=store,
            credentials=credentials,
            judging=judging,
            reviewing=reviewing,
            finding=finding,
            weighing=weighing,
            copying=copying,
            clock=clock,
            source=source,
            metrics=Metrics(),
        )
        core = await Core.make(base, compiling)
        upstream = _upstream(base, core)
        if upstream:
            stack.push_async_callback(upstream.client.close)
        view = _view(base, core, upstream)
        renewal = _renewal(base, core, upstream)
        view.expiring = lambda: renewal.alarm.late
        app = _application(base, core, view, renewal)
        # The last word of the nodes, and of the FSM, for whoever starts next.
        stack.push_async_callback(core.states.reconcile)
        stack.push_async_callback(core.confirmations.reconcile)
        group = await stack.enter_async_context(Group())
        decisions = app[conflict_handlers.DECISIONS]
        told = (decisions, app[conflict_handlers.UNDOINGS], app[conflict_handlers.ASKING])
        Background(base, group).start(core, upstream, view, renewal, told)
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
            answerers=app[query_handlers.ANSWERERS],
        )


def _upstream(base: Base, core: Core) -> Upstream | None:
    if not base.settings.upstream:
        return None
    client = PeerClient(base.settings.upstream, tls=core.upstream_tls)
    core.revocations.on_change.append(client.cut_revoked)
    follower = Follower(
        transport=client,
        copy=core.inbound,
        connector=Connector(peer="the FSM", clock=base.clock, backoff=base.backoff()),
        subscription=subscription_of(base.settings.subscription),
        on_bookmark=core.confirmations.take,
    )
    return Upstream(client, follower)


def _renewal(base: Base, core: Core, upstream: Upstream | None) -> RenewCertificates:
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
        is_detached=lambda: core.detachment.is_detached,
    )


def _view(base: Base, core: Core, upstream: Upstream | None) -> SiteView:
    return SiteView(
        site=base.site,
        store=base.store,
        newest=lambda: core.compiler.newest,
        up_to_date=core.compiler.up_to_date,
        publications=core.publications,
        states=core.states,
        upward=Upward(
            link=lambda: upstream.follower.link if upstream else None,
            confirmed=lambda: core.confirmations.newest,
            detached=lambda: core.detachment.standing,
        ),
        time=core.time,
        clock=base.clock,
        executor=base.judging,
        backups=lambda: backups_of(base, core),
        staged=core.staged,
    )


def _application(
    base: Base, core: Core, view: SiteView, renewal: RenewCertificates
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
    app[node_handlers.ABLE] = core.compiler.able
    app[site_handlers.SITE_VIEW] = view
    app[site_handlers.INBOUND] = core.inbound
    app[upstream_handlers.DETACHMENT] = core.detachment
    cases = Cases(site=base.site, now=core.time.now, executor=base.weighing)
    app[conflict_handlers.DECISIONS] = Decisions(
        base.store, objects=services.objects, trail=services.trail, clock=base.clock, cases=cases
    )
    app[conflict_handlers.ASKING] = Asking(
        base.store, site=base.site, trail=services.trail, clock=base.clock, cases=cases
    )
    app[conflict_handlers.UNDOINGS] = Undoings(
        base.store,
        objects=services.objects,
        trail=services.trail,
        clock=base.clock,
        deadlines=Deadlines(base.settings.conflicts),
    )
    app[query_handlers.ASKERS] = Askers(
        base.store,
        own=SpiffeId.sdsp(core.trust_domain, base.site),
        book=lambda: services.roles.book,
        clock=base.clock,
    )
    app[query_handlers.ANSWERING] = Answering(site=base.site, clock=base.clock)
    flows = _past_flows(base)
    answerers: dict[str, Answerer] = {
        IMPACT: DraftImpacts(
            base.store,
            up_to_date=core.compiler.up_to_date,
            flows=flows,
            executor=base.reviewing,
            clock=base.clock,
        )
    }
    app[query_handlers.ANSWERERS] = answerers
    core.inbound.on_logged_out = lambda names: app[LOGINS].callers.end(*names)
    app[conflict_handlers.IMPACTS] = Impacts(
        base.store,
        up_to_date=core.compiler.up_to_date,
        flows=flows,
        executor=base.weighing,
    )
    app[enrolment_handlers.LINKS] = lambda: certificates_to_pem(core.trust.known.links)
    app[enrolment_handlers.ROOTS] = lambda: certificates_to_pem(
        base.credentials.server.load_public()[1]
    )
    return app


def _past_flows(base: Base) -> PastFlows:
    settings = base.settings.flows
    return PastFlows(
        None if settings.recorded is None else FlowFile(settings.recorded),
        window=span_of(settings.window),
        executor=base.reviewing,
        clock=base.clock,
    )


def _parts(base: Base, core: Core, enrolment: NodeEnrolment) -> Parts:
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
            conflict_handlers.routes,
            upstream_handlers.routes,
            query_handlers.routes,
        ],
        alongside=enrolment.after_writes,
        rates=base.settings.rates,
    )
