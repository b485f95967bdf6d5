"""The FSM's composition root: the only place that makes its parts and connects them."""

import random
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from aiohttp import web

from fsm.admission import FederationAdmission
from fsm.feed import handlers as feed_handlers
from fsm.feed.acks import SiteVoices
from fsm.feed.hub import Hub
from fsm.feed.seals import SiteSeals
from fsm.feed.service import Feed
from fsm.home import home_of
from fsm.query import handlers as query_handlers
from fsm.query.channel import SiteChannels
from fsm.query.deciding import KINDS, deciding
from fsm.query.fanout import Fanout
from fsm.query.service import ImpactQueries
from fsm.reported import handlers as reported_handlers
from fsm.reported.service import Reported
from fsm.requests import handlers as request_handlers
from fsm.requests.decide import ChangeRequests
from fsm.requests.receive import ReceiveRequests
from fsm.rollouts import handlers as rollout_handlers
from fsm.rollouts.admission import RolloutAdmission
from fsm.rollouts.service import Rollouts
from fsm.rotations import FSMCertificates
from fsm.settings import FSMSettings
from fsm.sites import handlers as site_handlers
from fsm.sites.departed import DepartedSites
from fsm.sites.enroll import SiteEnrolment
from fsm.sites.facts import KnownSites
from fsm.sites.names import host_names
from fsm.sites.pausing import PauseAdmission, Pauses
from fsm.sites.service import Sites
from fsm.tasks.compact import Compact
from fsm.tasks.end_pauses import EndPauses
from fsm.tasks.flush_voices import FlushVoices
from fsm.tasks.follow_trust import follow_trust
from fsm.tasks.publish_trust import PublishTrust
from fsm.tasks.renew_certificates import RenewCertificates
from fsm.tasks.rollout import AdvanceRollouts
from fsm.tasks.tidy import Tidy
from fsm.trust import FSMCredentials, issue_own
from shared.audit import background
from shared.audit.syslog import Origin
from shared.auth.limiter import Limiter
from shared.backoff import Backoff
from shared.backup.scheduled import PERIOD, ScheduledBackups
from shared.backup.standing import Task
from shared.clock import Clock
from shared.enrolment import handlers as enrolment_handlers
from shared.enrolment.revocations import Revocations
from shared.errors import NotFound
from shared.feed.signed import BookmarkSigner
from shared.http.server import Server, serving
from shared.ids import FEDERATION
from shared.login.delegating import Delegations
from shared.login.logins import Logins
from shared.login.publish_keys import PublishKeys
from shared.metrics.names import Metrics
from shared.objects import certificate_handlers
from shared.objects.admission import AdmissionChain
from shared.objects.api import Parts, Services, Tokens, Trust, create_api, create_services
from shared.objects.base import UnmovedBase
from shared.objects.certificates import Certificates
from shared.objects.keys import LOGINS
from shared.pki.alarm import ExpiryAlarm
from shared.pki.authority import Authority
from shared.pki.certificates import certificates_to_pem
from shared.pki.identity import SpiffeId
from shared.pki.tls import HotContext, server_context
from shared.store.contract import Store
from shared.store.sql import open_store
from shared.tasks.group import Group
from shared.tasks.lock import one_of_several
from shared.tasks.loop import Loop, Reconciler

_FIRST_RETRY: Final = 0.2
_LONGEST_RETRY: Final = 20.0

# Should the store's wake-ups fail, a revoked certificate is still out within a minute everywhere.
_TIDY_PERIOD: Final = 15.0

# So long a wave may wait for the next after its last site has said its word.
_ROLLOUT_PERIOD: Final = 1.0
_PAUSE_PERIOD: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """The parts of a running FSM, for those who start it."""

    server: Server
    store: Store
    hub: Hub
    logins: Logins


