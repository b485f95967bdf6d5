"""What was seen during a run, by whoever could see it, and what was already wrong then.

It lies outside of all processes: a kill takes nothing from it.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.feed.wire import Bookmark, Changes, Position, Snapshot
from shared.ids import Key

StepKind = Literal["snapshot", "changes", "bookmark"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step that a site's copy of the feed took, or began to take."""

    kind: StepKind
    after: int | None
    position: Position
    puts: dict[Key, int]
    removed: frozenset[Key]
    epoch: int


@dataclass(slots=True)
class CopyHistory:
    """A site's steps: those it is known to have taken, and the one that may be in the air.

    A site that is put back has another past from then on: so there are parts.
    """

    parts: list[list[Step]] = field(default_factory=lambda: [[]])
    begun: Step | None = None

    def put_back(self) -> None:
        self.parts.append([])
        self.begun = None


@dataclass(frozen=True, slots=True)
class Enforced:
    """What a node's data plane was given, under which version."""

    at: float
    incarnation: str
    generation: int
    hash: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A write that was answered with success."""

    server: str
    incarnation: str
    epoch: int
    request: str
    revision: int
    puts: tuple[Key, ...]
    deleted: tuple[Key, ...]


class History:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.copies: dict[str, CopyHistory] = {}
        self.enforced: dict[tuple[str, str], list[Enforced]] = {}
        self.acknowledged: list[Acknowledged] = []
        self.decided: list[Any] = []
        """Decisions of conflicts that were answered; see disagreeing.Decided."""
        self.watches: dict[str, list[tuple[str, int, list[dict[str, Any]]]]] = {}
        """By store: the incarnation, the revision begun at, and what came, of each watch."""
        self.dropping: dict[str, set[Key]] = {}
        """By site: what people have asked to let go, whether or not it was done."""
        self.epochs: Counter[str] = Counter()
        """How many times a store was put back without a new incarnation."""
        self.lines: list[str] = []
        self._last: dict[tuple[str, ...], int] = {}
        self._hash = hashlib.sha256()

    @property
    def trace(self) -> str:
        """The hash of all that happened, in its order."""
        return self._hash.hexdigest()[:16]

    def note(self, at: float, what: str) -> None:
        line = f"{at:10.4f} {what}"
        self.lines.append(line)
        self._hash.update(line.encode())

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number

    def fault(self, what: str) -> None:
        self.wrong.append(what)

    def saw(
        self,
        observer: str,
        incarnation: str,
        revision: int,
        *,
        store: str,
        epoch: int | None = None,
    ) -> None:
        """Note a revision that somebody saw; it may not be less than what he saw before.

        `epoch` is when he saw it, if that was before a store was put back; left out, now.
        """
        who = observer, incarnation, str(self.epochs[store] if epoch is None else epoch)
        last = self._last.get(who, 0)
        if revision < last:
            self.fault(f"the revision fell: {observer} saw {revision} after {last}")
        self._last[who] = max(last, revision)

    def copy_of(self, site: str) -> CopyHistory:
        return self.copies.setdefault(site, CopyHistory())


def step_of(what: Snapshot | Changes | Bookmark | Position, *, epoch: int) -> Step:
    """Return the step that a snapshot, a line of changes, or a bare position stands for."""
    if isinstance(what, Position):
        return Step("bookmark", None, what, {}, frozenset(), epoch)
    if isinstance(what, Snapshot):
        puts = {each.key: each.revision for each in what.objects}
        buried = frozenset(each.key for each in what.tombstones)
        return Step("snapshot", None, what.position, puts, buried, epoch)
    if isinstance(what, Bookmark):
        return Step("bookmark", what.after, what.position, {}, frozenset(), epoch)
    puts, removed = {}, set()
    for each in what.changes:
        found = getattr(each, "object", None)
        if found is None:
            removed.add(each.key)
        else:
            puts[each.key] = found.revision
    return Step("changes", what.after, what.position, puts, frozenset(removed), epoch)
