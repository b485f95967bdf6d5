"""The agent put together: the only place that constructs its parts.

It enforces the last good configuration before the first word with its site, then follows the site
until it is told to stop.  Stopping leaves what is enforced in the kernel.
"""

import asyncio
import fcntl
import logging
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from dsn.dataplane.choose import choose_data_plane, links_to
from dsn.dataplane.contract import DataPlane
from dsn.dataplane.memory import MemoryDataPlane
from dsn.enforce.apply import Enforcer
from dsn.enforce.freshness import Freshness
from dsn.enforce.last_good import LastGood
from dsn.settings import DSNSettings, Files, Identity
from dsn.simulation import Simulation
from dsn.tasks.enforce import EnforceWanted
from dsn.tasks.read_back import RepairDrift
from dsn.tasks.renew import RenewCertificate
from dsn.upstream.follow import ConfigurationFollower
from dsn.upstream.frames import Trust
from dsn.upstream.report import Reporter
from dsn.upstream.trust import KnownRevocations, NodeTrust
from shared.backoff import Backoff
from shared.clock import Clock
from shared.errors import Conflict
from shared.feed.connect import Connector
from shared.feed.knows import AGENT
from shared.http.peer import PeerClient
from shared.pki.credentials import CredentialsDirectory
from shared.pki.identity import Expectation, Role, parse_trust_domain
from shared.pki.tls import ServerCheck, client_context, limit_tls_buffers
from shared.tasks.group import Group
from shared.tasks.loop import Loop, Reconciler
from shared.tasks.program import notify_ready

log = logging.getLogger(__name__)

# How long a node waits before it tries its site again: first at most, then doubling up to the last.
_FIRST_RETRY = 0.5
_LONGEST_RETRY = 10.0
# A refusal by the kernel is tried again, but not so often that it fills the log.
_LONGEST_REPAIR = 60.0
# Certificates live a day and are renewed at half: a minute more doesn't matter.
_RENEW_PERIOD = 60.0
# Nothing is due by time alone: a pass now and then finds out.
_ENFORCE_PERIOD = 60.0


class Agent:
    """One node's agent."""

    def __init__(
        self,
        *,
        identity: Identity,
        files: Files,
        settings: DSNSettings,
        clock: Clock,
        source: random.Random,
    ) -> None:
        """`source` spreads retries, so that nodes don't come back together."""
        self._identity = identity
        self._files = files
        self._settings = settings
        self._clock = clock
        self._random = source

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`; NoDataPlane if the one that was asked for isn't there."""
        limit_tls_buffers()
        with _alone(self._files.lock):
            # As they resolved when the node joined: rules don't wait for a name server.
            links = links_to(self._identity.servers, self._identity.addresses)
            plane = await choose_data_plane(self._settings, links)
            try:
                await self._run(plane, stop)
            finally:
                await plane.close()

    async def _run(self, plane: DataPlane, stop: asyncio.Event) -> None:
        enforcer = Enforcer(plane=plane, last_good=LastGood(self._files.last_good))
        restored = await enforcer.restore(self._identity.node)
        log.info(
            "agent runs",
            extra={"node": self._identity.node, "data_plane": plane.name, "restored": restored},
        )
        directory = CredentialsDirectory(self._files.credentials)
        revocations = KnownRevocations(self._files.revocations)
        context = client_context(directory.load(), check=self._server_check(revocations))
        trust = NodeTrust(
            revocations=revocations, directory=directory, context=context, clock=self._clock
        )
        client = PeerClient(self._identity.servers, tls=context, headers=AGENT)
        reporter = Reporter(
            transport=client,
            plane=plane,
            agent=version("hanse"),
            period=self._settings.report_period,
            clock=self._clock,
            roots=lambda: trust.roots,
        )
        enforcer.watchers.append(reporter.note)
        reporter.note(enforcer.standing)
        follower = ConfigurationFollower(
            node=self._identity.node,
            transport=client,
            enforcer=enforcer,
            reporter=reporter,
            connector=Connector(
                peer=f"SDSP of {self._identity.site}",
                clock=self._clock,
                backoff=self._backoff(_LONGEST_RETRY),
            ),
        )
        freshness = Freshness(self._files.heard, clock=self._clock)
        follower.on_confirmed = lambda mark: freshness.note(mark.generation, mark.hash, mark.policy)
        enforce = self._loop(EnforceWanted(enforcer), _ENFORCE_PERIOD)
        follower.on_wanted = enforce.activate

        async def recover() -> bool:
            if follower.link.error != "wrong_root":
                return False
            return await trust.recover(client.endpoint)

        renew = RenewCertificate(
            transport=client,
            directory=directory,
            context=context,
            identity=self._identity,
            clock=self._clock,
            recover=recover,
        )
        renewing = self._loop(renew, _RENEW_PERIOD)

        def expect(authority: str) -> None:
            renew.expect(authority)
            renewing.activate()

        trust.on_revoked, trust.on_authority = client.cut_revoked, expect

        def take(told: Trust) -> None:
            trust.take(told)
            reporter.report_soon()

        follower.on_trust = take
        try:
            async with Group() as group:
                for loop in (
                    enforce,
                    self._loop(RepairDrift(enforcer), self._settings.read_back_period),
                    renewing,
                ):
                    group.start(loop.run(), name=loop.name)
                if isinstance(plane, MemoryDataPlane):
                    self._simulate(group, plane)
                group.start(follower.run(), name="follow")
                notify_ready(f"{self._identity.node} at {client.endpoint}")
                await stop.wait()
        finally:
            freshness.write()
            await client.close()

    def _simulate(self, group: Group, plane: MemoryDataPlane) -> None:
        port = self._settings.simulation_port
        if port is not None:
            simulation = Simulation(plane=plane, port=port, file=self._files.simulation)
            group.start(simulation.run(), name="simulation")

    def _server_check(self, revocations: KnownRevocations) -> ServerCheck:
        return ServerCheck(
            parse_trust_domain(self._identity.trust_domain),
            (Expectation(Role.SDSP, self._identity.site),),
            revoked=revocations,
        )

    def _loop(self, reconciler: Reconciler, period: float) -> Loop:
        return Loop(
            reconciler,
            period=period,
            settle=0.0,
            backoff=self._backoff(_LONGEST_REPAIR),
            clock=self._clock,
        )

    def _backoff(self, longest: float) -> Backoff:
        return Backoff(first=_FIRST_RETRY, longest=longest, source=self._random)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the data folder for this process; Conflict (`already_running`) if another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise Conflict(
                f"another agent runs from {path.parent}", code="already_running"
            ) from exc
        yield
    finally:
        os.close(descriptor)
