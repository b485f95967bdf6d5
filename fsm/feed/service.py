"""What a site asks of the feed beside its stream: what to subscribe to, and pages of a snapshot."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from fsm.feed.delivered import delivered_to
from fsm.feed.hub import Hub, feed_position
from fsm.feed.item import GOING_ON, OPTIONAL, Audience, Item
from fsm.feed.select import View, is_meant_for, removal_of, subscription_key, view_of
from fsm.feed.worlds import FOLLOWED_OBJECTS
from shared.errors import FieldError, Gone, Invalid, Malformed, NotFound, RevisionCompacted
from shared.feed import wire
from shared.ids import Key, Revision
from shared.model.subscription import Subscription
from shared.store.contract import AuditRecord, Draft, Position, Snapshot, Store, Transaction
from shared.tasks.streams import Place

# A page is one answer; a peer takes 64 MiB, and a line of the stream 16.
PAGE_OBJECTS: Final = 1000
PAGE_BYTES: Final = 4 * 1024 * 1024

# How many sites may be in the middle of a snapshot before one is put together again.
_LISTINGS: Final = 64


@dataclass(frozen=True, slots=True)
class Since:
    """Where a site that lists again had been; what it is to let go is counted from there."""

    incarnation: str
    revision: int


@dataclass(frozen=True, slots=True)
class _Listing:
    """A site's whole snapshot at one revision, from which its pages are cut."""

    position: wire.Position
    items: Sequence[Item]
    tombstones: Sequence[wire.Tombstone]


class Feed:
    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub
        self._listings: OrderedDict[tuple[str, int, Since | None], _Listing] = OrderedDict()

    def watching(
        self, site: str, at: wire.Position
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes | Place]]:
        """Resume a site's stream; see Hub.seating."""
        return self._hub.seating(site, at)

    async def page(
        self, site: str, *, revision: int | None, page: str | None, since: Since | None
    ) -> bytes:
        """Return a page as one; see parts()."""
        return b"".join(await self.parts(site, revision=revision, page=page, since=since))

    async def parts(
        self, site: str, *, revision: int | None, page: str | None, since: Since | None
    ) -> Iterator[bytes]:
        """Return a page of a site's snapshot; the first, of now, without `revision` and `page`.

        It comes in parts, most of which all sites share: a thousand may ask at once.
        RevisionCompacted if the snapshot's revision is no longer to be had: begin anew.
        Malformed, NotFound, Unavailable.
        """
        start = _offset(page)
        if (revision is None) != (page is None):
            raise Malformed("give page and revision of a snapshot together, or neither")
        if revision is None:
            revision = self._hub.position.revision
        try:
            listing = await self._listing(site, revision, since)
        except Invalid as exc:
            raise Gone(
                f"the store has not reached revision {revision}; list again",
                code="history_diverged",
            ) from exc
        return _cut(listing, start)

    async def subscribe(self, site: str, wishes: Subscription, *, audit: AuditRecord) -> None:
        """Keep what a site wants beyond what it must have; Invalid, NotFound (no such Site)."""
        self._hub.view(site)
        unknown = sorted(set(wishes.kinds) - OPTIONAL)
        if unknown:
            raise Invalid(
                f"{unknown[0]} can't be subscribed to; {', '.join(sorted(OPTIONAL))} can",
                fields=[
                    FieldError("kinds", "invalid_kind", f"{each} is no choice") for each in unknown
                ],
            )
        draft = Draft(key=subscription_key(site), spec=wishes.to_json())
        stored = self._hub.world.get(draft.key)
        if stored is not None and stored.spec == draft.spec:
            return

        async def work(transaction: Transaction) -> None:
            before = await transaction.get(draft.key)
            if before is None or before.spec != draft.spec:
                await transaction.put(draft)
                await transaction.audit(audit)

        await self._store.transact(work)

    async def _listing(self, site: str, revision: int, since: Since | None) -> _Listing:
        name = (site, revision, since)
        if name not in self._listings:
            self._listings[name] = await self._list(site, revision, since)
        self._listings.move_to_end(name)
        while len(self._listings) > _LISTINGS:
            self._listings.popitem(last=False)
        return self._listings[name]

    async def _list(self, site: str, revision: int, since: Since | None) -> _Listing:
        loaded = await self._hub.loaded_at(revision)
        world, view = loaded.items, view_of(loaded.items, site)
        if view is None:
            raise NotFound(f"the FSM has no Site {site}; create it", code="unknown_site")
        selected = await self._hub.selection(loaded, view)
        had = await self._had(view, since, loaded.position)
        tombstones = [
            wire.Tombstone(key, removal_of(key, world, view), revision)
            for key in sorted(had)
            if not selected.covers(key) and (selected.is_whole or key.kind in GOING_ON)
        ]
        items = [selected.items[key] for key in sorted(selected.items)]
        return _Listing(feed_position(loaded.position, view), items, tombstones)

    async def _had(self, view: View, since: Since | None, now: Position) -> frozenset[Key]:
        """Return the keys that a site had at its old position, as far as that is known."""
        if since is None or since.incarnation != now.incarnation:
            return frozenset()
        try:
            _, selected = await self._hub.selected_at(since.revision, view.site)
        except RevisionCompacted:
            async with self._store.snapshot() as snapshot:
                return await _remembered(snapshot, view, since)
        except (NotFound, Invalid):
            # The site says that it was where the store, or the site itself, never was.
            return frozenset()
        return frozenset(selected.items) | selected.withheld


async def _remembered(snapshot: Snapshot, view: View, since: Since) -> frozenset[Key]:
    """Return what a site is known to have had before the log was dropped.

    What was put on record then is of the site's last acknowledged position; it may have gone on
    a little since.  Deletions are known whenever they were.  What the site got in between and
    lost by being deselected stays unknown: that is then held, not removed.
    """
    deleted = await snapshot.deleted(Revision(since.revision), FOLLOWED_OBJECTS)
    keys = frozenset(
        each.key
        for each in deleted
        if each.before and is_meant_for(view, Audience.of(each.key, each.before.spec))
    )
    delivered = await delivered_to(snapshot, view.site)
    if delivered is None or delivered.incarnation != since.incarnation:
        return keys
    return keys | delivered.keys if delivered.revision <= since.revision else keys


def _cut(listing: _Listing, start: int) -> Iterator[bytes]:
    """Return the page that begins with the object, or tombstone, of this number."""
    objects: list[bytes] = []
    size = 0
    count = len(listing.items)
    for item in listing.items[start : start + PAGE_OBJECTS]:
        if objects and size + len(item.document) > PAGE_BYTES:
            break
        objects.append(item.document)
        size += len(item.document)
    end = start + len(objects)
    tombstones: Sequence[wire.Tombstone] = ()
    if end >= count:
        first = max(0, start - count)
        tombstones = listing.tombstones[first : first + PAGE_OBJECTS - len(objects)]
        end += len(tombstones)
    whole = end >= count + len(listing.tombstones)
    return wire.parts_of_page(listing.position, objects, tombstones, None if whole else str(end))


def _offset(page: str | None) -> int:
    if page is None:
        return 0
    if not (page.isascii() and page.isdecimal() and len(page) < 10):
        raise Malformed(f"{page[:40]!r} is no page of a snapshot", code="invalid_page")
    return int(page)
