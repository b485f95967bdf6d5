"""What each way out of a conflict would change at the site: exact packets, observed flows, names,
nodes, and the objects that depend on it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, Final

from sdsp.compile.compiler import Compilation
from sdsp.conflicts.decide import Sees, open_conflict
from sdsp.conflicts.standing import read_conflict
from sdsp.flows import Past, PastFlows
from shared.errors import Unavailable
from shared.ids import Key
from shared.model.override import Conflict
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.outcome import decided
from shared.policy.impact.site import site_impact
from shared.store.contract import Store

MAX_BOXES: Final = 1000


class Impacts:
    def __init__(
        self,
        store: Store,
        *,
        up_to_date: Callable[[], Awaitable[Compilation | None]],
        flows: PastFlows,
        executor: Executor,
    ) -> None:
        """`executor` is where planners are asked."""
        self._store = store
        self._up_to_date = up_to_date
        self._flows = flows
        self._executor = executor

    async def of(self, key: Key, *, sees: Sees, max_boxes: int = MAX_BOXES) -> list[dict[str, Any]]:
        """Return, for each proposal of an open conflict, what it would change of what runs now.

        NotFound; Conflict (`conflict_resolved`); Unavailable (`not_compiled`); TooLarge
        (`packets_too_intricate`).
        """
        async with self._store.snapshot() as snapshot:
            conflict = read_conflict(await open_conflict(snapshot, key, sees))
        compilation = await self._up_to_date()
        if compilation is None:
            raise Unavailable(
                "the site has not resolved its policy yet; try again", code="not_compiled"
            )
        past = await self._flows.read()
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, _impacts, compilation.planner, conflict, past, max_boxes
        )


def _impacts(
    planner: SitePlanner, conflict: Conflict, past: Past, max_boxes: int
) -> list[dict[str, Any]]:
    found = []
    for proposal in conflict.proposals:
        after = SitePlanner(decided(planner.inputs, conflict, proposal))
        impact = site_impact(planner, after, observed=past.observed)
        said = {**impact.to_json(max_boxes=max_boxes), "changes": impact.changes}
        found.append({"name": proposal["name"], "impact": past.told(said)})
    return found
