"""The six promises of a watch, as a site sees the feed: over its steps and what the FSM held.

As tests/contract/store_validators.py has them for a store's watch.  A step may stand for several
revisions, of which only the difference is sent; what a site is to have is worked out from the
FSM's ledger and the product's own selection.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from fsm.feed.item import FOLLOWED, Item
from fsm.feed.select import Selected, View, select, select_paused, view_of
from shared.ids import Key
from tests.simulation.history import Step
from tests.simulation.ledger import Ledger


class Lives:
    """All that the FSM ever held, by life and revision."""

    def __init__(self, ledgers: Sequence[Ledger]) -> None:
        self._ledgers = ledgers
        self._items: dict[tuple[int, str, int, Key], Item] = {}
        self._worlds: dict[tuple[int, int], dict[Key, Item]] = {}
        self._selected: dict[tuple[int, int, str], tuple[View, Selected] | None] = {}

    @property
    def newest(self) -> int:
        return len(self._ledgers) - 1

    def lives_of(self, step: Step) -> frozenset[int]:
        """Return the lives in which a step's position lies: several may share a past."""
        at = step.position
        return frozenset(
            number
            for number, ledger in enumerate(self._ledgers)
            if ledger.incarnation == at.incarnation and ledger.digests.get(at.revision) == at.digest
        )

    def world(self, life: int, revision: int) -> dict[Key, Item]:
        if (life, revision) not in self._worlds:
            ledger = self._ledgers[life]
            found = {}
            for key, version in ledger.objects_at(revision).items():
                if key.kind not in FOLLOWED:
                    continue
                # A store put back from a backup writes the same revisions again, otherwise.
                name = life, version.uid, version.revision, key
                if name not in self._items:
                    self._items[name] = Item(version.stored())
                found[key] = self._items[name]
            self._worlds[life, revision] = found
        return self._worlds[life, revision]

    def selected(self, life: int, revision: int, site: str) -> tuple[View, Selected] | None:
        name = life, revision, site
        if name not in self._selected:
            world = self.world(life, revision)
            view = view_of(world, site)
            self._selected[name] = None if view is None else (view, self._of(life, world, view))
        return self._selected[name]

    def _of(self, life: int, world: dict[Key, Item], view: View) -> Selected:
        now = select(world, view)
        if view.paused is None:
            return now
        then = self.selected(life, view.paused, view.site)
        return select_paused(now, None if then is None else then[1], view)

    def is_compacted(self, life: int, revision: int) -> bool:
        return self._ledgers[life].oldest > revision

    def content(self, life: int, revision: int, site: str) -> dict[Key, tuple[str, int]]:
        found = self.selected(life, revision, site)
        return {} if found is None else {k: i.version for k, i in found[1].items.items()}


def faults_of(site: str, steps: Sequence[Step], lives: Lives) -> list[str]:
    """Return what is wrong with a site's steps, in sentences."""
    known = []
    wrong = []
    for step in steps:
        found = lives.lives_of(step)
        if not found:
            at = step.position
            wrong.append(f"atomic: {site} took {at.revision} {at.digest[:8]}, which nobody held")
        else:
            known.append((step, found))
    validators = (ordered, unique, atomic, reliable, resumable, bookmarkable)
    for validator in validators:
        wrong += [f"{validator.__name__}: {site} {each}" for each in validator(site, known, lives)]
    return wrong


Known = Sequence[tuple[Step, frozenset[int]]]


def _pairs(steps: Known) -> Iterator[tuple[Step, Step, int | None]]:
    """Yield each two steps that follow one another, and a life that both are of, if there is."""
    for (before, some), (after, others) in pairwise(steps):
        yield before, after, max(some & others, default=None)


def ordered(_site: str, steps: Known, _lives: Lives) -> Iterator[str]:
    """Revisions never fall, but for a snapshot of another past."""
    for before, after, life in _pairs(steps):
        if life is None or before.epoch != after.epoch:
            continue  # the FSM was put back
        if after.position.revision < before.position.revision:
            yield f"went from {before.position.revision} to {after.position.revision}"


def unique(_site: str, steps: Known, _lives: Lives) -> Iterator[str]:
    """No line of changes is taken twice."""
    seen = set()
    for step, _ in steps:
        name = step.position
        if step.kind == "changes" and name in seen:
            yield f"took {step.position.revision} twice"
        seen.add(name)


def atomic(site: str, steps: Known, lives: Lives) -> Iterator[str]:
    """A step brings a site to all that it is to have at its position, and to nothing else."""
    for step, some in steps:
        at, life = step.position.revision, max(some)
        found = lives.selected(life, at, site)
        if found is None or found[0].digest != step.position.view:
            yield f"took {at} under a view that it didn't have"
            continue
        if step.kind == "bookmark" or (step.kind == "changes" and step.after is None):
            continue
        now = lives.content(life, at, site)
        if step.kind == "snapshot":
            if step.puts != {key: revision for key, (_, revision) in now.items()}:
                yield f"took a snapshot of {at} that is not what was there"
            continue
        assert step.after is not None
        before = lives.content(life, step.after, site)
        puts = {key: version[1] for key, version in now.items() if before.get(key) != version}
        # What was put and taken back again between the two may be told as it is now.
        told = {key: revision for key, revision in step.puts.items() if key in puts}
        more = {key for key, revision in step.puts.items() if now.get(key, ("", 0))[1] != revision}
        gone = set(before) - set(now)
        withheld = found[1].withheld
        if told != puts or more or gone - withheld - step.removed or step.removed & set(now):
            yield (
                f"took {step.after}..{at} as {_named(step.puts)} and without "
                f"{_named(step.removed)}, not {_named(puts)} and without {_named(gone)}"
            )


def reliable(_site: str, steps: Known, _lives: Lives) -> Iterator[str]:
    """Each line goes on exactly where the one before it ended."""
    for before, after, _ in _pairs(steps):
        if after.kind == "changes" and after.after != before.position.revision:
            yield f"went on from {after.after}, having come to {before.position.revision}"


def resumable(site: str, steps: Known, lives: Lives) -> Iterator[str]:
    """Who lists again is told what to let go, as long as the FSM's log goes back so far."""
    for before, after, life in _pairs(steps):
        if after.kind != "snapshot" or life is None or before.epoch != after.epoch:
            continue
        since = before.position.revision
        if lives.is_compacted(life, since):
            continue
        had = lives.content(life, since, site)
        gone = set(had) - set(lives.content(life, after.position.revision, site))
        found = lives.selected(life, after.position.revision, site)
        gone -= found[1].withheld if found else set()
        if gone - after.removed:
            yield f"was not told at {after.position.revision} that {_named(gone)} is gone"


def bookmarkable(site: str, steps: Known, lives: Lives) -> Iterator[str]:
    """Between the step before and a bookmark nothing happened that concerns the site."""
    for before, after, life in _pairs(steps):
        if after.kind != "bookmark":
            continue
        if life is None:
            yield f"was brought to another history by the bookmark {after.position.revision}"
            continue
        was = lives.content(life, before.position.revision, site)
        now = lives.content(life, after.position.revision, site)
        if was != now:
            yield f"was told that nothing happened up to {after.position.revision}"


def _named(keys: object) -> str:
    found = sorted(str(key) for key in keys)  # type: ignore[attr-defined]  # any collection
    return f"[{', '.join(found)}]"
