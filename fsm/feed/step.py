"""What leads from one world to a later one, and what of it concerns a site.  Pure.

Most changes mean the same to all sites that may have the object, so they are put together once.
Only what a rollout has to do with differs from site to site.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fsm.feed.item import GOING_ON, Item, Rolling
from fsm.feed.rolling import Rollings, touched, version_at
from fsm.feed.select import Delta, View, change_of
from fsm.feed.worlds import Loaded
from shared.ids import Key

Pair = tuple[Item | None, Item | None]
"""An object as it was and as it is; None where there is none."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """The target of a rollout, as it was and as it is, with the rollouts that went over it."""

    before: tuple[Item | None, Rolling | None]
    after: tuple[Item | None, Rolling | None]

    def at(self, site: str) -> Pair:
        """Return the versions of one site."""
        return version_at(site, *self.before), version_at(site, *self.after)


@dataclass(frozen=True, slots=True)
class Step:
    """`keys` are the objects that the store changed, `plain` those that changed for all alike."""

    keys: frozenset[Key] = frozenset()
    plain: tuple[Pair, ...] = ()
    rolled: tuple[Rolled, ...] = ()

    def at(self, view: View) -> Delta:
        """Return what it means to a site whose view isn't narrowed, or that is paused."""
        pairs: Iterable[Pair] = self.plain
        if self.rolled:
            own = (each.at(view.site) for each in self.rolled)
            pairs = (*self.plain, *(pair for pair in own if _differ(*pair)))
        if view.paused is not None:
            pairs = [pair for pair in pairs if _goes_on(*pair)]
        parts = [change_of(view, *pair) for pair in pairs]
        return Delta(
            tuple(put for part in parts for put in part.puts),
            tuple(removal for part in parts for removal in part.removals),
        )


NOTHING: Final = Step()


def step_of(
    before: Mapping[Key, Item | None], world: Mapping[Key, Item], *, was: Rollings, now: Rollings
) -> Step:
    """Return a step; `before` has the changed objects as they were, `world` is that of now.

    `was` and `now` are the rollouts before and after it.
    """
    targets = touched(was, now, before) if was or now else frozenset[Key]()
    return Step(
        frozenset(before),
        tuple((item, world.get(key)) for key, item in before.items() if key not in targets),
        tuple(
            Rolled(
                (before[key] if key in before else world.get(key), was.get(key)),
                (world.get(key), now.get(key)),
            )
            for key in sorted(targets)
        ),
    )


def step_between(before: Loaded, after: Loaded) -> Step:
    """Return what leads from one world to another, by looking at all objects."""
    keys = sorted({*before.items, *after.items})
    pairs = {key: (before.items.get(key), after.items.get(key)) for key in keys}
    changed = {key: pair[0] for key, pair in pairs.items() if _differ(*pair)}
    return step_of(changed, after.items, was=before.rollings, now=after.rollings)


def _goes_on(before: Item | None, after: Item | None) -> bool:
    """Return whether a paused site gets a change."""
    item = after or before
    return item is not None and item.key.kind in GOING_ON


def _differ(before: Item | None, after: Item | None) -> bool:
    if before is None or after is None:
        return before is not after
    return before.version != after.version
