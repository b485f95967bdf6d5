"""What each way out of a conflict comes to at the site: what it writes, and whom it concerns.

By the site as it is now: exact packets, observed flows, names, nodes, and the objects that depend
on it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import Any, Final

from sdsp.compile.compiler import Compilation
from sdsp.conflicts.cases import Sees, check_open, visible
from sdsp.conflicts.standing import read_conflict
from sdsp.flows import Past, PastFlows
from shared.errors import Unavailable
from shared.ids import Key
from shared.model.override import Conflict
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.exceptions import without_targets
from shared.policy.impact.site import site_impact
from shared.policy.inputs import SiteInputs
from shared.policy.ways.contract import Barred, Step, Way, applied
from shared.policy.ways.out import ways_out
from shared.store.contract import Store

MAX_BOXES: Final = 1000

SUGGESTED: Final = timedelta(days=90)
"""How long an exception counts that is made of a conflict, if nobody knows better: a guess at how
long it takes to have global policy changed.
"""


class Impacts:
    def __init__(
        self,
        store: Store,
        *,
        up_to_date: Callable[[], Awaitable[Compilation | None]],
        flows: PastFlows,
        executor: Executor,
    ) -> None:
        """`executor` is for what takes seconds at a large site: nothing else may wait for it."""
        self._store = store
        self._up_to_date = up_to_date
        self._flows = flows
        self._executor = executor

    async def of(self, key: Key, *, sees: Sees, max_boxes: int = MAX_BOXES) -> list[dict[str, Any]]:
        """Return, for each proposal of an open conflict, what would result and what that would
        change of what runs now; of one that isn't offered after all, why (`notOffered`).

        NotFound; Conflict (`conflict_resolved`); Unavailable (`not_compiled`); TooLarge
        (`packets_too_intricate`).
        """
        async with self._store.snapshot() as snapshot:
            found = await visible(snapshot, key, sees)
            check_open(found)
            conflict = read_conflict(found)
        compilation = await self._up_to_date()
        if compilation is None:
            raise Unavailable(
                "the site has not resolved its policy yet; try again", code="not_compiled"
            )
        past = await self._flows.read()
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, _impacts, compilation.planner.inputs, conflict, past, max_boxes
        )


def _impacts(
    inputs: SiteInputs, conflict: Conflict, past: Past, max_boxes: int
) -> list[dict[str, Any]]:
    # A planner of its own: the compilation's is asked in another thread meanwhile.
    return impacts_of(SitePlanner(inputs), conflict, past, max_boxes)


def impacts_of(
    planner: SitePlanner, conflict: Conflict, past: Past, max_boxes: int
) -> list[dict[str, Any]]:
    """Return each way out of a conflict as answers tell it."""
    return [
        {"name": way.name, "notOffered": way.why}
        if isinstance(way, Barred)
        else _proposed(planner, way, past, max_boxes=max_boxes)
        for way in ways_out(planner, conflict)
    ]


def _proposed(planner: SitePlanner, way: Way, past: Past, *, max_boxes: int) -> dict[str, Any]:
    """Return a way out as answers tell it."""
    after = SitePlanner(applied(planner.inputs, way))
    impact = site_impact(planner, after, observed=past.observed)
    told = {**impact.to_json(max_boxes=max_boxes), "changes": impact.changes}
    said: dict[str, Any] = {
        "name": way.name,
        "spec": way.spec,
        "writes": [
            {
                "kind": step.key.kind,
                "tenant": step.key.tenant,
                "scope": step.key.scope,
                "name": step.key.name,
                "spec": step.spec,
                "replaces": _replaced(planner, step),
            }
            for step in way.steps
        ],
        "impact": past.told(told),
        "digest": way.digest,
    }
    ends = _suggested(planner, way)
    if ends is not None:
        said["suggestedExpiresAt"] = ends.isoformat()
    return said


def _replaced(planner: SitePlanner, step: Step) -> dict[str, Any] | None:
    """Return the spec that an object takes the place of: its own of before, or of a new exception
    what is inherited; None if there is none.
    """
    before = planner.inputs.local.get(step.key)
    if before is not None:
        return before.spec.to_json()
    return None if step.based_on is None else without_targets(step.based_on)


def _suggested(planner: SitePlanner, way: Way) -> datetime | None:
    """Return when an exception that is left might end; None if it has an end already."""
    if not way.keeps_exception:
        return None
    specs = [step.spec for step in way.steps if step.key.kind == "Override" and step.spec]
    if any("expiresAt" in each for each in specs):
        return None
    return (planner.inputs.now + SUGGESTED).replace(microsecond=0)
