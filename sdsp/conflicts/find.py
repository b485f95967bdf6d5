"""Keep the site's conflicts at what is in force.

Whoever looks hands in what he found as a *part* of all that there is.  What is in force is looked
at after each compilation, and follows single changes; what takes planning the whole site comes
with its review.  What changed is written at once, fifty conflicts a transaction, each with its
audit record.  Now and then all that is known is held against all that was found: for what people
decided meanwhile, what they put off, and what an earlier process left behind.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal

from sdsp.compile.compiler import Compilation, Enforced
from sdsp.compile.model import document_of
from sdsp.conflicts.deadlines import Deadlines
from sdsp.conflicts.standing import KIND, Change, changes, key_of, spec_of
from sdsp.upstream.remarks import remarks_in
from shared.clock import Clock
from shared.collector import leave_alone
from shared.errors import NotFound
from shared.failpoints import pause
from shared.ids import Key, Revision
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.detect import conflicts_among_views
from shared.policy.conflicts.followed import FollowedConflicts
from shared.policy.conflicts.grouping import Group, group_of
from shared.policy.conflicts.mandatory_service_missing import (
    NOBODY_HEARD,
    Running,
    mandatory_service_missing,
)
from shared.policy.conflicts.remarks import Remarks
from shared.store.contract import AuditRecord, Selection, Store, Stored, Transaction
from shared.tasks.loop import Outcome

CONFLICTS: Final = Selection(kinds=frozenset({KIND}))

_AT_ONCE: Final = 50
"""So many conflicts are written in one transaction: others wait for it."""

Part = Literal["enforced", "reviewed"]


@dataclass(frozen=True, slots=True)
class Found:
    """A finding, and as it is stored."""

    finding: Finding
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Looked:
    """What somebody found, and the revision that it is of."""

    revision: Revision
    found: Mapping[Key, Found]


@dataclass(frozen=True, slots=True, eq=False)
class _Everything:
    """What all have found together, at one moment; `is_whole` once all have looked.

    Before that, what was not found may only not have been looked for.
    """

    found: Mapping[Key, Found]
    revision: Revision
    is_whole: bool


class FindConflicts:
    """A reconciler: looks at what is in force, and writes what was found since the last time."""

    name = "find conflicts"

    def __init__(
        self,
        store: Store,
        *,
        enforced: Callable[[], Enforced | None],
        reached: Callable[[], Revision],
        executor: Executor,
        clock: Clock,
        deadlines: Deadlines,
    ) -> None:
        """`reached` is the revision up to which all that there is was compiled; `executor` has
        one thread, for what is enforced alone.
        """
        self._store = store
        self._enforced = enforced
        self._reached = reached
        self._executor = executor
        self._clock = clock
        self._deadlines = deadlines
        self._judged: Enforced | None = None
        self._followed: FollowedConflicts[Stored] | None = None
        self._groups: Sequence[Group] | None = None
        """What an earlier process told of many rules at once; None until it is read."""
        self._parts: dict[Part, _Looked] = {}
        self._written: Mapping[Key, Found] | None = None
        """What was found when everything was written; None before the first time."""
        self._current: Revision | None = None
        self.on_judged: Callable[[], None] = lambda: None
        """Called when conflicts of a later revision stand in the store."""

    @property
    def judged_revision(self) -> Revision | None:
        """The store's revision that the conflicts in it are of; None before the first pass."""
        enforced = self._enforced()
        if self._current is None or enforced is None or self._current < enforced.revision:
            return self._current
        # What was committed since then doesn't concern what is compiled.
        return max(self._current, self._reached())

    async def reconcile(self) -> Outcome:
        """Look, and write what is another since the last time."""
        await self._look()
        if not self._parts:
            return Outcome()
        if self._written is None:
            return await self.compare_all()
        everything = self._everything()
        found, before = everything.found, self._written
        keys = [key for key, each in found.items() if before.get(key) is not each]
        gone = [key for key in before if key not in found]
        return await self._carry_out([*keys, *gone], everything)

    async def compare_all(self) -> Outcome:
        """Hold all that is known against all that was found."""
        if not self._parts:
            return Outcome()
        everything = self._everything()
        async with self._store.snapshot() as snapshot:
            known = await snapshot.list(CONFLICTS)
        loop = asyncio.get_running_loop()
        due = await loop.run_in_executor(
            self._executor, self._due, everything, everything.found, known
        )
        return await self._carry_out([each.draft.key for each in due], everything)

    def take(self, part: Part, found: Mapping[Key, Found], revision: Revision) -> None:
        """Take over what somebody else has found; the next pass writes it."""
        self._parts[part] = _Looked(revision, found)

    def prepared(self, part: Part, found: Iterable[Finding]) -> dict[Key, Found]:
        """Return findings as take() wants them; those that were there before are the same."""
        looked = self._parts.get(part)
        before = looked.found if looked else {}
        ready = {}
        for each in found:
            key = key_of(each)
            known = before.get(key)
            if known is None or (known.finding is not each and known.finding != each):
                known = Found(each, spec_of(each))
            ready[key] = known
        return ready

    async def _look(self) -> None:
        enforced = self._enforced()
        if enforced is None or enforced is self._judged:
            return
        await pause("sdsp.judge.before")
        async with self._store.snapshot() as snapshot:
            remarks = await remarks_in(snapshot)
            if self._groups is None:
                self._groups = _groups_of(await snapshot.list(CONFLICTS))
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._executor, self._follow, enforced, remarks)
        self._judged = enforced
        self.take("enforced", found, enforced.revision)

    def _follow(self, enforced: Enforced, remarks: Remarks) -> dict[Key, Found]:
        followed, self._followed = self._followed, None
        is_first = followed is None
        if followed is None:
            groups = self._groups or ()
            followed = FollowedConflicts(enforced.site, read=document_of, groups=groups)
        try:
            found = followed.update(enforced.objects, enforced.in_force, enforced.now, remarks)
        except NotFound:
            # There is no Site any more, and what is enforced will say so.
            return {}
        # Only what ended well is followed on.
        self._followed = followed
        if is_first:
            # With this all is there that stays as long as the site: its objects, its rules.
            leave_alone()
        return self.prepared("enforced", found)

    def _everything(self) -> _Everything:
        parts = self._parts.values()
        found = {key: each for part in parts for key, each in part.found.items()}
        revision = min(each.revision for each in parts)
        return _Everything(found, revision, len(self._parts) == len(_PARTS))

    def _due(
        self, everything: _Everything, found: Mapping[Key, Found], known: Iterable[Stored]
    ) -> list[Change]:
        """Return what is to be written of some findings and these known conflicts."""
        due = changes(
            [each.finding for each in found.values()],
            known,
            seen_at=everything.revision if everything.is_whole else 0,
            now=self._clock.now(),
            deadlines=self._deadlines,
            specs={key: each.spec for key, each in found.items()},
        )
        return [each for each in due if everything.is_whole or each.action != "closed"]

    async def _carry_out(self, keys: Sequence[Key], everything: _Everything) -> Outcome:
        """Write what is due of these conflicts, by what is known of them when it is written."""
        changed = 0
        for some in _batches(keys):

            async def work(transaction: Transaction, some: Sequence[Key] = some) -> int:
                stored = [await transaction.get(key) for key in some]
                known = [each for each in stored if each is not None]
                # Another pass may have looked meanwhile, and written: nothing older comes after it.
                newest = self._everything()
                these = {key: newest.found[key] for key in some if key in newest.found}
                due = self._due(newest, these, known)
                for each in due:
                    await transaction.put(each.draft)
                    await transaction.audit(_record(each, newest.revision, self._clock.now()))
                return len(due)

            changed += (await self._store.transact(work)).result
        self._written = everything.found
        if everything.is_whole and everything.revision > (self._current or 0):
            self._current = everything.revision
            self.on_judged()
        return Outcome(changed=changed)


