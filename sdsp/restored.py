"""A site that was restored hears its FSM before its nodes hear anything from it.

What the backup lacks, nodes may be enforcing: a block that the FSM has sent since.  So until the
site's copy is at the FSM's latest, nothing is compiled and nodes keep what they have.  A person
who wants to go on without the FSM removes the mark that the restore has left.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shared.clock import Clock
from shared.tasks.loop import Outcome, Reconciler

log = logging.getLogger(__name__)

_LOOK: Final = 0.5
"""Seconds between looks."""


class AfterRestore:
    """A reconciler that makes no pass while the site waits."""

    def __init__(
        self,
        reconciler: Reconciler,
        *,
        mark: Path,
        is_current: Callable[[], bool],
        clock: Clock,
    ) -> None:
        """`mark` is there while the site waits; `is_current` says when it need no longer."""
        self._reconciler = reconciler
        self._mark = mark
        self._is_current = is_current
        self._clock = clock
        self._is_waiting = mark.exists()

    @property
    def name(self) -> str:
        return self._reconciler.name

    async def reconcile(self) -> Outcome:
        return Outcome() if self._is_waiting else await self._reconciler.reconcile()

    async def wait(self, done: Callable[[], None]) -> None:
        """Return when the site need not wait any more, having called `done`."""
        if self._is_waiting:
            log.warning(
                "this site was restored: nodes keep what they have until the FSM was heard",
                extra={"mark": str(self._mark)},
            )
        while self._mark.exists() and not self._is_current():
            await self._clock.sleep(_LOOK)
        self._mark.unlink(missing_ok=True)
        self._is_waiting = False
        done()
