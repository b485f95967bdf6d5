"""Tell the site what this node enforces, what it refused, and what its data plane says.

Reports go only while the configuration stream stands.  Each new Standing is one report, so that a
drift is told before its repair; when many wait, the oldest are given up, never the newest.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, Protocol

from dsn.dataplane.contract import DataPlane
from dsn.enforce.assignment import Standing
from shared.clock import Clock
from shared.errors import HanseError, Unavailable
from shared.failpoints import pause
from shared.policy.balancers import FIREWALL

log = logging.getLogger(__name__)

REPORTS: Final = "/node/v1/reports"

# A guess: a drift and its repair, a refusal and its successor, several times over.
_MOST_WAITING: Final = 16

# What the site takes at most.
_MESSAGE: Final = 2000


class Posts(Protocol):
    """The site, as shared.http.peer.PeerClient."""

    async def post(self, path: str, body: Any) -> Any: ...


class Reporter:
    def __init__(
        self,
        *,
        transport: Posts,
        plane: DataPlane,
        agent: str,
        period: float,
        clock: Clock,
        roots: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """Report every change, and every `period` seconds anyway, for the counters' sake.

        `roots` returns the SHA-256 of each root that the node trusts.
        """
        self._roots = roots
        self._transport = transport
        self._plane = plane
        self._agent = agent
        self._period = period
        self._clock = clock
        self._latest = Standing()
        self._waiting: deque[Standing] = deque(maxlen=_MOST_WAITING)
        self._wanted = asyncio.Event()

    def note(self, standing: Standing) -> None:
        """Report this, when there is a connection."""
        self._latest = standing
        self._waiting.append(standing)
        self._wanted.set()

    def report_soon(self) -> None:
        """Report once more what stands: something beside it has changed."""
        if self._latest.spoken_of is not None:
            self.note(self._latest)

    async def run(self) -> NoReturn:
        """Send what waits, and go on until cancelled; Unavailable if the site can't be reached."""
        if not self._waiting:
            self._waiting.append(self._latest)
        while True:
            while self._waiting:
                await self._send(self._waiting[0])
                self._waiting.popleft()
            self._wanted.clear()
            if not await self._clock.wait(self._wanted, self._period):
                self._waiting.append(self._latest)

    async def _send(self, standing: Standing) -> None:
        version = standing.spoken_of
        if version is None:
            return
        try:
            await pause("dsn.report.before")
            await self._transport.post(REPORTS, await self._body(standing))
            await pause("dsn.report.after")
        except Unavailable:
            raise
        except HanseError as exc:
            # Sent again it would be refused again.
            log.warning("report refused", extra={"code": exc.code, "reason": exc.message})

    async def _body(self, standing: Standing) -> Mapping[str, Any]:
        version, refused = standing.spoken_of, standing.refused
        assert version is not None, "there is nothing to report before the first configuration"
        return {
            "incarnation": version.incarnation,
            "generation": version.generation,
            "hash": standing.enforced.version.hash if standing.enforced else None,
            "outcome": "nack" if refused else "ack",
            "code": refused.code if refused else None,
            "message": refused.message[:_MESSAGE] if refused else None,
            "readBack": standing.read_back,
            "dataPlane": self._plane.name,
            "agent": self._agent,
            "counters": await self._counts(),
            "telemetry": [],
            **_services(standing),
            **({"roots": roots} if (roots := list(self._roots())) else {}),
        }

    async def _counts(self) -> dict[str, int]:
        """Return connections by rule id, those without any left out."""
        try:
            counters = await self._plane.counters()
        except HanseError as exc:
            log.info("no counters to report", extra={"code": exc.code, "reason": exc.message})
            return {}
        return {name: count.packets for name, count in counters.items() if count.packets}


def _services(standing: Standing) -> dict[str, list[str]]:
    """Return the network services that the data plane provides, if it is more than the firewall:
    what every agent provides needn't be said, and sites of earlier releases know no such field.
    """
    if standing.enforced is None or standing.read_back is None:
        return {}
    services = list(standing.enforced.configuration.services)
    return {"services": services} if services != [FIREWALL] else {}
