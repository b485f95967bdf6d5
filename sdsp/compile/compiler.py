"""From the site's store to its nodes: compile what is there, again whenever it changes.

The store is followed commit by commit; whatever arrives while one compilation runs goes into the
next, so a burst of changes costs two passes and the nodes see the last of it.  Compiling runs in a
thread of its own: the event loop goes on answering.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from sdsp.compile.facts import PolicyFacts, policy_facts
from sdsp.compile.model import PLANNED, SiteModel
from sdsp.nodes.publication import Publications
from shared.backoff import Backoff
from shared.clock import Clock
from shared.errors import Gone, Invalid, NotFound, Unavailable
from shared.failpoints import pause
from shared.ids import Generation, Revision
from shared.policy.compile import SitePlanner
from shared.policy.inputs import SiteInputs
from shared.policy.nodeconfig import NodeConfiguration
from shared.policy.nodeplan import admitted_configurations
from shared.policy.plan import Plan
from shared.store.contract import Commit, Store
from shared.tasks.loop import Outcome
from shared.tasks.streams import closing

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Compilation:
    """What one revision of the site's store means: for the site, for each admitted node."""

    revision: Revision
    planner: SitePlanner
    plan: Plan
    policies: tuple[PolicyFacts, ...]
    configurations: Mapping[str, NodeConfiguration]
    hashes: Mapping[str, str]


def compile_site(
    inputs: SiteInputs, revision: Revision, before: Compilation | None = None
) -> Compilation | None:
    """Compile a site and all of its nodes; None while the site has not heard of itself.

    What is as it was `before` is the same object again, with the hash that it had.
    """
    planner = SitePlanner(inputs)
    try:
        plan = planner.plan()
    except NotFound:
        # Before the first snapshot from the FSM there is no Site, hence no default action.
        return None
    configurations: dict[str, NodeConfiguration] = {}
    hashes: dict[str, str] = {}
    for name, new in admitted_configurations(planner).items():
        old = before.configurations.get(name) if before else None
        if before and old == new:
            configurations[name], hashes[name] = old, before.hashes[name]
        else:
            configurations[name], hashes[name] = new, new.hash()
    return Compilation(revision, planner, plan, policy_facts(planner), configurations, hashes)


class Compiler:
    """Keeps the publications at what the store says.

    follow() keeps the model at the store's latest; reconcile(), a reconciler's pass, compiles it.
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
    ) -> None:
        """`now` judges the expiry of overrides."""
        self.newest: Compilation | None = None
        self.compiled = asyncio.Event()
        """Set after each compilation; the reader clears it."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when there is something to compile."""
        self._store = store
        self._publications = publications
        self._model = model
        self._now = now
        self._executor = executor
        self._changes = 0
        self._done = 0

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
        changed = await self._compile()
        self._done = wanted
        return Outcome(changed=changed)

    async def _load(self) -> None:
        async with self._store.snapshot() as snapshot:
            self._model.load(await snapshot.list(PLANNED), snapshot.position.revision)
        self._changed()

    async def _follow(self) -> None:
        async with closing(self._store.watch(self._model.revision, selection=PLANNED)) as events:
            async for event in events:
                if isinstance(event, Commit) and self._model.apply(event):
                    self._changed()

    def _changed(self) -> None:
        self._changes += 1
        self.on_change()

    async def _compile(self) -> int:
        inputs, revision = self._model.inputs(self._now()), self._model.revision
        loop = asyncio.get_running_loop()
        compilation = await loop.run_in_executor(
            self._executor, compile_site, inputs, revision, self.newest
        )
        if compilation is None:
            return 0
        self.newest = compilation
        await pause("sdsp.publish.before")
        changed = self._publications.publish(
            Generation(compilation.revision), compilation.configurations, compilation.hashes
        )
        await pause("sdsp.publish.after")
        if changed:
            log.info("compiled", extra={"revision": revision, "changed_nodes": len(changed)})
        self.compiled.set()
        return len(changed)
