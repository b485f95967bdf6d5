"""The newest events of a server, kept in its store."""

from collections.abc import Sequence
from typing import Final

from shared.metrics.names import EVENTS, Metrics
from shared.store.contract import Snapshot, Transaction
from shared.telemetry.signals import Event, event_of

SPACE: Final = "events"
KEPT: Final = 200
"""So many stay; a guess at what somebody reads."""


class Journal:
    """Keeps the newest events and counts all."""

    def __init__(self, metrics: Metrics) -> None:
        self._counter = metrics.counter(EVENTS)

    async def add(self, transaction: Transaction, event: Event) -> None:
        """Append an event in somebody's transaction; count() it once that is committed."""
        names = sorted(await transaction.records(SPACE))
        number = int(names[-1]) + 1 if names else 1
        await transaction.put_record(SPACE, f"{number:012}", event.to_json())
        for name in names[: max(0, len(names) + 1 - KEPT)]:
            await transaction.delete_record(SPACE, name)

    def count(self, event: Event) -> None:
        self._counter.labels(event.type, event.severity.value).inc()


async def recent_events(snapshot: Snapshot, limit: int = 20) -> Sequence[Event]:
    """Return the newest events, latest first."""
    found = await snapshot.records(SPACE)
    return [event_of(found[name]) for name in sorted(found, reverse=True)[:limit]]