_PARTS: Final[tuple[Part, ...]] = ("enforced", "reviewed")


class CompareConflicts:
    """A reconciler: holds all that is known against all that was found."""

    name = "compare conflicts"

    def __init__(self, finding: FindConflicts) -> None:
        self._finding = finding

    async def reconcile(self) -> Outcome:
        return await self._finding.compare_all()


class ReviewConflicts:
    """A reconciler: looks for what only the newest review of the whole site can tell."""

    name = "review conflicts"

    def __init__(
        self,
        finding: FindConflicts,
        *,
        newest: Callable[[], Compilation | None],
        running: Callable[[], Running],
        executor: Executor,
    ) -> None:
        """`running` tells which network services nodes run; `executor` is for what nobody waits
        for: it may take seconds.
        """
        self._finding = finding
        self._newest = newest
        self._running = running
        self._executor = executor
        self._judged: Compilation | None = None
        self._heard: Running = NOBODY_HEARD
        self._among_views: Sequence[Finding] = ()
        self.on_found: Callable[[], None] = lambda: None
        """Called when there is something to write."""

    async def reconcile(self) -> Outcome:
        newest = self._newest()
        heard = self._running()
        if newest is None or (newest is self._judged and heard == self._heard):
            return Outcome()
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._executor, self._find, newest, heard)
        self._judged, self._heard = newest, heard
        self._finding.take("reviewed", found, newest.revision)
        self.on_found()
        return Outcome()

    def _find(self, newest: Compilation, heard: Running) -> dict[Key, Found]:
        if newest is not self._judged:
            self._among_views = tuple(conflicts_among_views(newest.planner))
        missing = mandatory_service_missing(newest.planner, heard)
        return self._finding.prepared("reviewed", (*self._among_views, *missing))


def _groups_of(known: Iterable[Stored]) -> Sequence[Group]:
    unsettled = (each.spec for each in known if each.spec.get("state") != "resolved")
    found = map(group_of, unsettled)
    return [each for each in found if each is not None]


def _batches(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    left = iter(keys)
    while some := [*islice(left, _AT_ONCE)]:
        yield some


def _record(change: Change, revision: int, now: datetime) -> AuditRecord:
    key = change.draft.key
    return AuditRecord(
        at=now,
        request_id=f"conflict-{revision}-{key.name}"[:128],
        identity="system",
        action=f"conflict.{change.action}",
        outcome="ok",
        tenant=key.tenant,
        key=key,
        reason=change.draft.spec.get("closed", {}).get("why"),
    )
