"""From the store to its nodes, and to whoever asks what a policy means here.

The store is followed commit by commit.  Whatever arrives while one pass runs goes into the next,
so a burst of changes costs two passes and the nodes see the last of it.  The nodes come first:
the loaded site takes the changes in, and what changes for each node is published.  Then those who
look for conflicts are shown what is in force, and the site is *reviewed*: planned once more from
its documents, for status, traces and reports.  A review
costs as much as the site is large, so where that is much it comes seldom, and at once only if
somebody waits for it.

Both run in threads of their own: the event loop goes on answering.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import Final, NoReturn

from sdsp.compile.facts import PolicyFacts, policy_facts
from sdsp.compile.model import PLANNED, SiteModel
from sdsp.compile.nodes import Changes, CompiledNodes, Published
from sdsp.nodes.publication import Publications
from sdsp.staged.facts import NOTHING, StagedFacts, staged_facts
from shared.backoff import Backoff
from shared.clock import Clock
from shared.errors import Gone, Invalid, NotFound, Unavailable
from shared.failpoints import pause
from shared.ids import Generation, Key, Revision
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.followed import InForce
from shared.policy.inputs import SiteInputs
from shared.policy.leading import Leading
from shared.policy.loaded.garbage import collection_paused
from shared.policy.plan import Plan
from shared.store.contract import Commit, Store, Stored
from shared.tasks.loop import Outcome
from shared.tasks.streams import closing

log = logging.getLogger(__name__)

# A review that took longer than this (seconds) waits until it has rested so many times as long.
_CHEAP: Final = 0.02
_REST: Final = 4.0


@dataclass(frozen=True, eq=False)
class Compilation:
    """What one revision of the site's store means, for those who ask."""

    revision: Revision
    planner: SitePlanner
    policies: tuple[PolicyFacts, ...]
    staged: StagedFacts = NOTHING

    @cached_property
    def plan(self) -> Plan:
        return self.planner.plan()

    @cached_property
    def leading(self) -> Leading:
        return Leading(self.planner)


def review_site(inputs: SiteInputs, revision: Revision) -> Compilation | None:
    """Plan a site from its documents; None while it has not heard of itself."""
    with collection_paused():
        return _review(SitePlanner(inputs), revision)


def _review(planner: SitePlanner, revision: Revision) -> Compilation | None:
    try:
        planner.plan()
    except NotFound:
        # Before the first snapshot from the FSM there is no Site, hence no default action.
        return None
    return Compilation(revision, planner, policy_facts(planner), staged_facts(planner))


@dataclass(frozen=True, slots=True)
class _Compiled:
    """What the nodes were last compiled from."""

    revision: Revision
    objects: Mapping[Key, Stored]
    now: datetime


@dataclass(frozen=True, slots=True, eq=False)
class Enforced:
    """What the nodes were last compiled from, and what that puts in force."""

    site: str
    revision: Revision
    objects: Mapping[Key, Stored]
    now: datetime
    in_force: InForce


