"""Streams every change to the sites that it concerns, as one revision's frame.

The hub keeps the world of now in memory and follows the store.  For each commit it works out, per
watching site, what the commit means there: for a site that takes all it may have, from the changed
objects alone; for one with a narrowed subscription, by selecting anew.  An object is serialised
once, whatever the number of sites.  A site whose view changes is sent away at once, to list again.

Only the event loop's one thread touches the world, and between two awaits: joining the stream and
taking a commit can't interleave, so a watcher misses nothing and gets nothing twice.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NoReturn, Protocol

from fsm.feed.item import GOING_ON, ROLLOUT, SUBSCRIPTION, Item
from fsm.feed.rolling import NONE, Rollings, rollings_in, version_at
from fsm.feed.select import (
    Delta,
    Selected,
    View,
    decides_view,
    difference,
    select,
    select_paused,
    view_of,
)
from fsm.feed.step import NOTHING, Step, step_between, step_of
from fsm.feed.world import IndexedWorld
from fsm.feed.worlds import FOLLOWED_OBJECTS, Loaded, SnapshotSource, Worlds
from shared.backoff import Backoff
from shared.clock import Clock
from shared.errors import Gone, HanseError, Invalid, NotFound, RevisionCompacted, Unavailable
from shared.feed import wire
from shared.feed.serve import Outbox, serve_lines
from shared.feed.signed import Latest
from shared.ids import Key, Revision
from shared.store.contract import (
    EVERYTHING,
    Bookmark,
    Commit,
    Position,
    Selection,
)
from shared.tasks.streams import Place, only_lines

log = logging.getLogger(__name__)

OF_ONE_SITE: Final = frozenset({"Site", SUBSCRIPTION})
"""Kinds whose objects concern only the site of their name."""

VIEW_CHANGED: Final = "view_changed"
COMPACTED: Final = "revision_compacted"
STOPPING: Final = "stopping"

# Beyond it a follower lists again, in pages, instead of taking one line (it takes 16 MiB).
LONGEST_LINE: Final = 8 * 1024 * 1024

# How long a site that is ahead of this process, for another one served it, waits for it.
_CATCH_UP: Final = 5.0


class Source(SnapshotSource, Protocol):
    """What is read of a Store."""

    def watch(
        self, after: Revision, *, selection: Selection = EVERYTHING
    ) -> AsyncIterator[Commit | Bookmark]: ...


class Watcher:
    """One site's open stream: what it was sent last, and what waits for it."""

    def __init__(self, view: View, *, after: Revision, selected: Selected | None) -> None:
        self.view = view
        self.after = after
        self.selected = selected
        """What a narrowed site has; None for one that isn't narrowed."""
        self.outbox = Outbox()

    @property
    def site(self) -> str:
        return self.view.site


