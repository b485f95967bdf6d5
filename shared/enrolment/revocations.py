"""The revoked serials as handshakes and open connections ask for them: in memory, always current.

A revocation is an object, so that it has a revision, a place in the feed and a reader; whoever is
asked must answer at once, so the serials are kept here as well and follow the store.  Several
processes on one database each follow it: what one of them revokes is out at the others within the
time of a wake-up.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn

from shared.backoff import Backoff
from shared.clock import Clock
from shared.errors import HanseError
from shared.store.contract import Bookmark, Operation, Selection, Snapshot, Store, Transaction

log = logging.getLogger(__name__)

KIND: Final = "Revocation"
LEGACY: Final = "revoked"
"""The space of records in which earlier releases kept what they revoked."""

REVOCATIONS: Final = Selection(kinds=frozenset({KIND}))


@dataclass(frozen=True, slots=True)
class Revoked:
    """Whose certificate it was, and until when it would have been good."""

    identity: str
    not_after: datetime


async def revoked_in(view: Snapshot | Transaction) -> dict[str, Revoked]:
    """Return everything that is revoked, by serial."""
    found = {serial: _revoked_of(record) for serial, record in (await view.records(LEGACY)).items()}
    return found | {each.key.name: _revoked_of(each.spec) for each in await view.list(REVOCATIONS)}


class Revocations:
    """Says of a serial whether it is revoked."""

    def __init__(self) -> None:
        self._revoked: dict[str, Revoked] = {}
        self._told: frozenset[str] = frozenset()
        self.on_change: list[Callable[[], None]] = []
        """Each is called when a serial has come or gone; open connections are looked at then."""

    def __call__(self, serial: str) -> bool:
        return serial in self._revoked or serial in self._told

    def tell(self, serials: Iterable[str]) -> None:
        """Let serials count no longer that others say they have revoked; those of before go."""
        told = frozenset(serials)
        if told != self._told:
            self._told = told
            for each in self.on_change:
                each()

    @property
    def all(self) -> Mapping[str, Revoked]:
        return self._revoked

    def add(self, revoked: Mapping[str, Revoked]) -> None:
        """Let serials count no longer from this moment, before they are written anywhere."""
        self._become({**self._revoked, **revoked})

    async def read(self, snapshot: Snapshot) -> None:
        """Take what a snapshot says."""
        self._become(await revoked_in(snapshot))

    async def follow(self, store: Store, *, clock: Clock, backoff: Backoff) -> NoReturn:
        """Keep up with the store until cancelled; while it is out, what was known counts."""
        while True:
            try:
                await self._follow(store, backoff)
            except HanseError as exc:
                log.warning("can't follow the revocations, will retry", extra={"code": exc.code})
            await clock.sleep(backoff.next())

    async def _follow(self, store: Store, backoff: Backoff) -> None:
        async with store.snapshot() as snapshot:
            await self.read(snapshot)
            after = snapshot.position.revision
        async for seen in store.watch(after, selection=REVOCATIONS):
            backoff.reset()
            if isinstance(seen, Bookmark):
                continue
            now = dict(self._revoked)
            for change in seen.changes:
                if change.operation is Operation.DELETE or change.after is None:
                    now.pop(change.key.name, None)
                else:
                    now[change.key.name] = _revoked_of(change.after.spec)
            self._become(now)

    def _become(self, revoked: dict[str, Revoked]) -> None:
        if revoked == self._revoked:
            return
        self._revoked = revoked
        for tell in self.on_change:
            tell()


def revocations_of(objects: Iterable[tuple[str, str, Mapping[str, Any]]]) -> dict[str, Revoked]:
    """Return the revocations among objects given as (kind, name, spec)."""
    return {name: _revoked_of(spec) for kind, name, spec in objects if kind == KIND}


def _revoked_of(spec: Mapping[str, Any]) -> Revoked:
    return Revoked(spec["identity"], datetime.fromisoformat(spec["notAfter"]))
