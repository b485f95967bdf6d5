"""What rollouts make of the world for one site.  Pure.

While a change goes site by site, the store has the new version already, and the Rollout beside it
has the one before.  A site that isn't reached yet sees the latter: the world as it would be, had
the change not been made.  Which sites are reached stands in the Rollout, so that each step is a
revision like any other, and what a site had at a revision is a function of that revision's world.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from fsm.feed.item import ROLLOUT, Item, Rolling
from fsm.feed.world import IndexedWorld
from shared.ids import Key

Rollings = Mapping[Key, Rolling]
"""The rollouts that haven't ended, by their targets; a target has one at most."""

NONE: Final[Rollings] = {}


def rollings_in(world: Mapping[Key, Item]) -> Rollings:
    """Return the rollouts of a world that haven't ended."""
    items: Iterable[Item] = (
        world.of_kind(ROLLOUT).values()
        if isinstance(world, IndexedWorld)
        else (item for key, item in world.items() if key.kind == ROLLOUT)
    )
    return {each.target: each for item in items if (each := item.rolling) is not None}


def seen_by(world: Mapping[Key, Item], site: str) -> Mapping[Key, Item]:
    """Return the world as one site is to see it."""
    waiting = [each for each in rollings_in(world).values() if site not in each.reached]
    if not waiting:
        return world
    seen = dict(world)
    for each in waiting:
        if each.before is None:
            seen.pop(each.target, None)
        else:
            seen[each.target] = each.before
    return seen


def touched(before: Rollings, after: Rollings, changed: Iterable[Key]) -> frozenset[Key]:
    """Return the targets whose version at a site may have changed with rollouts or by itself."""
    moved = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    return frozenset(moved | {key for key in changed if key in before or key in after})


def version_at(site: str, item: Item | None, rolling: Rolling | None) -> Item | None:
    """Return what a site sees of an object."""
    return item if rolling is None else rolling.version_at(site, item)
