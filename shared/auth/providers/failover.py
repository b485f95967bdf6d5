"""Several servers of one provider: asked in order, and let alone for a while when they fail.

Without the pause each login would wait for a dead server's time-out before it asks the next one.
If all fail, logins fail at once until the first pause is over.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.auth.providers.contract import ProviderName, ProviderUnreachable
from shared.clock import Clock

# Short, since a server may come back at any time; long enough that a dead one, which costs a
# thread its time-out of 5 s, doesn't take the threads from the living.
PAUSE: Final = 5.0


class ServerFailed(Exception):
    """One server couldn't be asked, or gave no answer that counts; str() is the reason.

    `is_down` if the next one to ask would fare no better.
    """

    def __init__(self, reason: str, *, is_down: bool = True) -> None:
        super().__init__(reason)
        self.is_down = is_down


@dataclass(frozen=True, slots=True)
class _Failure:
    until: float
    reason: str


class Failover:
    """Which servers to ask now.  May be used by several threads."""

    def __init__(
        self, provider: ProviderName, servers: Sequence[str], *, clock: Clock, pause: float = PAUSE
    ) -> None:
        self._provider = provider
        self._servers = tuple(servers)
        self._clock = clock
        self._pause = pause
        self._failures: dict[str, _Failure] = {}

    def attempt(self) -> "Attempt":
        """Begin to ask: yields the servers in order, and keeps why each of them failed."""
        return Attempt(self)

    def usable(self) -> Iterator[tuple[str, str | None]]:
        """Yield each server with None, or with the reason why it is let alone for now."""
        for server in self._servers:
            failure = self._failures.get(server)
            if failure is None or failure.until <= self._clock.monotonic():
                yield server, None
            else:
                yield server, failure.reason

    def failed(self, server: str, reason: str) -> None:
        self._failures[server] = _Failure(self._clock.monotonic() + self._pause, reason)

    def worked(self, server: str) -> None:
        self._failures.pop(server, None)

    def unreachable(self, reasons: Mapping[str, str]) -> ProviderUnreachable:
        told = "; ".join(f"{server}: {reason}" for server, reason in reasons.items())
        return ProviderUnreachable(f"no server of the provider {self._provider} answers: {told}")


class Attempt:
    """One login's way along the servers."""

    def __init__(self, failover: Failover) -> None:
        self._failover = failover
        self._reasons: dict[str, str] = {}

    def servers(self) -> Iterator[str]:
        for server, reason in self._failover.usable():
            if reason is None:
                yield server
            else:
                self._reasons[server] = f"{reason} (just now)"

    def failed(self, server: str, failure: ServerFailed) -> None:
        self._reasons[server] = str(failure)
        if failure.is_down:
            self._failover.failed(server, str(failure))

    def worked(self, server: str) -> None:
        self._failover.worked(server)

    def unreachable(self) -> ProviderUnreachable:
        """Return the error that names each server with its reason."""
        return self._failover.unreachable(self._reasons)
