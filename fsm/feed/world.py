"""Everything that the FSM has now, found by key, by kind and by name.

A write hangs on few of a federation's thousands of documents; they are found here without looking
at the others.
"""

from collections.abc import Iterable, Mapping

from fsm.feed.item import Item
from shared.ids import Key


class IndexedWorld(dict[Key, Item]):
    """Change it by `world[key] = item` and `remove` alone, which keep the indexes."""

    def __init__(self, items: Mapping[Key, Item] | None = None) -> None:
        super().__init__()
        self._by_kind: dict[str, dict[Key, Item]] = {}
        self._by_name: dict[tuple[str, str], dict[Key, Item]] = {}
        for key, item in (items or {}).items():
            self[key] = item

    def __setitem__(self, key: Key, item: Item) -> None:
        super().__setitem__(key, item)
        self._by_kind.setdefault(key.kind, {})[key] = item
        self._by_name.setdefault((key.kind, key.name), {})[key] = item

    def remove(self, key: Key) -> None:
        """Take an object out; nothing happens if there is none."""
        if self.pop(key, None) is None:
            return
        del self._by_kind[key.kind][key]
        alike = self._by_name[key.kind, key.name]
        del alike[key]
        if not alike:
            del self._by_name[key.kind, key.name]

    def of_kind(self, kind: str) -> Mapping[Key, Item]:
        return self._by_kind.get(kind, {})

    def concerned(
        self, kinds: Iterable[str], names: Iterable[tuple[str, str]]
    ) -> Mapping[Key, Item]:
        """Return all objects of some kinds, and all with some (kind, name) in whatever scope."""
        found: dict[Key, Item] = {}
        for kind in kinds:
            found |= self._by_kind.get(kind, {})
        for name in names:
            found |= self._by_name.get(name, {})
        return found
