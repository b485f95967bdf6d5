"""The flows of the past that impacts are told of, as far as the site has any."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from shared.clock import Clock
from shared.errors import HanseError
from shared.policy.flow_columns import Observed
from shared.telemetry.recorded import RecordedFlows


@dataclass(frozen=True, slots=True)
class Past:
    """Observed flows; None where none are recorded, or, as `unreadable` says, can't be read."""

    observed: Observed | None = None
    unreadable: str | None = None

    def told(self, impact: dict[str, Any]) -> dict[str, Any]:
        """Return an impact's answer with why its flows are not told, if they are not."""
        if self.unreadable is None:
            return impact
        return {**impact, "flows": {"unreadable": self.unreadable}}


class PastFlows:
    """Reads the flows of a window that ends now; it may take seconds."""

    def __init__(
        self,
        recorded: RecordedFlows | None,
        *,
        window: timedelta,
        executor: Executor,
        clock: Clock,
    ) -> None:
        """`executor` is where they are read: nothing that people wait for should stand behind."""
        self._recorded: Final = recorded
        self._window = window
        self._executor = executor
        self._clock = clock

    async def read(self) -> Past:
        if self._recorded is None:
            return Past()
        since = self._clock.now() - self._window
        loop = asyncio.get_running_loop()
        try:
            return Past(await loop.run_in_executor(self._executor, self._recorded.since, since))
        except HanseError as exc:
            # What a proposal does to packets is worth telling all the same.
            faults = "; ".join(str(each) for each in exc.fields[:1])
            return Past(unreadable=f"{exc.message}: {faults}" if faults else exc.message)
