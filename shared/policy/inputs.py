"""What the planner is given: documents, as immutable values, and one site's share of them.

Everything here is made by others (from files offline, from a store on a server) and only read by
the planner.  A change makes a new value that shares what it can with the old one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from shared.ids import FEDERATION, Key
from shared.model.base import Spec

LOCAL: Final = "local"


def origin_of(scope: str) -> str:
    """Return where an object of this scope comes from: federation, region/NAME or local."""
    return scope if is_inherited_scope(scope) else LOCAL


def is_inherited_scope(scope: str) -> bool:
    """Return whether objects of this scope live on the FSM."""
    return scope == FEDERATION or scope.startswith("region/")


@dataclass(frozen=True, slots=True)
class Document:
    """One object as the planner sees it.

    `key.scope` is always given: its default has been filled in.  `revision` is the store's
    that last wrote it, None offline.  `file` and `line` (from 1) say where it stands, offline.
    """

    key: Key
    spec: Spec = field(hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    revision: int | None = None
    file: str | None = None
    line: int | None = None

    @property
    def origin(self) -> str:
        return origin_of(self.key.scope)


class Documents:
    """An immutable collection of documents, indexed by key and by kind.

    Of two documents with one key the first counts; `given` has both, for the check that
    reports `duplicate`.
    """

    __slots__ = ("_by_key", "_by_kind", "given")

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self.given: Final[tuple[Document, ...]] = tuple(documents)
        by_key: dict[Key, Document] = {}
        by_kind: dict[str, list[Document]] = {}
        for document in self.given:
            if document.key not in by_key:
                by_key[document.key] = document
                by_kind.setdefault(document.key.kind, []).append(document)
        self._by_key = by_key
        self._by_kind = by_kind

    def __iter__(self) -> Iterator[Document]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: Key) -> bool:
        return key in self._by_key

    def get(self, key: Key) -> Document | None:
        return self._by_key.get(key)

    def of_kind(self, *kinds: str) -> Sequence[Document]:
        """Return the documents of these kinds, in the order given."""
        if len(kinds) == 1:
            return self._by_kind.get(kinds[0], [])
        return [document for kind in kinds for document in self._by_kind.get(kind, ())]

    def changed(self, put: Iterable[Document] = (), delete: Iterable[Key] = ()) -> "Documents":
        """Return a copy without `delete` and with `put` in place of what had their keys."""
        documents = dict(self._by_key)
        for key in delete:
            documents.pop(key, None)
        for document in put:
            documents[document.key] = document
        return Documents(documents.values())


@dataclass(frozen=True, slots=True)
class SiteInputs:
    """All that decides what one site makes of policy.

    `federation` holds the FSM's objects: all of them offline and on the FSM, what the feed has
    brought on an SDSP; either way with the Site itself, the Regions above it and the Tenants.
    `local` holds the site's own.  Objects of regions that the site isn't in are ignored.
    `now` (with a zone) judges the expiry of overrides.
    """

    site: str
    federation: Documents
    local: Documents
    now: datetime

    def __iter__(self) -> Iterator[Document]:
        yield from self.federation
        yield from self.local
