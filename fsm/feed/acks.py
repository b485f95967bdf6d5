"""What each site has said: how far it is, what it refused, when it was last heard, its report.

Kept as the store's records, so that every FSM process on one database tells the same.  Sites
answer each bookmark, so there are many acknowledgements and most say nothing new: they are
gathered in memory and written together every second.  A refusal is written at once.

A site counts as connected while it answers.  An open socket proves nothing: the other end may be
gone for hours before the kernel notices.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from fsm.feed.reports import Acknowledgement, Report
from shared.clock import Clock
from shared.errors import Gone
from shared.failpoints import pause
from shared.feed.wire import Position, key_to_json, parse_key, parse_position
from shared.ids import Key
from shared.metrics.names import SITE_BREAK_GLASS_OPEN, Metrics
from shared.store.contract import Snapshot, Store, Transaction
from shared.telemetry.journal import Journal
from shared.telemetry.signals import Event, Severity

log = logging.getLogger(__name__)

HEARD: Final = "feed.heard"
REPORTS: Final = "feed.reports"

# Bookmarks come every 5 s and are answered at once; three may be lost.
QUIET: Final = timedelta(seconds=20)

RevisionOf = Callable[[Key], int | None]
"""Returns the revision that last wrote an object; None if there is none."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An object that a site couldn't take; `revision` is the site's position at that time."""

    key: Key
    code: str
    revision: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What a site last acknowledged."""

    at: datetime
    position: Position
    refused: tuple[Refused, ...] = ()
    is_open: bool = True
    """False once its stream has ended in an orderly way."""

    def is_connected(self, now: datetime) -> bool:
        # The wall clock may have been set back since: that makes nobody connected for so long.
        return self.is_open and abs(now - self.at) <= QUIET

    def refusal_of(self, key: Key) -> str | None:
        """Return the code with which the site refused an object, if it did."""
        return next((each.code for each in self.refused if each.key == key), None)


class SiteVoices:
    """Takes down what sites say."""

    def __init__(self, store: Store, *, clock: Clock, metrics: Metrics | None = None) -> None:
        self._store = store
        self._clock = clock
        self._journal = Journal(metrics) if metrics else None
        self._gauge = metrics.gauge(SITE_BREAK_GLASS_OPEN) if metrics else None
        self._heard: dict[str, Heard] = {}
        self._unwritten: set[str] = set()

    async def acknowledge(
        self, site: str, said: Acknowledgement, *, incarnation: str, revision_of: RevisionOf
    ) -> None:
        """Note an acknowledgement; Gone (`history_diverged`) if it is of another history."""
        await pause("fsm.acknowledge.before")
        position = said.position.to_position()
        if position.incarnation != incarnation:
            raise Gone(
                "the acknowledged position is of another history; list again",
                code="history_diverged",
            )
        before = self._heard.get(site) or await self._read(site)
        refused = refused_after(before, said, revision_of=revision_of)
        self._heard[site] = Heard(self._clock.now(), position, refused)
        self._unwritten.add(site)
        if refused != (before.refused if before else ()):
            await self.flush()
        await pause("fsm.acknowledge.after")

    def left(self, site: str) -> None:
        """Note that a site's last stream has ended."""
        before = self._heard.get(site)
        if before is not None:
            self._heard[site] = replace(before, is_open=False)
            self._unwritten.add(site)

    async def report(self, site: str, said: Report) -> None:
        """Keep a site's report in place of its last; what is alarming in it becomes an event."""
        now = self._clock.now()
        record = {**said.to_record(), "at": now.isoformat()}

        async def work(transaction: Transaction) -> Event | None:
            before = await transaction.record(REPORTS, site)
            event = _alarm(site, before, record, now)
            await transaction.put_record(REPORTS, site, with_known_conflicts(before, record))
            if event is not None and self._journal is not None:
                await self._journal.add(transaction, event)
            return event

        await pause("fsm.report.before")
        event = (await self._store.transact(work)).result
        if event is not None:
            log.critical("a site's emergency account is open", extra={"site": site})
            if self._journal is not None:
                self._journal.count(event)
        if self._gauge is not None:
            self._gauge.labels(site).set(1 if said.break_glass else 0)
        await pause("fsm.report.after")

    async def flush(self) -> int:
        """Write what isn't written yet; return how many sites' words that were."""
        sites, self._unwritten = self._unwritten, set()
        if not sites:
            return 0
        records = {site: _to_record(self._heard[site]) for site in sorted(sites)}

        async def work(transaction: Transaction) -> None:
            for site, record in records.items():
                await transaction.put_record(HEARD, site, record)

        written = False
        try:
            await pause("fsm.heard.before")
            await self._store.transact(work)
            await pause("fsm.heard.after")
            written = True
        finally:
            if not written:
                self._unwritten |= sites
        return len(sites)

    async def _read(self, site: str) -> Heard | None:
        async with self._store.snapshot() as snapshot:
            record = await snapshot.record(HEARD, site)
        return heard_of(record) if record else None


