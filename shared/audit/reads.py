"""Records of what changes nothing: gathered in memory and written together.

Reads and refusals come thousands a second, so a request only leaves a few values here; they become
records when they are written, after a second at most or when a thousand wait.  A crash loses what
waits, an orderly stop nothing.  While the store is out they wait for it, within bounds: what is
too much is counted, and the count is a record itself.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from shared.clock import Clock
from shared.errors import HanseError, Unavailable
from shared.metrics.names import AUDIT_LOST, AUDIT_WAITING, Metrics
from shared.store.contract import AuditRecord, Store

log = logging.getLogger(__name__)

Entry = TypeVar("Entry")

PERIOD: Final = 1.0
"""Seconds that a record may wait."""
MOST: Final = 1000
"""Records that are written together, and that may be lost in a crash."""
BOUND: Final = 50_000
"""Entries that wait for a store that is out: some 20 MB."""
MINUTE: Final = timedelta(minutes=1)
STRANGERS: Final = 1000
"""Addresses that are told apart in one minute; further ones share a record."""

OTHERS: Final = "others"


@dataclass(slots=True)
class _Knocks:
    """What one address tried without our knowing who it is, in one minute."""

    first: datetime
    count: int = 0
    last: str = ""
    request_id: str = ""


class ReadTrail(Generic[Entry]):
    """Gathers entries and writes the records that `records_of` makes of them."""

    def __init__(
        self,
        store: Store,
        *,
        records_of: Callable[[Sequence[Entry]], Sequence[AuditRecord]],
        clock: Clock,
        metrics: Metrics,
        bound: int = BOUND,
    ) -> None:
        self._store = store
        self._records_of = records_of
        self._clock = clock
        self._waiting: deque[Entry] = deque()
        self._full = asyncio.Event()
        self._writing = asyncio.Lock()
        self._bound = bound
        self._lost = 0
        self._lost_of_all = metrics.counter(AUDIT_LOST)
        self._strangers: dict[tuple[str, str], _Knocks] = {}
        # A batch of which nobody knows whether it was committed goes under the same name again.
        self._batch: tuple[str, Sequence[AuditRecord]] | None = None
        metrics.gauge(AUDIT_WAITING).set_function(lambda: len(self._waiting))

    def append(self, entry: Entry) -> None:
        """Take an entry; if too many wait, only count it."""
        waiting = self._waiting
        if len(waiting) >= self._bound:
            self._lost += 1
            self._lost_of_all.inc()
            return
        waiting.append(entry)
        if len(waiting) >= MOST:
            self._full.set()

    def stranger(self, address: str | None, outcome: str, what: str, request_id: str) -> None:
        """Count a request of somebody unknown: a record for each address, outcome and minute."""
        key = (address or OTHERS, outcome)
        knocks = self._strangers.get(key)
        if knocks is None:
            if len(self._strangers) >= STRANGERS:
                key = (OTHERS, "refused")
            knocks = self._strangers.setdefault(key, _Knocks(self._clock.now()))
        knocks.count += 1
        knocks.last = what[:200]
        knocks.request_id = request_id

    async def run(self) -> None:
        """Write what waits until cancelled; flush() after that writes the rest."""
        while True:
            await self._clock.wait(self._full, PERIOD)
            try:
                await self._flush(everything=False)
            except HanseError as exc:
                log.warning("the audit trail can't be written", extra={"code": exc.code})
                await self._clock.sleep(PERIOD)

    async def flush(self) -> None:
        """Write all that waits now.  Raises what the store raises; it waits on then."""
        await self._flush(everything=False)

    async def close(self) -> None:
        """Write the last of it, strangers' knocks too, as far as the store takes it."""
        try:
            await self._flush(everything=True)
        except HanseError as exc:
            fields = {"code": exc.code, "count": len(self._waiting)}
            log.warning("the audit trail loses records", extra=fields)

    async def _flush(self, *, everything: bool) -> None:
        async with self._writing:
            self._full.clear()
            end = len(self._waiting)
            while self._batch is not None or end > 0:
                if self._batch is None:
                    taken = [self._waiting.popleft() for _ in range(min(MOST, end))]
                    end -= len(taken)
                    self._batch = secrets.token_hex(16), _clean(self._records_of(taken))
                await self._write()
            if last := [*self._overflow(), *self._knocks(everything=everything)]:
                self._batch = secrets.token_hex(16), last
                await self._write()

    async def _write(self) -> None:
        assert self._batch is not None, "only then there is something"
        name, records = self._batch
        try:
            await self._store.audit(records, request_id=name)
        except Unavailable:
            raise
        except HanseError:
            # It can't be written as it is, ever: what comes behind it must not wait for it.
            self._batch = None
            self._lost += len(records)
            self._lost_of_all.inc(len(records))
            raise
        self._batch = None

    def _overflow(self) -> list[AuditRecord]:
        lost, self._lost = self._lost, 0
        if not lost:
            return []
        return [
            AuditRecord(
                at=self._clock.now(),
                request_id="",
                identity="system",
                action="audit.overflow",
                outcome="lost",
                diff={"lost": lost},
                reason=f"{lost} records of reads and refusals could not be kept",
            )
        ]

    def _knocks(self, *, everything: bool) -> list[AuditRecord]:
        now = self._clock.now()
        over = [
            key
            for key, each in self._strangers.items()
            if everything or abs(now - each.first) >= MINUTE
        ]
        found = [(key, self._strangers.pop(key)) for key in over]
        return [
            AuditRecord(
                at=each.first,
                request_id=each.request_id,
                identity="unknown",
                action="knock",
                outcome=outcome,
                source_address=address,
                diff={"count": each.count},
                reason=f"{each.count} within a minute, the last: {each.last}",
            )
            for (address, outcome), each in found
        ]


def _clean(records: Sequence[AuditRecord]) -> Sequence[AuditRecord]:
    """Return records that can be written: half a surrogate pair in one would stop them all."""
    try:
        "".join([f"{each.identity}{each.action}{each.reason}" for each in records]).encode()
    except UnicodeEncodeError:
        for each in records:
            each.identity, each.action = _whole(each.identity), _whole(each.action)
            each.reason = None if each.reason is None else _whole(each.reason)
    return records


def _whole(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
