"""An index of labelled things, so that a selector costs a few bitmap operations.

Members are small integers (a caller's row numbers).  Single members can be added, changed and
removed; a selection is a bitmap of its own and doesn't change with the index.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from pyroaring import BitMap

Term = tuple[str, Literal["In", "NotIn", "Exists", "DoesNotExist"], Sequence[str]]
"""Key, operator and values of one term of a selector."""


class LabelIndex:
    """Which members have which labels."""

    def __init__(self, members: Iterable[Mapping[str, str]] = ()) -> None:
        """Index `members` under 0, 1, 2, …"""
        self._labels: Final[dict[int, Mapping[str, str]]] = {}
        self._by_value: Final[dict[tuple[str, str], BitMap]] = {}
        self._by_key: Final[dict[str, BitMap]] = {}
        self._all: Final = BitMap()
        for member, labels in enumerate(members):
            self.put(member, labels)

    def put(self, member: int, labels: Mapping[str, str]) -> None:
        """Add a member, or give it other labels."""
        self.discard(member)
        self._labels[member] = labels
        self._all.add(member)
        for key, value in labels.items():
            self._by_key.setdefault(key, BitMap()).add(member)
            self._by_value.setdefault((key, value), BitMap()).add(member)

    def discard(self, member: int) -> None:
        """Remove a member, if it is there."""
        labels = self._labels.pop(member, None)
        if labels is None:
            return
        self._all.discard(member)
        for key, value in labels.items():
            self._by_key[key].discard(member)
            found = self._by_value[key, value]
            found.discard(member)
            if not found:
                # Values may be as many as members ever were.
                del self._by_value[key, value]

    def select(self, terms: Iterable[Term], among: BitMap | None = None) -> BitMap:
        """Return the members (of `among`, if given) for which every term holds.

        NotIn and DoesNotExist hold for a member without the key.
        """
        found = BitMap(self._all)
        if among is not None:
            found &= among
        for key, operator, values in terms:
            if operator == "In":
                found &= self._any_of(key, values)
            elif operator == "NotIn":
                found -= self._any_of(key, values)
            elif operator == "Exists":
                found &= self._by_key.get(key, BitMap())
            else:
                found -= self._by_key.get(key, BitMap())
        return found

    def _any_of(self, key: str, values: Sequence[str]) -> BitMap:
        if len(values) == 1:
            return self._by_value.get((key, values[0]), BitMap())
        return BitMap.union(
            BitMap(), *(self._by_value.get((key, value), BitMap()) for value in values)
        )
