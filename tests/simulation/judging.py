"""What finds conflicts at a simulated site and lets people decide them, as sdsp.background has it."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from sdsp.conflicts.automerge import AutoMerge
from sdsp.conflicts.cases import Cases
from sdsp.conflicts.deadlines import ConflictSettings, Deadlines
from sdsp.conflicts.decide import Decisions, Verdict
from sdsp.conflicts.find import CompareConflicts, FindConflicts, ReviewConflicts
from sdsp.site.service import SiteView
from shared.access.permissions import Permission
from shared.auth.identity import Caller, CallerKind, Grant
from shared.ids import COMMON, SITE, Key, Revision
from shared.objects.call import Call
from shared.objects.trail import Trail
from shared.store.contract import Selection
from shared.tasks.group import Group
from shared.tasks.loop import Loop

CONFLICTS = Selection(kinds=frozenset({"Conflict"}))
DECIDER = Caller(
    CallerKind.PERSON, "user:admin", "admin", grants=(Grant("admin", frozenset(Permission)),)
)


class Judging:
    def __init__(self, program: Any, now: Callable[[], datetime]) -> None:
        """`program` is the site's SDSP, with its store, compiler and objects."""
        executor: Any = None
        self._program = program
        self._store = program.store
        self._finding = FindConflicts(
            program.store,
            enforced=lambda: program.compiler.enforced,
            reached=lambda: program.compiler.reached,
            executor=executor,
            clock=program.clock,
            deadlines=Deadlines(ConflictSettings.model_validate({})),
        )
        self._decisions = Decisions(
            program.store,
            objects=program.objects,
            trail=Trail(store=program.store, clock=program.clock),
            clock=program.clock,
            cases=Cases(site=program.site, now=now, executor=executor),
        )

    def judged(self) -> Revision | None:
        return self._finding.judged_revision

    def start(self, group: Group, view: SiteView, report: Loop) -> Callable[[], None]:
        """Start what looks; return what has it look for what only a review can tell."""
        program = self._program

        def loop(reconciler: Any, settle: float = 0.0) -> Loop:
            started: Loop = program._loop(group, reconciler, period=30.0, settle=settle)
            return started

        executor: Any = None
        merging = loop(AutoMerge(self._store, clock=program.clock))
        program.compiler.on_enforced = loop(self._finding).activate
        comparing = loop(CompareConflicts(self._finding), settle=0.1)
        reviewing = ReviewConflicts(
            self._finding,
            newest=lambda: program.compiler.newest,
            running=view.running,
            executor=executor,
        )
        reviewing.on_found = program.compiler.on_enforced

        def judged() -> None:
            comparing.activate()
            merging.activate()
            report.activate()

        self._finding.on_judged = judged
        self._decisions.on_change = report.activate
        return loop(reviewing).activate

    async def listed(self) -> bytes:
        async with self._store.snapshot() as snapshot:
            found = await snapshot.list(CONFLICTS)
        items = [
            {
                "tenant": each.key.tenant,
                "name": each.key.name,
                "revision": each.revision,
                "type": each.spec["type"],
                "state": each.spec.get("state", "open"),
                "proposals": [way["name"] for way in each.spec.get("proposals", ())],
            }
            for each in sorted(found, key=lambda each: each.key)
        ]
        return orjson.dumps({"items": items})

    async def decide(self, body: Any) -> bytes:
        key = Key("Conflict", body.get("tenant", COMMON), SITE, body["name"])
        decided = await self._decisions.decide(
            Call(DECIDER, body["request"], repeatable=True),
            key,
            Verdict(body["proposal"], "seen"),
            sees=lambda _key, _labels: True,
            expected=Revision(body["revision"]),
        )
        wrote = decided.spec["decision"].get("wrote", ())
        gone = [
            [each["kind"], each.get("tenant", COMMON), each["scope"], each["name"]]
            for each in wrote
            if not each.get("after")
        ]
        incarnation = (await self._store.position()).incarnation
        return orjson.dumps(
            {"revision": decided.revision, "incarnation": incarnation, "deleted": gone}
        )