async def read_heard(snapshot: Snapshot) -> dict[str, Heard]:
    """Return what each site last acknowledged, by site."""
    return {site: heard_of(record) for site, record in (await snapshot.records(HEARD)).items()}


def refused_after(
    before: Heard | None, said: Acknowledgement, *, revision_of: RevisionOf
) -> tuple[Refused, ...]:
    """Return what a site refuses after an acknowledgement.  Pure.

    An earlier refusal ends when the object has changed since and the site took that change.
    """
    position = said.position.revision
    news = {
        each.key.to_key(): Refused(each.key.to_key(), each.code, position) for each in said.refused
    }
    earlier = () if before is None or said.complete else before.refused
    for each in earlier:
        changed = revision_of(each.key)
        still = changed is not None and not each.revision < changed <= position
        if still and each.key not in news:
            news[each.key] = each
    return tuple(news[key] for key in sorted(news))


def with_known_conflicts(before: Mapping[str, Any] | None, said: dict[str, Any]) -> dict[str, Any]:
    """Return a report with the conflicts of the one before, if it is too early to tell of them.

    `pending` says so: what a site has not judged yet is not without conflicts.  Pure.
    """
    conflicts = said.get("conflicts")
    if conflicts is None:
        return said
    if conflicts["judged"] is not None:
        return {**said, "conflicts": {**conflicts, "pending": False}}
    known = (before or {}).get("conflicts") or conflicts
    return {**said, "conflicts": {**known, "pending": True}}


def heard_of(record: Mapping[str, Any]) -> Heard:
    return Heard(
        at=datetime.fromisoformat(record["at"]),
        position=parse_position(record["position"]),
        refused=tuple(
            Refused(parse_key(each["key"]), each["code"], each["revision"])
            for each in record["refused"]
        ),
        is_open=record["open"],
    )


def _to_record(heard: Heard) -> dict[str, Any]:
    return {
        "at": heard.at.isoformat(),
        "position": heard.position.to_json(),
        "refused": [
            {"key": key_to_json(each.key), "code": each.code, "revision": each.revision}
            for each in heard.refused
        ],
        "open": heard.is_open,
    }


def _alarm(
    site: str, before: Mapping[str, Any] | None, said: Mapping[str, Any], now: datetime
) -> Event | None:
    """Return an event if a site says for the first time that its emergency account is open."""
    opened = said.get("breakGlass")
    known = (before or {}).get("breakGlass")
    if opened is None or (known and known["openedAt"] == opened["openedAt"]):
        return None
    until = datetime.fromisoformat(opened["openUntil"])
    return Event(
        "break-glass.opened",
        Severity.CRITICAL,
        now,
        f"the emergency account of site {site} is open until {until:%Y-%m-%d %H:%M} UTC",
        fields={"site": site, "until": opened["openUntil"]},
    )
