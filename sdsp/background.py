"""What runs beside an SDSP's server: the followers of store and FSM, and the reconcilers."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sdsp.compile.compiler import Compiler, Reviews
from sdsp.conflicts.asking import Asking
from sdsp.conflicts.automerge import AutoMerge
from sdsp.conflicts.deadlines import Deadlines
from sdsp.conflicts.decide import Decisions
from sdsp.conflicts.find import CompareConflicts, FindConflicts, ReviewConflicts
from sdsp.conflicts.remind import RemindOfConflicts
from sdsp.conflicts.undo import Undoings
from sdsp.home import RESTORED, home_of
from sdsp.parts import Base, Core, Upstream, backups_of
from sdsp.restored import AfterRestore
from sdsp.site.service import SiteView
from sdsp.tasks.announce_expiries import AnnounceExpiries
from sdsp.tasks.certificates import RenewCertificates
from sdsp.tasks.expire_overrides import ExpireOverrides
from sdsp.tasks.register import KeepRegister
from sdsp.upstream.confirmed import PERIOD as CONFIRMED_PERIOD
from sdsp.upstream.report import ReportUpstream
from sdsp.upstream.requests import AskUpstream
from sdsp.upstream.seals import SealUpstream
from shared.audit import background
from shared.audit.seals import PERIOD as SEAL_PERIOD
from shared.audit.syslog import Origin
from shared.backup.scheduled import PERIOD, ScheduledBackups
from shared.tasks.group import Group
from shared.tasks.loop import Loop, Reconciler

# Reports go out this long after something changed, so that a burst is one report.
_REPORT_SETTLE: Final = 0.1
# Seconds: deferred conflicts, and what people decide, are looked at now and then, and soon after
# something changed.
_CONFLICTS_SETTLE: Final = 1.0
_CONFLICTS_PERIOD: Final = 30.0
_REMINDERS_PERIOD: Final = 30.0


@dataclass(frozen=True, slots=True)
class Background:
    """Starts what runs beside the server."""

    base: Base
    group: Group

    def start(
        self,
        core: Core,
        upstream: Upstream | None,
        view: SiteView,
        renewal: RenewCertificates,
        people: Sequence[Decisions | Undoings | Asking],
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
        counting = self._loop(core.staged, period=5.0)
        self._loop(ExpireOverrides(store, now=core.time.now), period=5.0)
        announcing = AnnounceExpiries(
            store,
            newest=lambda: compiler.newest,
            now=core.time.now,
            executor=base.reviewing,
            metrics=base.metrics,
        )
        self._loop(announcing, period=_REMINDERS_PERIOD)
        backups = ScheduledBackups(
            home_of(base.data, base.settings),
            store,
            tasks=lambda: backups_of(base, core),
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
        finding = FindConflicts(
            store,
            enforced=lambda: compiler.enforced,
            reached=lambda: compiler.reached,
            executor=base.finding,
            clock=clock,
            deadlines=Deadlines(base.settings.conflicts),
        )
        report = self._follow(core, upstream, view, renewal, finding) if upstream else None
        if upstream and report:
            self._ask(upstream, core, report, people)
        conflicts = self._find_conflicts(finding, compiler, view, report)

        def compiled() -> None:
            if compiler.newest:
                core.states.keep_only(compiler.newest.planner.places.nodes)
            # Perhaps a node was deleted, and its certificates revoked.
            register.activate()
            counting.activate()
            conflicts.activate()
            if report:
                report.activate()

        self.group.start(_when(compiler.compiled, compiled), name="after compiling")

        def heard() -> None:
            conflicts.activate()
            if report:
                report.activate()

        self.group.start(_when(core.states.changed, heard), name="after reports")

    def _find_conflicts(
        self, finding: FindConflicts, compiler: Compiler, view: SiteView, report: Loop | None
    ) -> Loop:
        """Look for conflicts after each compilation; return what looks after each review."""
        base = self.base
        reminding = RemindOfConflicts(base.store, clock=base.clock, metrics=base.metrics)
        reminder = self._loop(reminding, period=_REMINDERS_PERIOD)
        merging = self._loop(AutoMerge(base.store, clock=base.clock), period=_CONFLICTS_PERIOD)
        compiler.on_enforced = self._loop(finding, period=_CONFLICTS_PERIOD).activate
        comparing = self._loop(
            CompareConflicts(finding), period=_CONFLICTS_PERIOD, settle=_CONFLICTS_SETTLE
        )
        reviewing = ReviewConflicts(
            finding,
            newest=lambda: compiler.newest,
            running=view.running,
            executor=base.reviewing,
        )
        reviewing.on_found = compiler.on_enforced

        def judged() -> None:
            comparing.activate()
            merging.activate()
            reminder.activate()
            if report:
                report.activate()

        finding.on_judged = judged
        return self._loop(reviewing, period=_CONFLICTS_PERIOD)

    def _follow(
        self,
        core: Core,
        upstream: Upstream,
        view: SiteView,
        renewal: RenewCertificates,
        finding: FindConflicts,
    ) -> Loop:
        async def trust() -> dict[str, Any]:
            said = await core.trust.report(lambda node: core.states.get(node).roots)
            return {**said, "expiring": [each.to_json() for each in renewal.alarm.late]}

        following = core.detachment.run(upstream.follower)
        self.group.start(following, name="follow the FSM unless detached")
        self._loop(core.confirmations, period=CONFIRMED_PERIOD)
        report = ReportUpstream(
            view=view,
            upstream=upstream.client,
            connected=lambda: upstream.follower.link.connected,
            since=lambda: upstream.follower.link.since,
            trust=trust,
            judged=lambda: finding.judged_revision,
            detached=lambda: core.detachment.standing,
        )
        core.detachment.last_word = report.reconcile
        showing = SealUpstream(
            self.base.store,
            upstream=upstream.client,
            connected=lambda: upstream.follower.link.connected,
        )
        self._loop(showing, period=SEAL_PERIOD)
        return self._loop(report, period=5.0, settle=_REPORT_SETTLE)

    def _ask(
        self,
        upstream: Upstream,
        core: Core,
        report: Loop,
        people: Sequence[Decisions | Undoings | Asking],
    ) -> None:
        """Send what people ask the federation for, take its answers home, and report both."""
        asking = AskUpstream(
            self.base.store,
            upstream=upstream.client,
            connected_since=lambda: (
                link.since if (link := upstream.follower.link).connected else None
            ),
            clock=self.base.clock,
        )
        loop = self._loop(asking, period=5.0)
        core.inbound.on_answer = loop.activate
        asking.on_answer = report.activate

        def dealt_with() -> None:
            loop.activate()
            report.activate()

        for each in people:
            each.on_change = dealt_with

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
