"""One change to very many watchers: followed once, worded once for each view, written ready.

A watcher begins on its own, by the store's watch, until it has caught up.  Then it takes a seat:
one task follows the store for all, and writes each line, framed for the wire, to everybody of the
same view one after another; no watcher's task wakes.  A watcher that doesn't take it all, or whose
caller may no longer be here, gets up and goes on by itself from its own position, where it is
waited for, cut off, or told; nothing is kept for it.

A *view* is all that decides what a watcher is told: its caller's grants and what it asked for.
Watchers with equal views get the same bytes, those with others never do.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Protocol

import orjson

from shared.access.authorize import Allows, allows_of
from shared.access.permissions import reading
from shared.auth.identity import Grant
from shared.clock import Clock
from shared.encoding import encode_to_keep
from shared.errors import HanseError
from shared.http.ndjson import line
from shared.http.response import envelope_of
from shared.ids import Revision
from shared.objects.rendering import RenderedChanges
from shared.objects.selection import Labels
from shared.store.contract import (
    EVERYTHING,
    Bookmark,
    Change,
    Commit,
    Operation,
    Position,
    Selection,
    Stored,
)
from shared.tasks.streams import LONG, Place, Seat, chunk_of, closing

log = logging.getLogger(__name__)

RETRY: Final = 1.0
"""Seconds until the store is followed again after it could not be."""

CATCH_UP: Final = 1.0
"""Seconds; while commits come of which a view has none, it is told how far it is this often."""

# As RenderedChanges': lines are kept for those who are a little behind.
_BYTES: Final = 16 * 1024 * 1024


class Source(Protocol):
    """What is read of a Store."""

    async def position(self) -> Position: ...

    def watch(
        self, after: Revision, *, selection: Selection = EVERYTHING
    ) -> AsyncIterator[Commit | Bookmark]: ...


@dataclass(frozen=True, slots=True)
class View:
    """What decides what a watcher is told; `labels` is what `selector`, its text, means."""

    grants: Sequence[Grant]
    kinds: frozenset[str]
    tenant: str | None = None
    selector: str | None = None
    labels: Labels | None = field(default=None, compare=False)


class Broadcast:
    def __init__(self, store: Source, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._rendered = RenderedChanges()
        self._lines: OrderedDict[tuple[View, Revision], bytes | None] = OrderedDict()
        self._size = 0
        self._watchers = 0
        self._wanted = asyncio.Event()
        self._revision: Revision | None = None
        self._seated: dict[View, dict[_Place, None]] = {}
        self._told: dict[View, float] = {}

    @property
    def seated(self) -> int:
        """How many watchers are written to without their tasks."""
        return sum(map(len, self._seated.values()))

    @property
    def is_following(self) -> bool:
        return self._revision is not None

    async def run(self) -> NoReturn:
        """Follow the store for all while there is anybody, until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                await self._follow()
            except HanseError as exc:
                # Each watcher meets the same error on its own, and tells its reader.
                log.info("broadcast can't follow the store, will retry", extra={"code": exc.code})
                self._stop()
                await self._clock.sleep(RETRY)
            finally:
                self._stop()

    async def watch(self, view: View, after: Revision) -> AsyncIterator[bytes | Place]:
        """Yield a line for each commit behind `after`, bookmarks, and places to sit down.

        Raises what Store.watch raises.
        """
        self._watchers += 1
        self._wanted.set()
        tenants = None if view.tenant is None else frozenset({view.tenant})
        selection = Selection(kinds=view.kinds, tenants=tenants)
        try:
            while True:
                async with closing(self._store.watch(after, selection=selection)) as events:
                    async for event in events:
                        yield self._line(view, event) or _bookmark(event.revision)
                        after = event.revision
                        if self.has_reached(after):
                            break
                place = _Place(self, view, after)
                yield place
                after = place.revision
        finally:
            self._watchers -= 1

    def has_reached(self, revision: Revision) -> bool:
        """Return whether whoever has this revision has all that was broadcast so far."""
        return self._revision is not None and revision >= self._revision

    def seat(self, place: "_Place") -> None:
        self._seated.setdefault(place.view, {})[place] = None

    def leave(self, place: "_Place") -> None:
        places = self._seated.get(place.view)
        if places is not None:
            places.pop(place, None)
            if not places:
                del self._seated[place.view]
                self._told.pop(place.view, None)

    async def _follow(self) -> None:
        position = await self._store.position()
        self._revision = position.revision
        async with closing(self._store.watch(position.revision)) as events:
            async for event in events:
                self._revision = event.revision
                for view in tuple(self._seated):
                    self._tell(view, event)
                if not self._watchers:
                    self._wanted.clear()
                    return

    def _stop(self) -> None:
        self._revision = None
        for places in tuple(self._seated.values()):
            for place in tuple(places):
                place.release()

    def _tell(self, view: View, event: Commit | Bookmark) -> None:
        text = self._line(view, event)
        now = self._clock.monotonic()
        if text is None:
            if self._told.get(view, float("-inf")) + CATCH_UP > now:
                return
            text = _bookmark(event.revision)
        self._told[view] = now
        places = self._seated[view]
        if len(text) > LONG:
            # In pieces, at each one's own pace, from the one copy that is kept.
            for place in tuple(places):
                place.release()
            return
        chunk = chunk_of(text)
        # A watcher that came ahead of the broadcast has this commit already.
        since = event.revision + isinstance(event, Bookmark)
        slow = [
            place
            for place in places
            if place.revision < since and not place.send(chunk, event.revision)
        ]
        for place in slow:
            place.release()

    def _line(self, view: View, event: Commit | Bookmark) -> bytes | None:
        """Return the line of an event; None if it is a commit of which the view has nothing."""
        if isinstance(event, Bookmark):
            return _bookmark(event.revision)
        name = (view, event.revision)
        if name in self._lines:
            return self._lines[name]
        text = self._commit(view, event)
        self._lines[name] = text
        self._size += _cost(text)
        while self._size > _BYTES and len(self._lines) > 1:
            _, dropped = self._lines.popitem(last=False)
            self._size -= _cost(dropped)
        return text

    def _commit(self, view: View, commit: Commit) -> bytes | None:
        changed = {change.key.kind for change in commit.changes} & view.kinds
        allows = {kind: allows_of(view, reading(kind)) for kind in changed}
        changes = [
            document
            for change in commit.changes
            if change.key.kind in changed
            and view.tenant in (None, change.key.tenant)
            and (document := self._seen(change, allows[change.key.kind], view.labels)) is not None
        ]
        if not changes:
            return None
        document = {"type": "commit", "revision": commit.revision, "changes": changes}
        return encode_to_keep(document, option=orjson.OPT_APPEND_NEWLINE)

    def _seen(
        self, change: Change, allows: Allows, labels: Labels | None
    ) -> orjson.Fragment | dict[str, Any] | None:
        """Return a change as a watcher of some labels sees it: what leaves its view is deleted.

        It leaves as well if the watcher may see no objects with its new labels.
        """
        key = change.key

        def sees(version: Stored | None) -> bool:
            return (
                version is not None
                and (labels is None or labels(version.labels))
                and allows(key.tenant, key.scope, version.labels)
            )

        before, after = sees(change.before), sees(change.after)
        if after or (before and change.after is None):
            return self._rendered.render(change)
        if not before or change.before is None:
            return None
        return {
            "operation": Operation.DELETE.value,
            "reason": "deselected",
            "revision": change.revision,
            "object": envelope_of(change.before),
        }


class _Place:
    """Where one watcher sits, and how far it was written to."""

    def __init__(self, broadcast: Broadcast, view: View, revision: Revision) -> None:
        self.view = view
        self.revision = revision
        self._broadcast = broadcast
        self._seat: Seat | None = None
        self._released = asyncio.Event()

    async def take(self, seat: Seat) -> None:
        # Between here and the last line of its own it may have fallen behind again.
        if not self._broadcast.has_reached(self.revision):
            return
        self._seat = seat
        self._broadcast.seat(self)
        try:
            await self._released.wait()
        finally:
            self._broadcast.leave(self)

    def send(self, chunk: bytes, revision: Revision) -> bool:
        assert self._seat is not None
        if not self._seat.offer(chunk):
            return False
        self.revision = revision
        return True

    def release(self) -> None:
        """Have the watcher go on by itself."""
        self._broadcast.leave(self)
        self._released.set()


def _bookmark(revision: Revision) -> bytes:
    return line({"type": "bookmark", "revision": revision})


def _cost(text: bytes | None) -> int:
    # What an entry costs beside its text; so that many views of small commits count, too.
    return 256 + (len(text) if text else 0)
