"""Which sites a draft concerns, and what each of them would be sent.  Pure.

A site is concerned if what it is delivered would change.  Of a draft it gets what it would get of
the revision that the draft would make, and nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fsm.feed.item import Item
from fsm.feed.select import (
    Delta,
    Membership,
    View,
    World,
    change_of,
    difference,
    membership,
    select,
    site_key,
    view_of,
)
from shared.feed.wire import Removal
from shared.ids import Key


@dataclass(frozen=True, slots=True)
class SitePart:
    """A site that a draft concerns, and what it would be sent.

    `withheld` is what of the draft the site doesn't know how to take.  `fault` says why the site
    can't be asked, if it is the draft itself that makes or deletes it.
    """

    site: str
    endpoint: str | None
    puts: tuple[Item, ...]
    removals: tuple[tuple[Key, Removal], ...]
    withheld: tuple[Key, ...] = ()
    fault: str | None = None


def drafted(before: World, changes: Mapping[Key, Item | None]) -> dict[Key, Item]:
    """Return the world as it would be; None deletes."""
    after = dict(before)
    for key, item in changes.items():
        if item is None:
            after.pop(key, None)
        else:
            after[key] = item
    return after


def parts(
    before: World, after: World, changed: Sequence[Key], sites: Sequence[str]
) -> Iterator[SitePart | None]:
    """Yield, for each site, its part of a draft; None if the draft doesn't concern it."""
    for site in sites:
        yield part_of(before, after, changed, site)


def part_of(before: World, after: World, changed: Sequence[Key], site: str) -> SitePart | None:
    """Return a site's part of a draft, if it is concerned."""
    old, new = view_of(before, site), view_of(after, site)
    if new is None:
        return _alone(before, site, "site_deleted") if old else None
    if old is None:
        return _alone(after, site, "site_is_new")
    if old.digest != new.digest or new.is_narrowed:
        return _whole(before, after, changed, old, new)
    found = [change_of(new, before.get(key), after.get(key)) for key in changed]
    delta = Delta(
        tuple(put for each in found for put in each.puts),
        tuple(removal for each in found for removal in each.removals),
    )
    withheld = [key for key in changed if membership(new, after.get(key)) is Membership.WITHHELD]
    return _part(after, new, delta, withheld)


def _whole(
    before: World, after: World, changed: Sequence[Key], old: View, new: View
) -> SitePart | None:
    """Return the part of a site whose whole selection has to be looked at."""
    selected = select(after, new)
    delta = difference(select(before, old), selected, world=after, view=new)
    return _part(after, new, delta, [key for key in changed if key in selected.withheld])


def _part(after: World, view: View, delta: Delta, withheld: Sequence[Key]) -> SitePart | None:
    if not delta and not withheld:
        return None
    endpoint = after[site_key(view.site)].spec.get("endpoint")
    return SitePart(view.site, endpoint, delta.puts, delta.removals, tuple(withheld))


def _alone(world: World, site: str, fault: str) -> SitePart:
    return SitePart(site, world[site_key(site)].spec.get("endpoint"), (), (), (), fault)
