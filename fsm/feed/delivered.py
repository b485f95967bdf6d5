"""What a site had, remembered beyond the store's log.

A snapshot tells a site what to let go: what it had at its position and is no longer to have.
While the log reaches back to that position, the store itself knows what the site had.  Before the
log is dropped, the keys that each site which is behind had are put on record, and kept for as
long as tombstones are: a site that comes back later than that holds what it misses.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared.feed.wire import key_to_json, parse_key
from shared.ids import Key
from shared.store.contract import Snapshot, Transaction

DELIVERED: Final = "feed.delivered"

TOMBSTONES: Final = timedelta(days=90)
"""How much longer than the log a removal is told."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The keys that a site had at a revision of one life of the store."""

    incarnation: str
    revision: int
    keys: frozenset[Key]
    at: datetime

    def to_record(self) -> dict[str, Any]:
        return {
            "incarnation": self.incarnation,
            "revision": self.revision,
            "at": self.at.isoformat(),
            "keys": [key_to_json(key) for key in sorted(self.keys)],
        }


async def delivered_to(snapshot: Snapshot, site: str) -> Delivered | None:
    """Return what is on record for a site, if anything is."""
    record = await snapshot.record(DELIVERED, site)
    return _from_record(record) if record else None


async def remember(transaction: Transaction, delivered: Mapping[str, Delivered]) -> None:
    for site, each in delivered.items():
        await transaction.put_record(DELIVERED, site, each.to_record())


async def forget(transaction: Transaction, *, sites: Iterable[str], now: datetime) -> int:
    """Drop what is too old, or of sites that are no more; return how many."""
    present = set(sites)
    dropped = 0
    for site, record in (await transaction.records(DELIVERED)).items():
        if site not in present or _from_record(record).at + TOMBSTONES < now:
            await transaction.delete_record(DELIVERED, site)
            dropped += 1
    return dropped


def _from_record(record: Mapping[str, Any]) -> Delivered:
    return Delivered(
        incarnation=record["incarnation"],
        revision=record["revision"],
        keys=frozenset(parse_key(each) for each in record["keys"]),
        at=datetime.fromisoformat(record["at"]),
    )