class Compiler:
    """Keeps the publications at what the store says.

    follow() keeps the model at the store's latest; reconcile(), a reconciler's pass, compiles it,
    and reviews it if that is cheap.  Reviews makes up for those that were put off.
    """

    name = "compile"

    def __init__(
        self,
        store: Store,
        publications: Publications,
        *,
        model: SiteModel,
        now: Callable[[], datetime],
        executor: Executor,
        clock: Clock,
        reviewing: Executor | None = None,
    ) -> None:
        """`now` judges the expiry of overrides.  `executor` has one thread; reviews run there,
        too, without `reviewing`.
        """
        self.newest: Compilation | None = None
        self.compiled = asyncio.Event()
        """Set after each review; the reader clears it."""
        self.enforced: Enforced | None = None
        """What was last published, for those who look for conflicts; None without a site."""
        self.on_enforced: Callable[[], None] = lambda: None
        """Called when that is another."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when there is something to compile."""
        self.on_put_off: Callable[[], None] = lambda: None
        """Called when a review was put off."""
        self._store = store
        self._publications = publications
        self._model = model
        self._now = now
        self._executor = executor
        self._reviewing = reviewing if reviewing is not None else executor
        self._clock = clock
        self._nodes = CompiledNodes(model.site)
        self._changes = 0
        self._done = 0
        self._last: _Compiled | None = None
        self._reviewed: _Compiled | None = None
        self._review = asyncio.Lock()
        # What is worked out is published before anything else is.
        self._turn = asyncio.Lock()
        self._took = 0.0
        self._ended = clock.monotonic()
        publications.snapshots = self.snapshot

    @property
    def reached(self) -> Revision:
        """The store's revision up to which all that is planned was compiled; 0 before that."""
        if self._last is None:
            return Revision(0)
        return self._model.revision if self._done == self._changes else self._last.revision

    async def follow(self, *, clock: Clock, backoff: Backoff) -> NoReturn:
        """Keep the model up to date until cancelled, through outages of the database."""
        while True:
            try:
                await self._load()
                backoff.reset()
                await self._follow()
            except Gone as exc:
                if exc.code == "history_diverged":
                    # Another store's revisions count from elsewhere, and nodes would take them for
                    # older: all that is in memory here has to go.
                    raise
                log.info("the store's log was compacted under the compiler, loading again")
            except (Unavailable, Invalid) as exc:
                log.warning("following the store fails, will retry", extra={"code": exc.code})
                await clock.sleep(backoff.next())

    async def reconcile(self) -> Outcome:
        """Compile, if something changed since the last time."""
        wanted = self._changes
        if self._done == wanted:
            return Outcome()
        async with self._turn:
            changed = await self._compile()
        self._done = wanted
        if self._took <= _CHEAP:
            await self.up_to_date()
        else:
            self.on_put_off()
        return Outcome(changed=changed)

    async def review_later(self) -> Outcome:
        """Review what was compiled since the last time, once the last review is slept off."""
        if self._reviewed is self._last:
            return Outcome()
        rest = self._ended + _REST * self._took - self._clock.monotonic()
        if rest > 0:
            await self._clock.sleep(rest)
        await self.up_to_date()
        return Outcome(changed=1)

    async def up_to_date(self) -> Compilation | None:
        """Return what was compiled last means, reviewed now if it wasn't yet."""
        async with self._review:
            if self._last is not None and self._reviewed is not self._last:
                await self._review_now(self._last)
        return self.newest

    async def snapshot(self, node: str) -> tuple[Published, bytes] | None:
        """Return a node's newest configuration, whole, as a line; None if it isn't admitted."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._nodes.snapshot, node)

    async def able(self, node: str, abilities: frozenset[str]) -> None:
        """Mind what a node's agent says that it can do, before it is told anything."""
        work = partial(self._nodes.able, node, abilities)
        async with self._turn:
            found = await asyncio.get_running_loop().run_in_executor(self._executor, work)
            if found.nodes:
                self._publications.publish(found)

    async def _load(self) -> None:
        async with self._store.snapshot() as snapshot:
            self._model.load(await snapshot.list(PLANNED), snapshot.position.revision)
        self._changed()

    async def _follow(self) -> None:
        async with closing(self._store.watch(self._model.revision, selection=PLANNED)) as events:
            async for event in events:
                if not isinstance(event, Commit):
                    self._model.revision = event.revision
                elif self._model.apply(event):
                    self._changed()

    def _changed(self) -> None:
        self._changes += 1
        self.on_change()

    async def _compile(self) -> int:
        last = _Compiled(self._model.revision, self._model.objects(), self._now())
        generation = Generation(last.revision)
        changes = self._model.take_changes()
        if changes is not None and self._nodes.takes(changes[0]):
            put, delete = changes
            work = partial(self._nodes.change, put, delete, generation=generation, now=last.now)
        else:
            sources = self._model.sources()
            work = partial(self._nodes.load, sources, generation=generation, now=last.now)
        done = False
        try:
            found: Changes | None = await asyncio.get_running_loop().run_in_executor(
                self._executor, work
            )
            done = True
        finally:
            if not done:
                # What is half done is of no use: the next pass loads everything.
                self._model.forget_changes()
        self._last = last
        if found is None:
            self.enforced = None
            return 0
        await pause("sdsp.publish.before")
        changed = self._publications.publish(found)
        await pause("sdsp.publish.after")
        if changed:
            log.info("compiled", extra={"revision": last.revision, "changed_nodes": len(changed)})
        await self._look(last)
        return len(changed)

    async def _look(self, last: _Compiled) -> None:
        """Note what is in force now that the nodes have it."""
        loop = asyncio.get_running_loop()
        in_force = await loop.run_in_executor(self._executor, self._nodes.look)
        if in_force is not None:
            self.enforced = Enforced(
                self._model.site, last.revision, last.objects, last.now, in_force
            )
            self.on_enforced()

    async def _review_now(self, last: _Compiled) -> None:
        began = self._clock.monotonic()
        compilation = await asyncio.get_running_loop().run_in_executor(
            self._reviewing,
            lambda: review_site(self._model.inputs_of(last.objects, last.now), last.revision),
        )
        self._ended = self._clock.monotonic()
        self._took = self._ended - began
        self._reviewed = last
        if compilation is not None:
            self.newest = compilation
            self.compiled.set()


class Reviews:
    """A reconciler that makes up for reviews that were put off."""

    name = "review"

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler

    async def reconcile(self) -> Outcome:
        return await self._compiler.review_later()
