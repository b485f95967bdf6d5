"""Hash chains over the audit trail: each process's records, in the order of their commits.

A link's hash is SHA-256(the hash before it ‖ the record's line), in hexadecimal digits outside.  A
line is the JSON array of all that is kept of a record, its number and place included, so that
nothing can be changed, taken out, put in or moved without breaking the chain behind it.

The head is kept in memory and moves when a commit is known to have succeeded.  When nobody knows,
a new chain begins: the old one ends with the last link that is there, whichever that is.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from shared.store.contract import AuditRecord
from shared.store.mapping import audit_row

LIFE: Final = timedelta(days=1)
"""A chain that had no record for so long is not gone on with, so that retention may forget it."""

MARK: Final = 8
"""Digits of a hash that are kept of a record within a page."""

_FIELDS: Final = (
    *("number", "chain", "position", "at", "request_id", "identity", "action", "outcome"),
    *("tenant", "kind", "object_tenant", "scope", "name", "source_address", "diff", "reason"),
    *("revision", "trace_id", "authority", "credential", "duration"),
)


@dataclass(frozen=True, slots=True)
class Tip:
    """Where a chain ends; `at` is when its last record was committed, None if it has none."""

    chain: str
    position: int
    digest: bytes
    at: datetime | None = None


def new_tip(chain: str) -> Tip:
    return Tip(chain, 0, genesis(chain))


def genesis(chain: str) -> bytes:
    """Return what stands for the hash before a chain's first link."""
    return hashlib.sha256(b"hanse audit chain " + chain.encode()).digest()


def line_of(row: Mapping[str, Any]) -> bytes:
    """Return what is hashed of a row of `audit`."""
    return orjson.dumps([row[name] for name in _FIELDS])


def row_of(line: bytes) -> dict[str, Any]:
    """Return the row that a line was made of; ValueError."""
    values = orjson.loads(line)
    return dict(zip(_FIELDS, values, strict=True))


def link(previous: bytes, line: bytes) -> bytes:
    return hashlib.sha256(previous + line).digest()


class Chain:
    """The chain of one process, as far as it is committed."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self.tip = new_tip(new_id())

    def begin_anew(self) -> None:
        """Leave the chain, since nobody knows where it ends."""
        self.tip = new_tip(self._new_id())

    def tip_at(self, now: datetime) -> Tip:
        """Return where the next record goes."""
        if self.tip.at is not None and not timedelta(0) <= now - self.tip.at < LIFE:
            self.begin_anew()
        return self.tip


def chained_row(
    tip: Tip, number: int, record: AuditRecord, now: datetime
) -> tuple[dict[str, Any], Tip]:
    """Return a record's row as the next link of a chain, and where the chain ends then."""
    position = tip.position + 1
    row = {**audit_row(number, record), "chain": tip.chain, "position": position}
    digest = link(tip.digest, line_of(row))
    row["hash"] = digest.hex()
    return row, Tip(tip.chain, position, digest, now)
