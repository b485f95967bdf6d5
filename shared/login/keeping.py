"""What every process of a server does for logins, every few seconds."""

from typing import Final

from shared.clock import Clock
from shared.login.callers import FRESH, Callers
from shared.login.keyring import KeyRing
from shared.login.sessions import Sessions
from shared.tasks.loop import Outcome

PERIOD: Final = FRESH
"""Seconds.  What one process has ended counts no longer in the others after this time."""

_TIDY: Final = 60.0


class KeepLogins:
    """A reconciler: reads what others have ended and published, and drops what has expired."""

    name = "keep logins"

    def __init__(
        self, *, ring: KeyRing, callers: Callers, sessions: Sessions, clock: Clock
    ) -> None:
        self._ring = ring
        self._callers = callers
        self._sessions = sessions
        self._clock = clock
        self._tidied_at = float("-inf")

    async def reconcile(self) -> Outcome:
        # What is revoked comes first: the rest may wait, or fail.
        await self._callers.read()
        changed = await self._ring.refresh()
        if self._clock.monotonic() - self._tidied_at >= _TIDY:
            changed += await self._sessions.tidy()
            self._tidied_at = self._clock.monotonic()
        return Outcome(changed=changed)
