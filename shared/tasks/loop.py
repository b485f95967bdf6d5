"""Run a reconciler when it may have work, and now and then regardless.

A reconciler compares intended state with actual state and moves the second towards
the first.  It takes no argument: what changed is for it to find out, so the first
pass after a restart runs the same code as every other.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from shared.backoff import Backoff
from shared.clock import Clock
from shared.errors import HanseError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one pass did: how much it changed, and which objects it couldn't, and why."""

    changed: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)


class Reconciler(Protocol):
    @property
    def name(self) -> str: ...

    async def reconcile(self) -> Outcome:
        """Make one idempotent pass over everything."""


@dataclass(frozen=True, slots=True)
class Status:
    """The last finished pass, as /readyz and the dashboard show it."""

    passes: int = 0
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    error: Exception | None = None

    @property
    def failing(self) -> bool:
        return self.error is not None or bool(self.outcome and self.outcome.failed)


class Loop:
    """Drives one reconciler; never runs two passes at once."""

    def __init__(
        self,
        reconciler: Reconciler,
        *,
        period: float,
        settle: float,
        backoff: Backoff,
        clock: Clock,
    ) -> None:
        """Pass every `period` seconds, and `settle` seconds after activate()."""
        self.status = Status()
        self._reconciler = reconciler
        self._period = period
        self._settle = settle
        self._backoff = backoff
        self._clock = clock
        self._wanted = asyncio.Event()

    @property
    def name(self) -> str:
        return self._reconciler.name

    def activate(self) -> None:
        """Ask for a pass soon.  However often it is asked before that, it is one pass."""
        self._wanted.set()

    async def run(self) -> None:
        """Make passes until cancelled."""
        while True:
            # Cleared before the pass, so that a change which arrives during the
            # pass causes another one.
            self._wanted.clear()
            delay = await self._pass()
            if await self._clock.wait(self._wanted, delay):
                await self._clock.sleep(self._settle)  # a burst of changes becomes one pass

    async def _pass(self) -> float:
        """Make one pass; return how long to wait for the next, if nobody asks sooner."""
        outcome, error = None, None
        try:
            outcome = await self._reconciler.reconcile()
        except Exception as exc:  # noqa: BLE001 - a bug in one reconciler mustn't stop the others
            error = exc
        self._record(outcome, error)
        if self.status.failing:
            return self._backoff.next()
        self._backoff.reset()
        return self._period

    def _record(self, outcome: Outcome | None, error: Exception | None) -> None:
        before = self.status
        self.status = Status(before.passes + 1, self._clock.now(), outcome, error)
        # One line where a streak of failures begins and one where it ends: a site
        # that is away for a day doesn't fill the log.
        if self.status.failing and not before.failing:
            self._warn(outcome, error)
        elif before.failing and not self.status.failing:
            log.info("reconciling recovered", extra={"reconciler": self._reconciler.name})

    def _warn(self, outcome: Outcome | None, error: Exception | None) -> None:
        fields: dict[str, object] = {"reconciler": self._reconciler.name}
        if outcome and outcome.failed:
            fields["failed"] = dict(outcome.failed)
        # What we foresaw needs no traceback; anything else is a mistake of ours and does.
        foreseen = isinstance(error, HanseError)
        if isinstance(error, HanseError):
            fields |= {"code": error.code, "reason": error.message}
        log.warning(
            "reconciling fails, will retry", extra=fields, exc_info=None if foreseen else error
        )
