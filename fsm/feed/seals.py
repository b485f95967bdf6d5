"""The last seal of each site's audit trail, kept where the site can't reach it.

A seal names the one before it, so the last vouches for all.  A site that shows another seal of a
number that it showed before, or an older one, has another history than it had, unless its store
was restored, which the incarnation tells: that is an event, and both are kept.
"""

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field

from shared.clock import Clock
from shared.http.body import Body
from shared.metrics.names import Metrics
from shared.model.base import Time
from shared.store.contract import Store, Transaction
from shared.telemetry.journal import Journal
from shared.telemetry.signals import Event, Severity

log = logging.getLogger(__name__)

SEALS: Final = "feed.seals"
_FORKS: Final = 20
"""Kept of a site."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class SealBody(Body):
    """The newest seal of a site's audit trail."""

    incarnation: str = Field(min_length=1, max_length=128)
    sequence: int = Field(ge=1, le=2**53)
    hash: Digest
    at: Time


class SiteSeals:
    def __init__(self, store: Store, *, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._journal = Journal(metrics)

    async def keep(self, site: str, said: SealBody) -> None:
        """Keep a site's seal in place of its last."""
        now = self._clock.now()
        new = {**said.model_dump(mode="json", by_alias=True), "heardAt": now.isoformat()}

        async def work(transaction: Transaction) -> Event | None:
            record = dict(await transaction.record(SEALS, site) or {"forks": []})
            last, event = record.get("last"), None
            if last is not None and is_fork(last, new):
                record["forks"] = [*record["forks"], last][-_FORKS:]
                event = Event(
                    type="audit.fork",
                    severity=Severity.CRITICAL,
                    at=now,
                    message=f"the audit trail of site {site} is another than it was: it showed "
                    f"seal {last['sequence']} before, and now another seal {said.sequence}",
                    code="audit_fork",
                    fields={"site": site, "before": last, "now": new},
                )
                await self._journal.add(transaction, event)
            elif last == new:
                return None
            await transaction.put_record(SEALS, site, {**record, "last": new})
            return event

        event = (await self._store.transact(work)).result
        if event is not None:
            self._journal.count(event)
            log.error("a site's audit trail has forked", extra={"site": site})

    async def all(self) -> Mapping[str, Any]:
        """Return by site its last seal, and those that later ones contradicted."""
        async with self._store.snapshot() as snapshot:
            return await snapshot.records(SEALS)


def is_fork(last: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Say whether one trail can't have both seals.  Pure."""
    if last["incarnation"] != new["incarnation"]:
        return False
    if new["sequence"] == last["sequence"]:
        return bool(new["hash"] != last["hash"])
    return bool(new["sequence"] < last["sequence"])