class Hub:
    def __init__(self, store: Source, *, clock: Clock, backoff: Backoff) -> None:
        self._store = store
        self._worlds = Worlds(store)
        self._clock = clock
        self._backoff = backoff
        self._world = IndexedWorld()
        self._rollings: Rollings = NONE
        self._position: Position | None = None
        self._watchers: set[Watcher] = set()
        self._moved = asyncio.Event()
        self._seen_at = clock.now()
        self.sign: Callable[[Latest], str | None] = lambda _: None
        """Signs what bookmarks say; left alone, they go unsigned."""
        self._changed: tuple[tuple[int, int], Step] = ((0, 0), NOTHING)

    @property
    def world(self) -> IndexedWorld:
        """The world of now; read it between two awaits, and don't change it."""
        return self._world

    @property
    def position(self) -> Position:
        """Where the hub stands; Unavailable before it has read the store."""
        if self._position is None:
            raise Unavailable("the FSM is starting and hasn't read its store yet")
        return self._position

    @property
    def watched_sites(self) -> frozenset[str]:
        return frozenset(watcher.site for watcher in self._watchers)

    def sent(self, site: str) -> int | None:
        """Return up to which revision a site that watches was told; None if it doesn't watch."""
        return max((each.after for each in self._watchers if each.site == site), default=None)

    async def started(self) -> None:
        """Wait until the hub has read the store."""
        while self._position is None:
            self._moved.clear()
            await self._moved.wait()

    async def check(self) -> None:
        """Raise Unavailable unless the hub is ready to serve."""
        _ = self.position

    async def run(self) -> NoReturn:
        """Follow the store until cancelled; while it is out, try again."""
        while True:
            try:
                await self._follow()
            except RevisionCompacted:
                # So far behind that the log is gone: begin anew, and so do those who watch.
                self._restart()
            except HanseError as exc:
                log.warning("feed can't follow the store, will retry", extra={"code": exc.code})
            await self._clock.sleep(self._backoff.next())

    def view(self, site: str) -> View:
        """Return a site's view of now; NotFound if there is no such Site."""
        _ = self.position
        view = view_of(self._world, site)
        if view is None:
            raise NotFound(f"the FSM has no Site {site}; create it", code="unknown_site")
        return view

    def revision_at(self, site: str, key: Key) -> int | None:
        """Return the revision of what a site is to have of an object now; None if nothing.

        0 of what a paused site keeps, whatever has become of it here.
        """
        view = view_of(self._world, site)
        if view is not None and view.paused is not None and key.kind not in GOING_ON:
            return 0
        item = version_at(site, self._world.get(key), self._rollings.get(key))
        return item.stored.revision if item else None

    async def loaded_at(self, revision: int) -> Loaded:
        """Return the world at a revision; RevisionCompacted, Invalid if it lies in the future."""
        if revision == self.position.revision:
            return Loaded(self.position, dict(self._world), self._rollings)
        return await self._worlds.at(Revision(revision), like=self._world)

    async def selected_at(self, revision: int, site: str) -> tuple[wire.Position, Selected]:
        """Return what a site had at a revision; RevisionCompacted, NotFound, Invalid."""
        loaded = await self.loaded_at(revision)
        view = view_of(loaded.items, site)
        if view is None:
            raise NotFound(f"site {site} was not there at revision {revision}", code="unknown_site")
        return feed_position(loaded.position, view), await self.selection(loaded, view)

    async def selection(self, loaded: Loaded, view: View) -> Selected:
        """Return what a site is to have of a world; `view` is the site's there."""
        now = select(loaded.items, view)
        if view.paused is None:
            return now
        return select_paused(now, await self.kept(view), view)

    async def kept(self, view: View) -> Selected | None:
        """Return what a paused site was to have when it was paused; None if nobody knows any more.

        That revision is kept from compaction (fsm.tasks.compact), but a store that was restored
        may not have it.
        """
        assert view.paused is not None, "only of a paused site"
        try:
            then = await self.loaded_at(view.paused)
        except (RevisionCompacted, Invalid):
            return None
        was = view_of(then.items, view.site)
        return None if was is None else select(then.items, was)

    @asynccontextmanager
    async def watching(self, site: str, at: wire.Position) -> AsyncIterator[AsyncIterator[bytes]]:
        """Resume a site's stream at a position, for the length of a block, and give its lines.

        Gone, with a code that means to list again, if it can't be; NotFound; Unavailable.
        """
        async with self.seating(site, at) as lines:
            yield only_lines(lines)

    @asynccontextmanager
    async def seating(
        self, site: str, at: wire.Position
    ) -> AsyncIterator[AsyncIterator[bytes | Place]]:
        """As watching(), with places at which a connection can sit down."""
        watcher = await self._join(site, at)
        try:
            yield self._lines(watcher)
        finally:
            self._watchers.discard(watcher)

    async def _join(self, site: str, at: wire.Position) -> Watcher:
        if at.incarnation == self.position.incarnation and at.revision > self.position.revision:
            await self.catch_up(at.revision)
        self._view_at(site, at)
        before = await self._loaded_before(site, at)
        # From here to the end nothing waits: the world can't move on.
        view = self._view_at(site, at)
        # What a paused site gets is no matter of its subscription.
        by_change = view.paused is not None or not view.is_narrowed
        selected = None if by_change else select(self._world, view)
        watcher = Watcher(view, after=Revision(at.revision), selected=selected)
        if before is not None:
            delta = self._delta_since(before, watcher)
            if not self._send(watcher, delta, self.position):
                raise Gone("too much has changed since; list again", code=COMPACTED)
        self._watchers.add(watcher)
        return watcher

    def _view_at(self, site: str, at: wire.Position) -> View:
        """Return a site's view of now, which must be that of its copy; Gone (`view_changed`)."""
        view = self.view(site)
        if at.view != view.digest:
            raise Gone("what decides the site's content has changed; list again", code=VIEW_CHANGED)
        return view

    async def _loaded_before(self, site: str, at: wire.Position) -> Loaded | None:
        """Return the world at a copy's position, None if it is that of now; Gone."""
        now = self.position
        if at.incarnation != now.incarnation:
            raise _diverged("the store was created anew or restored since")
        if at.revision == now.revision:
            if at.digest != now.digest:
                raise _diverged("its history is another one")
            return None
        loaded = await self._worlds.at(Revision(at.revision), like=self._world)
        if loaded.position.digest != at.digest:
            raise _diverged("its history is another one")
        view = view_of(loaded.items, site)
        if view is None or view.digest != at.view:
            raise Gone("the copy was made under another view; list again", code=VIEW_CHANGED)
        return loaded

    def _delta_since(self, before: Loaded, watcher: Watcher) -> Delta:
        view = watcher.view
        if watcher.selected is None:
            return self._changed_since(before).at(view)
        selected = select(before.items, view)
        return difference(selected, watcher.selected, world=self._world, view=view)

    def _changed_since(self, before: Loaded) -> Step:
        """Return what leads from an earlier world to that of now.

        Worked out once: after a restart of the FSM all sites come back from the same revision.
        """
        span = (before.position.revision, self.position.revision)
        if self._changed[0] != span:
            now = Loaded(self.position, self._world, self._rollings)
            self._changed = span, step_between(before, now)
        return self._changed[1]

    async def catch_up(self, revision: int) -> None:
        """Wait for a revision that another process may have committed, and served already.

        Gone (`history_diverged`) if there is no such revision; Unavailable.
        """
        try:
            await self._worlds.at(Revision(revision), like=self._world)
        except Invalid as exc:
            raise _diverged(f"the store has not reached revision {revision}") from exc
        if not await self.reach(revision):
            raise Unavailable("this FSM process is behind the store; try again")

    async def reach(self, revision: int) -> bool:
        """Wait a while for a revision that the store may have and the hub not yet.

        Return whether the hub has it now.
        """
        deadline = self._clock.monotonic() + _CATCH_UP
        while self.position.revision < revision:
            left = deadline - self._clock.monotonic()
            self._moved.clear()
            if left <= 0 or not await self._clock.wait(self._moved, left):
                return False
        return True

    def _lines(self, watcher: Watcher) -> AsyncIterator[bytes | Place]:
        def bookmark() -> bytes:
            position = self.position
            after, watcher.after = watcher.after, position.revision
            signed = self.sign(
                Latest(position.incarnation, position.revision, position.digest, self._seen_at)
            )
            return wire.encode_bookmark(after, feed_position(position, watcher.view), signed)

        return serve_lines(watcher.outbox, bookmark=bookmark, clock=self._clock)

    async def _follow(self) -> None:
        if self._position is None:
            loaded = await self._worlds.latest()
            self._world, self._position = IndexedWorld(loaded.items), loaded.position
            self._seen_at = self._clock.now()
            self._rollings = loaded.rollings
            self._moved.set()
        async for seen in self._store.watch(self._position.revision, selection=FOLLOWED_OBJECTS):
            self._backoff.reset()
            # While the store is away nothing is seen, and bookmarks go on saying when it was.
            self._seen_at = self._clock.now()
            if isinstance(seen, Commit):
                self._take(seen)
            self._position = Position(self._position.incarnation, seen.revision, seen.digest)
            self._moved.set()

    def _take(self, commit: Commit) -> None:
        """Bring the world up to a commit and tell each watcher what it means to it."""
        before = {change.key: self._world.get(change.key) for change in commit.changes}
        for change in commit.changes:
            if change.after is None:
                self._world.remove(change.key)
            else:
                self._world[change.key] = Item(change.after)
        kinds = {key.kind for key in before}
        was = self._rollings
        if ROLLOUT in kinds:
            self._rollings = rollings_in(self._world)
        step = step_of(before, self._world, was=was, now=self._rollings)
        position = Position(self.position.incarnation, commit.revision, commit.digest)
        named = {key.name for key in before if key.kind in OF_ONE_SITE}
        for watcher in tuple(self._watchers):
            # While a thousand sites come, each writes its Subscription: the others' own affair.
            if not kinds <= OF_ONE_SITE or watcher.site in named:
                self._tell(watcher, step, position)

    def _tell(self, watcher: Watcher, step: Step, position: Position) -> None:
        if any(decides_view(key, watcher.site) for key in step.keys):
            view = view_of(self._world, watcher.site)
            if view is None or view.digest != watcher.view.digest:
                self._close(watcher, VIEW_CHANGED)
                return
        if not self._send(watcher, self._delta(watcher, step), position):
            self._close(watcher, COMPACTED)
        elif watcher.outbox.is_closed:
            log.info("slow site cut off", extra={"site": watcher.site})
            self._watchers.discard(watcher)

    def _delta(self, watcher: Watcher, step: Step) -> Delta:
        if watcher.selected is not None:
            now = select(self._world, watcher.view)
            delta = difference(watcher.selected, now, world=self._world, view=watcher.view)
            watcher.selected = now
            return delta
        return step.at(watcher.view)

    def _send(self, watcher: Watcher, delta: Delta, position: Position) -> bool:
        """Put a frame into the outbox, if there is anything to say; False if it is too long."""
        if not delta:
            return True
        encoded = [item.put for item in delta.puts]
        encoded += [wire.encode_remove(key, reason) for key, reason in delta.removals]
        if sum(map(len, encoded)) > LONGEST_LINE:
            return False
        at = feed_position(position, watcher.view)
        line = wire.parts_of_changes(watcher.after, at, encoded)
        watcher.after = position.revision
        watcher.outbox.offer(*line)
        return True

    def _close(self, watcher: Watcher, reason: str) -> None:
        watcher.outbox.close(reason)
        self._watchers.discard(watcher)

    def _restart(self) -> None:
        for watcher in tuple(self._watchers):
            self._close(watcher, STOPPING)
        self._worlds.forget()
        self._position = None


def feed_position(position: Position, view: View) -> wire.Position:
    return wire.Position(position.incarnation, position.revision, position.digest, view.digest)


def _diverged(why: str) -> Gone:
    return Gone(f"the position can't be resumed: {why}; list again", code="history_diverged")
