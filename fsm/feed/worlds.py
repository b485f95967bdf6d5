"""The world as it was at a revision, read once for all who ask.

When an FSM has been restarted every site comes back at about the same position, and a snapshot's
pages are asked for one by one: so the last few worlds are kept.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from fsm.feed.item import FOLLOWED, Item
from fsm.feed.rolling import Rollings, rollings_in
from shared.ids import Key, Revision
from shared.store.contract import Position, Selection, Snapshot

FOLLOWED_OBJECTS: Final = Selection(kinds=FOLLOWED)

# Each holds all policy: 10,000 objects take about 30 MB.
_KEPT: Final = 4


class SnapshotSource(Protocol):
    """What is read of a Store."""

    def snapshot(self, at: Revision | None = None) -> AbstractAsyncContextManager[Snapshot]: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that sites may be concerned with, at one position of the store."""

    position: Position
    items: Mapping[Key, Item]
    rollings: Rollings


class Worlds:
    def __init__(self, store: SnapshotSource) -> None:
        self._store = store
        self._kept: OrderedDict[Revision, Loaded] = OrderedDict()
        self._reading = asyncio.Lock()

    async def latest(self) -> Loaded:
        return await self._read(None, {})

    async def at(self, revision: Revision, *, like: Mapping[Key, Item]) -> Loaded:
        """Return the world at a revision; RevisionCompacted, or Invalid if it lies in the future.

        `like` is a world close to it: what is the same there is not made again.
        """
        # One at a time, so that a thousand sites that ask for the same one wait for one reading.
        async with self._reading:
            if revision in self._kept:
                self._kept.move_to_end(revision)
                return self._kept[revision]
            loaded = await self._read(revision, like)
            self._kept[revision] = loaded
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return loaded

    def forget(self) -> None:
        """Drop all that is kept."""
        self._kept.clear()

    async def _read(self, revision: Revision | None, like: Mapping[Key, Item]) -> Loaded:
        async with self._store.snapshot(revision) as snapshot:
            stored = await snapshot.list(FOLLOWED_OBJECTS)
            position = snapshot.position
        items: dict[Key, Item] = {}
        for each in stored:
            known = like.get(each.key)
            same = known is not None and known.version == (each.uid, each.revision)
            items[each.key] = known if known is not None and same else Item(each)
        return Loaded(position, items, rollings_in(items))
