"""The latest versions of objects that were read or written lately, in memory.

They are those of one *mark*, a state of the store that this process knows: its own commits move it
on, and so does a look at the counter, which tells of other processes' as well.  Whoever asks for
the latest waits for a look that began after he asked, so that he sees every write that was
acknowledged before, by whatever process; those who ask while one look is under way share the next.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from shared.errors import HanseError
from shared.ids import Incarnation, Key, Revision
from shared.store.contract import JSON, Position, Stored
from shared.store.mapping import text_size

BYTES: Final = 64 << 20
"""Of JSON text kept; a guess: some 100,000 small objects."""
OVERHEAD: Final = 600
"""Bytes that an object counts besides its text."""
FORGOTTEN: Final = 1000
"""After so many changes by others it begins anew instead of looking at each."""


class Mark(NamedTuple):
    """A state of the store: its last revision and its last status sequence."""

    incarnation: Incarnation
    revision: Revision
    digest: str
    status: int

    @property
    def position(self) -> Position:
        return Position(self.incarnation, self.revision, self.digest)


class Unknown(Enum):
    """What isn't kept; whether there is such an object, the database knows."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN

Changed = tuple[Mark, Iterable[Key] | None]
"""A later mark, and what has changed since an earlier one; None: too much to tell."""


class Recent:
    def __init__(self, look: Callable[[Mark | None], Awaitable[Changed]]) -> None:
        """`look` reads the store's mark of now, and what has changed since the mark given."""
        self._look = look
        self._mark: Mark | None = None
        self._kept: OrderedDict[Key, tuple[Stored | None, int]] = OrderedDict()
        self._bytes = 0
        self._looking = False
        self._waiting: list[asyncio.Future[bool]] = []

    @property
    def mark(self) -> Mark | None:
        """The state whose objects are kept; None before the first look."""
        return self._mark

    def get(self, key: Key) -> Stored | Unknown | None:
        """Return the object as of the mark; None if there is none, UNKNOWN if it isn't kept."""
        found = self._kept.get(key)
        if found is None:
            return UNKNOWN
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: Key, stored: Stored | None, at: Mark) -> None:
        """Keep what was read of the store as it was at a mark, if that is ours."""
        if at == self._mark:
            self._put(key, stored)

    def advance(
        self,
        before: Mark,
        after: Mark,
        objects: Mapping[Key, Stored | None],
        statuses: Mapping[Key, tuple[int, JSON] | None],
    ) -> None:
        """Take in a commit of this process: what stood before it and what stands after it."""
        if self._mark is None:
            self._mark = before
        elif before != self._mark:
            # Others have written since our mark: the next look tells of theirs and of this.
            return
        for key in statuses:
            if key not in objects:
                self._drop(key)
        for key, stored in objects.items():
            self._put(key, stored)
        self._mark = after

    async def refresh(self) -> None:
        """Return once all that was committed before this call is known here.

        Raises what reading the store may raise.
        """
        if self._looking:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                leads = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled() and turn.result():
                    self._pass_on()
                raise
            if not leads:
                return
        await self._lead()

    async def _lead(self) -> None:
        """Look once, for all who wait by now; then have the next of those who came meanwhile."""
        self._looking = True
        followers, self._waiting = self._waiting, []
        failed: HanseError | None = HanseError("the store made a mistake; it has been logged")
        try:
            await self._look_once()
            failed = None
        except HanseError as exc:
            failed = exc
            raise
        except asyncio.CancelledError:
            # Only the leader has left: they look themselves.
            self._waiting = [*followers, *self._waiting]
            followers = []
            raise
        finally:
            for each in followers:
                if each.done():
                    continue
                if failed is None:
                    each.set_result(False)
                else:
                    each.set_exception(failed)
            self._pass_on()

    def _pass_on(self) -> None:
        """Have the next one that waits look, if there is one."""
        while self._waiting:
            following = self._waiting.pop(0)
            if not following.done():
                following.set_result(True)
                return
        self._looking = False

    async def _look_once(self) -> None:
        since = self._mark
        now, changed = await self._look(since)
        mark = self._mark
        if mark is not None and now.incarnation == mark.incarnation:
            if now.revision <= mark.revision and now.status <= mark.status:
                return  # Our own commits have been told meanwhile.
            if changed is not None:
                for key in changed:
                    self._drop(key)
                # Our own commits since `since` lie before `now` or are told again later.
                self._mark = now
                return
        self._kept.clear()
        self._bytes = 0
        self._mark = now

    def _put(self, key: Key, stored: Stored | None) -> None:
        self._drop(key)
        size = OVERHEAD + text_size(stored)
        self._kept[key] = (stored, size)
        self._bytes += size
        while self._bytes > BYTES:
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= gone

    def _drop(self, key: Key) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._bytes -= found[1]
