"""Keep a connection upwards: try again, notice silence, say how things stand.

A session is one connection's work.  It ends by an error or by itself, and a new one begins after
a delay that grows with each failure (shared.backoff); the first sign of life makes it short again.
A peer that falls silent ends the session too, for a connection whose other end is gone may look
open for hours.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NoReturn

from shared.backoff import Backoff
from shared.clock import Clock
from shared.errors import HanseError, Unreachable
from shared.tasks.group import Group

log = logging.getLogger(__name__)

# The peer says something at least every ten seconds: twice that, and a little for the way.
SILENCE: Final = 25.0

Session = Callable[[], Awaitable[None]]
"""One connection's work; it calls Connector.heard() at each sign of the peer."""


@dataclass(frozen=True, slots=True)
class Link:
    """How the connection stands.

    `connected` is true only while the present session has heard its peer; `error` is the code
    that ended the last one, None after a good word.
    """

    connected: bool = False
    since: datetime | None = None
    heard_at: datetime | None = None
    error: str | None = None
    failures: int = 0


class Connector:
    """Runs sessions one after another, for ever."""

    def __init__(
        self, *, peer: str, clock: Clock, backoff: Backoff, silence: float = SILENCE
    ) -> None:
        """`peer` names the other end in the log; `silence` is in seconds."""
        self.link = Link()
        self._peer = peer
        self._clock = clock
        self._backoff = backoff
        self._silence = silence
        self._heard = asyncio.Event()

    def heard(self, *, in_order: bool = True) -> None:
        """Note a sign of life, one that the peer can only have given now.

        With `in_order` false it is alive, but whether it will do is not known yet: the next
        failure is still one of the same streak.
        """
        now = self._clock.now()
        before = self.link
        self._heard.set()
        if not in_order:
            self.link = replace(before, heard_at=now)
            return
        if before.failures:
            log.info("connection recovered", extra={"peer": self._peer})
        since = before.since if before.connected else now
        self.link = Link(connected=True, since=since, heard_at=now)
        self._backoff.reset()

    def ended(self, why: str) -> None:
        """Note that nobody follows any more: run() was cancelled, on purpose."""
        self.link = replace(self.link, connected=False, error=why, failures=0)

    async def run(self, session: Session) -> NoReturn:
        """Run sessions until cancelled.  What is no HanseError is a mistake, and is raised."""
        while True:
            error = await self._run_one(session)
            self._ended(error)
            await self._clock.sleep(self._backoff.next())

    async def _run_one(self, session: Session) -> HanseError | None:
        self._heard.clear()
        try:
            async with Group() as group:
                group.start(self._watch(), name=f"watchdog of {self._peer}")
                await session()
        except HanseError as exc:
            return exc
        return None

    async def _watch(self) -> None:
        while await self._clock.wait(self._heard, self._silence):
            self._heard.clear()
        raise Unreachable(f"{self._peer} has said nothing for {self._silence:.0f} s", code="silent")

    def _ended(self, error: HanseError | None) -> None:
        before = self.link
        self.link = replace(
            before,
            connected=False,
            error=error.code if error else None,
            failures=before.failures + (error is not None),
        )
        if error is not None and not before.failures:
            # One line where a streak of failures begins: a day's absence doesn't fill the log.
            log.warning(
                "connection lost, will retry",
                extra={"peer": self._peer, "code": error.code, "reason": error.message},
            )