@asynccontextmanager
async def running(
    settings: FSMSettings, data: Path, *, clock: Clock, source: random.Random, plain: bool = False
) -> AsyncIterator[Federation]:
    """Serve a federation that has been prepared, while the block runs.

    `plain` leaves out TLS, for measurements on loopback; no setting does.  NotFound
    (`not_initialised`) if it has not; else what opening the store and the port may raise.
    """
    credentials = FSMCredentials.beneath(data)
    if not credentials.issuing.exists():
        raise NotFound(
            f"{data} is not prepared; run first: hanse fsm init --data {data} --trust-domain …",
            code="not_initialised",
        )
    async with AsyncExitStack() as stack:
        # Several FSMs may share a folder; a restore into it must be alone.
        stack.enter_context(one_of_several(data))
        store = await open_store(settings.database_url(data), clock=clock)
        stack.push_async_callback(store.close)
        parts = await _Parts.make(settings, data, store, credentials, clock=clock, source=source)
        app = parts.application()
        copying = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="backup"))
        group = await stack.enter_async_context(Group())
        parts.start(group, copying, app[LOGINS])
        # Nobody is served before there is something to serve from.
        await parts.hub.started()
        server = await stack.enter_async_context(
            serving(
                app,
                host=settings.listen.host,
                port=settings.listen.port,
                tls=None if plain else parts.tls,
                limits=settings.listen.limits(),
            )
        )
        stack.push_async_callback(parts.voices.flush)
        stack.push_async_callback(parts.channels.close)
        yield Federation(server=server, store=store, hub=parts.hub, logins=app[LOGINS])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the steps of putting the FSM together hand on."""

    settings: FSMSettings
    data: Path
    store: Store
    credentials: FSMCredentials
    authority: Authority
    tls: HotContext
    revocations: Revocations
    hub: Hub
    voices: SiteVoices
    channels: SiteChannels
    known: KnownSites
    clock: Clock
    source: random.Random
    metrics: Metrics
    renewal: RenewCertificates
    publication: PublishTrust

    @classmethod
    async def make(
        cls,
        settings: FSMSettings,
        data: Path,
        store: Store,
        credentials: FSMCredentials,
        *,
        clock: Clock,
        source: random.Random,
    ) -> "_Parts":
        # A new one at each start: its names may have changed in the settings, and after a long
        # sleep the old one may have expired.
        own = issue_own(credentials, settings.server_names, clock=clock)
        revocations = Revocations()
        async with store.snapshot() as snapshot:
            await revocations.read(snapshot)
        backoff = Backoff(first=_FIRST_RETRY, longest=_LONGEST_RETRY, source=source)
        tls, metrics = server_context(own), Metrics()
        publication = PublishTrust(
            store, credentials, shown=lambda: tls.credentials.chain, clock=clock
        )
        await publication.publish()
        authority = Authority(credentials.issuing.load(), clock=clock)
        channels = SiteChannels(
            own=tls,
            trust_domain=authority.trust_domain,
            revoked=revocations,
            outward=settings.sites,
        )
        revocations.on_change.append(channels.cut_revoked)
        voices = SiteVoices(store, clock=clock, metrics=metrics)
        return cls(
            settings=settings,
            data=data,
            store=store,
            credentials=credentials,
            authority=authority,
            tls=tls,
            revocations=revocations,
            hub=Hub(store, clock=clock, backoff=backoff),
            channels=channels,
            voices=voices,
            known=KnownSites(store, voices, trust_domain=authority.trust_domain, clock=clock),
            clock=clock,
            source=source,
            metrics=metrics,
            renewal=RenewCertificates(
                credentials,
                server_names=settings.server_names,
                context=tls,
                clock=clock,
                alarm=ExpiryAlarm(clock=clock, metrics=metrics),
                revoked=revocations,
            ),
            publication=publication,
        )

    def application(self) -> web.Application:
        parts = self._api()
        services = create_services(parts)
        app = create_api(parts, services)
        ring = app[LOGINS].ring
        self.hub.sign = BookmarkSigner(self._identity, lambda: ring.signing).sign
        app[feed_handlers.FEED] = Feed(self.store, self.hub)
        app[feed_handlers.HUB] = self.hub
        app[feed_handlers.VOICES] = self.voices
        app[feed_handlers.SEALS] = SiteSeals(self.store, clock=self.clock, metrics=self.metrics)
        app[reported_handlers.REPORTED] = Reported(self.store, self.hub)
        app[request_handlers.RECEIVE] = ReceiveRequests(
            self.store, self.hub, trail=services.trail, clock=self.clock
        )
        app[request_handlers.REQUESTS] = ChangeRequests(
            self.store, objects=services.objects, trail=services.trail, clock=self.clock
        )
        app[site_handlers.SITES] = Sites(
            self.store,
            self.hub,
            self.known,
            clock=self.clock,
            backups=self._backups(),
            expiring=lambda: self.renewal.alarm.late,
        )
        app[site_handlers.ENROLMENT] = SiteEnrolment(
            self.store,
            # Read anew for each: it is renewed while we run, and sites join rarely.
            authority=lambda: Authority(self.credentials.issuing.load(), clock=self.clock),
            revocations=self.revocations,
            trail=services.trail,
            limiter=Limiter(clock=self.clock),
            clock=self.clock,
        )
        app[query_handlers.IMPACTS] = self._impacts(parts, services)
        app[site_handlers.PAUSES] = Pauses(objects=services.objects, clock=self.clock)
        app[rollout_handlers.ROLLOUTS] = Rollouts(
            self.hub,
            self.store,
            objects=services.objects,
            trail=services.trail,
            known=self.known,
            clock=self.clock,
        )
        own = FSMCertificates(
            self.store,
            self.credentials,
            renewal=self.renewal,
            publication=self.publication,
            clock=self.clock,
        )
        app[certificate_handlers.CERTIFICATES] = Certificates(
            self.store,
            home="fsm",
            own=own,
            rotations=own.rotations,
            revocations=self.revocations,
            trail=services.trail,
            clock=self.clock,
        )
        app[enrolment_handlers.ROOTS] = lambda: certificates_to_pem(self.credentials.roots())
        app[enrolment_handlers.LINKS] = lambda: certificates_to_pem(self.credentials.links())
        return app

    def _impacts(self, parts: Parts, services: Services) -> ImpactQueries:
        delegations = Delegations(
            server=self._identity,
            ring=services.logins.ring,
            callers=services.logins.callers,
            book=lambda: services.roles.book,
            clock=self.clock,
        )
        return ImpactQueries(
            self.store,
            self.hub,
            admission=parts.admission,
            fanout=Fanout(self.channels, delegations, clock=self.clock),
            delegations=delegations,
            clock=self.clock,
        )

    def start(self, group: Group, copying: Executor, logins: Logins) -> None:
        """Start everything that runs beside the server; `copying` is for backups."""
        group.start(self.hub.run(), name="feed hub")
        following = self.revocations.follow(self.store, clock=self.clock, backoff=self._backoff())
        group.start(following, name="follow the revocations")
        self._loop(group, FlushVoices(self.voices), period=1.0)
        rollouts = AdvanceRollouts(
            self.store, self.hub, known=self.known, clock=self.clock, metrics=self.metrics
        )
        self._loop(group, rollouts, period=_ROLLOUT_PERIOD)
        pauses = EndPauses(self.store, self.hub, clock=self.clock)
        self._loop(group, pauses, period=_PAUSE_PERIOD)
        self._loop(group, Tidy(self.store, self.revocations, clock=self.clock), period=_TIDY_PERIOD)
        renewal = self._loop(group, self.renewal, period=60.0)
        # What another process has exchanged or revoked isn't shown here any longer.
        self.revocations.on_change.append(renewal.activate)
        following_trust = follow_trust(
            self.store, renewal.activate, clock=self.clock, backoff=self._backoff()
        )
        group.start(following_trust, name="follow the trust anchors")
        # After it, and rather often: a person waits for an exchange to go on.
        self._loop(group, self.publication, period=10.0)
        keys = PublishKeys(self.store, server=self._identity, scope=FEDERATION)
        publishing = self._loop(group, keys, period=10.0)
        # Sites are to know a key as soon as it may sign what they are asked.
        logins.ring.on_published = publishing.activate
        retention = timedelta(seconds=self.settings.log_retention)
        compact = Compact(self.store, self.hub, retention=retention, clock=self.clock)
        self._loop(group, compact, period=600.0)
        backups = ScheduledBackups(
            home_of(self.data, self.settings),
            self.store,
            tasks=self._backups,
            settings=self.settings.backup,
            metrics=self.metrics,
            clock=self.clock,
            executor=copying,
            owner=f"{self.source.getrandbits(64):016x}",
        )
        self._loop(group, backups, period=PERIOD)
        keepers = background.keepers(
            self.store,
            self.settings.audit,
            credentials=self.credentials.server.load,
            origin=Origin(self.settings.server_names[0], "fsm"),
            owner=f"{self.source.getrandbits(64):016x}",
            clock=self.clock,
            metrics=self.metrics,
        )
        for keeper, period in keepers:
            self._loop(group, keeper, period=period)

    def _backups(self) -> list[Task]:
        own = self.settings.backup.own_task()
        return [own] if own else []

    @property
    def _identity(self) -> str:
        return str(SpiffeId.fsm(self.authority.trust_domain))

    def _loop(self, group: Group, reconciler: Reconciler, *, period: float) -> Loop:
        backoff = self._backoff()
        loop = Loop(reconciler, period=period, settle=0.0, backoff=backoff, clock=self.clock)
        group.start(loop.run(), name=reconciler.name)
        return loop

    def _backoff(self) -> Backoff:
        return Backoff(first=_FIRST_RETRY, longest=_LONGEST_RETRY, source=self.source)

    def _api(self) -> Parts:
        identity = str(SpiffeId.fsm(self.authority.trust_domain))
        names = host_names(list(self.settings.server_names)).dns
        return Parts(
            home="fsm",
            store=self.store,
            admission=AdmissionChain(
                (
                    FederationAdmission(
                        self.hub, server_names=[name for name in names if name != "localhost"]
                    ),
                    RolloutAdmission(self.hub),
                    PauseAdmission(),
                )
            ),
            unmoved=UnmovedBase(self.store, kinds=KINDS, deciding=deciding),
            tokens=Tokens(data=self.data, server=identity),
            trust=Trust(domain=self.authority.trust_domain, revoked=self.revocations),
            clock=self.clock,
            metrics=self.metrics,
            routes=[
                enrolment_handlers.routes,
                certificate_handlers.routes,
                site_handlers.routes,
                reported_handlers.routes,
                rollout_handlers.routes,
                request_handlers.feed_routes,
                request_handlers.routes,
                feed_handlers.routes,
                feed_handlers.seal_routes,
                query_handlers.routes,
            ],
            checks={"feed": self.hub.check},
            rates=self.settings.rates,
            alongside=DepartedSites(self.authority.trust_domain, clock=self.clock).after_writes,
        )
