"""How old what the site runs is: the FSM's last signed word that there was nothing newer.

Each bookmark of the feed carries it (shared.feed.signed).  The age is counted by the site's own
clock, from when the word was heard; what the FSM's clock said stands beside it, so that one that
is wrong is seen.  The word is kept in the store now and then, with the site's own revision of that
moment: what was changed here since is what it can't have heard of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared.auth.tokens import LEEWAY, VerificationKey
from shared.clock import Clock
from shared.errors import Malformed
from shared.feed.signed import read_signed
from shared.feed.wire import Bookmark
from shared.login.publish_keys import KIND
from shared.policy.inputs import is_inherited_scope
from shared.store.contract import Selection, Store
from shared.tasks.loop import Outcome

_SPACE: Final = "feed"
_NAME: Final = "confirmed"
_KEYS: Final = Selection(kinds=frozenset({KIND}))

PERIOD: Final = 30.0
"""Seconds between two writings; a kill makes the site look older by no more."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The FSM's last word: its revision, by its clock and by ours, and our own revision then."""

    incarnation: str
    revision: int
    at: datetime
    heard_at: datetime
    local: int

    def age(self, now: datetime) -> timedelta:
        """Return how long ago it was; never less than nothing, should the clock be set back."""
        return max(now - self.heard_at, timedelta(0))

    @property
    def clocks_differ(self) -> timedelta | None:
        """By how much the FSM's clock is ahead of ours; None if that is within what is allowed."""
        ahead = self.at - self.heard_at
        return ahead if abs(ahead) > LEEWAY else None

    def to_record(self) -> dict[str, Any]:
        return {
            "incarnation": self.incarnation,
            "revision": self.revision,
            "at": self.at.isoformat(),
            "heardAt": self.heard_at.isoformat(),
            "local": self.local,
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Confirmed":
        return cls(
            incarnation=record["incarnation"],
            revision=record["revision"],
            at=datetime.fromisoformat(record["at"]),
            heard_at=datetime.fromisoformat(record["heardAt"]),
            local=record["local"],
        )


class Confirmations:
    """Believes the bookmarks that the FSM has signed.  A reconciler that keeps the last one."""

    name = "keep the FSM's last word"

    def __init__(self, store: Store, *, server: str, clock: Clock) -> None:
        """`server` is the identity of the FSM; use after load()."""
        self.newest: Confirmed | None = None
        self._store = store
        self._server = server
        self._clock = clock
        self._kept: Confirmed | None = None
        self._keys: dict[str, VerificationKey] = {}
        self._unknown: str | None = None

    async def load(self) -> None:
        """Take up what an earlier process heard."""
        async with self._store.snapshot() as snapshot:
            record = await snapshot.record(_SPACE, _NAME)
        self.newest = self._kept = Confirmed.of(record) if record else None

    def told(self, now: datetime) -> dict[str, Any] | None:
        """Return what nodes are told: the FSM's revision, its time, and the age in seconds."""
        if self.newest is None:
            return None
        age = round(self.newest.age(now).total_seconds(), 3)
        return {"revision": self.newest.revision, "at": self.newest.at.isoformat(), "age": age}

    async def take(self, bookmark: Bookmark) -> None:
        """Note the FSM's word; Malformed (`bad_signature`) if it is forged, or another's.

        One that is signed with a key that hasn't come yet is passed over, and so is none at all:
        an FSM of an earlier release doesn't sign.
        """
        if bookmark.signed is None:
            return
        said = read_signed(bookmark.signed, self._server, self._keys)
        if said is None and bookmark.signed != self._unknown:
            await self._read_keys()
            said = read_signed(bookmark.signed, self._server, self._keys)
            self._unknown = bookmark.signed if said is None else None
        if said is None:
            return
        at = bookmark.position
        if (said.incarnation, said.revision, said.digest) != (
            at.incarnation,
            at.revision,
            at.digest,
        ):
            raise Malformed("a bookmark is not what its signature is for", code="bad_signature")
        before = self.newest
        if before and before.incarnation == said.incarnation and said.at <= before.at:
            return  # an old word makes nothing younger
        local = (await self._store.position()).revision
        self.newest = Confirmed(said.incarnation, said.revision, said.at, self._clock.now(), local)

    async def reconcile(self) -> Outcome:
        newest = self.newest
        if newest is None or newest == self._kept:
            return Outcome()
        record = newest.to_record()
        await self._store.transact(
            lambda transaction: transaction.put_record(_SPACE, _NAME, record)
        )
        self._kept = newest
        return Outcome(changed=1)

    async def _read_keys(self) -> None:
        async with self._store.snapshot() as snapshot:
            found = await snapshot.list(_KEYS)
        self._keys = {
            each.key.name: VerificationKey(each.spec["publicKey"])
            for each in found
            if is_inherited_scope(each.key.scope) and each.spec["server"] == self._server
        }
