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

from sdsp.compile.model import PLANNED, SiteModel
from sdsp.nodes.publication import Publications
from shared.clock import Clock
from shared.errors import Gone, NotFound
from shared.ids import Generation, Revision
from shared.policy.compile import SitePlanner
from shared.policy.inputs import SiteInputs
from shared.policy.nodeconfig import NodeConfiguration
from shared.policy.plan import Plan
from shared.store.contract import Commit, Store
from shared.tasks.group import Group

log = logging.getLogger(__name__)

NodeConfigurations = Callable[[SitePlanner], Mapping[str, NodeConfiguration]]
"""Returns the configuration of every admitted node."""


@dataclass(frozen=True, slots=True, eq=False)
class Compilation:
    """What one revision of the site's store means."""

    revision: Revision
    planner: SitePlanner
    plan: Plan
    configurations: Mapping[str, NodeConfiguration]


def compile_site(
    inputs: SiteInputs, revision: Revision, node_configurations: NodeConfigurations
) -> Compilation | None:
    """Compile a site and all of its nodes; None while the site has not heard of itself."""
    planner = SitePlanner(inputs)
    try:
        plan = planner.plan()
    except NotFound:
        # Before the first snapshot from the FSM there is no Site, hence no default action.
        return None
    return Compilation(revision, planner, plan, node_configurations(planner))


class Compiler:
    """Keeps the publications at what the store says."""

    def __init__(
        self,
        store: Store,
        publications: Publications,
        *,
        model: SiteModel,
        node_configurations: NodeConfigurations,
        clock: Clock,
        executor: Executor,
    ) -> None:
        self.newest: Compilation | None = None
        self.compiled = asyncio.Event()
        """Set after each compilation; the reader clears it."""
        self._store = store
        self._publications = publications
        self._model = model
        self._node_configurations = node_configurations
        self._clock = clock
        self._executor = executor
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Load, compile and follow until cancelled."""
        while True:
            await self._load()
            try:
                async with Group() as group:
                    group.start(self._compile_when_wanted(), name="compile")
                    await self._follow()
            except Gone:
                log.info("the store's log was compacted under the compiler; loading again")

    async def _load(self) -> None:
        async with self._store.snapshot() as snapshot:
            self._model.load(await snapshot.list(PLANNED), snapshot.position.revision)
        self._wanted.set()

    async def _follow(self) -> None:
        async for event in self._store.watch(self._model.revision, selection=PLANNED):
            if isinstance(event, Commit) and self._model.apply(event):
                self._wanted.set()

    async def _compile_when_wanted(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self._compile()

    async def _compile(self) -> None:
        inputs, revision = self._model.inputs(self._clock.now()), self._model.revision
        loop = asyncio.get_running_loop()
        compilation = await loop.run_in_executor(
            self._executor, compile_site, inputs, revision, self._node_configurations
        )
        if compilation is None:
            return
        self.newest = compilation
        changed = self._publications.publish(
            Generation(compilation.revision), compilation.configurations
        )
        if changed:
            log.info("compiled", extra={"revision": revision, "changed_nodes": len(changed)})
        self.compiled.set()
