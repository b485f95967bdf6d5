"""What an SDSP is made of: what its parts share, what it knows and trusts, and its link upwards."""

import random
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sdsp.backups import wanted_backups
from sdsp.compile.compiler import Compiler
from sdsp.compile.model import SiteModel
from sdsp.nodes.publication import Publications
from sdsp.nodes.states import NodeStates
from sdsp.nodes.trust import trust_of
from sdsp.settings import SDSPSettings
from sdsp.staged.counts import StagedCounts
from sdsp.steady import SteadyTime
from sdsp.upstream.apply import Inbound
from sdsp.upstream.confirmed import Confirmations
from sdsp.upstream.detachment import Detachment
from sdsp.upstream.enroll import SiteCredentials, names_of
from sdsp.upstream.trust import SiteTrust
from shared.backoff import Backoff
from shared.backup.standing import Task
from shared.clock import Clock
from shared.enrolment.revocations import Revocations
from shared.feed.follow import Follower
from shared.http.peer import PeerClient
from shared.metrics.names import Metrics
from shared.pki.authority import Authority
from shared.pki.identity import Expectation, Role, SpiffeId, TrustDomain
from shared.pki.names import HostNames
from shared.pki.tls import HotContext, ServerCheck, client_context, server_context
from shared.store.contract import Store

_FIRST_RETRY: Final = 0.2
_LONGEST_RETRY: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What every part is made from.

    `judging` is for planning that people or the feed wait for, `reviewing` for what nobody waits
    for, `finding` for conflicts, which follow each change, `weighing` for the ways out of one, for
    which somebody may wait seconds, `copying` for backups.
    """

    settings: SDSPSettings
    data: Path
    store: Store
    credentials: SiteCredentials
    judging: Executor
    reviewing: Executor
    finding: Executor
    weighing: Executor
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
class Core:
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
    confirmations: Confirmations
    detachment: Detachment
    staged: StagedCounts

    @classmethod
    async def make(cls, base: Base, compiling: Executor) -> "Core":
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
        server = str(SpiffeId.fsm(trust_domain))
        confirmations = Confirmations(base.store, server=server, clock=base.clock)
        await confirmations.load()
        publications.policy_age = lambda: confirmations.told(base.clock.now())
        detachment = Detachment(base.store, clock=base.clock, now=time.now)
        await detachment.load()
        compiler = Compiler(
            base.store,
            publications,
            model=SiteModel(base.site),
            now=time.now,
            executor=compiling,
            clock=base.clock,
            reviewing=base.reviewing,
        )
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
            compiler=compiler,
            staged=StagedCounts(
                base.store, states, newest=lambda: compiler.newest, clock=base.clock
            ),
            confirmations=confirmations,
            detachment=detachment,
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
class Upstream:
    """The way to the FSM."""

    client: PeerClient
    follower: Follower


def backups_of(base: Base, core: Core) -> list[Task] | None:
    """Return the backups that are wanted, as far as the site knows its policies."""
    newest = core.compiler.newest
    return wanted_backups(newest.planner, base.settings.backup) if newest else None
