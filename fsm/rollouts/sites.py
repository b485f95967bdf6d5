"""How the sites that a rollout concerns stand, from what they said.  Pure but for its turns."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from fsm.feed.item import Item, Rolling
from fsm.feed.rolling import seen_by
from fsm.feed.select import Membership, View, World, is_meant_for, standing_in, view_of
from fsm.feed.status import SITE_PAUSED, SiteFacts, state_of
from fsm.rollouts.steps import SiteNow, Word
from fsm.sites.facts import Told

# A thousand sites take a while; others want their turn.
_AT_A_TIME: Final = 50

_WORDS: Final[Mapping[str, Word]] = {"pending": Word.PENDING, "failed": Word.FAILED}


async def sites_of(
    world: World, rollout: Item, rolling: Rolling, told: Told, *, now: datetime
) -> list[SiteNow]:
    """Return each site that has the target or is to have it; the world must not change."""
    names = sorted(key.name for key in world if key.kind == "Site")
    found = []
    for number, name in enumerate(names):
        view = view_of(world, name)
        assert view is not None, "the sites are those of the world"
        versions = (world.get(rolling.target), rolling.before)
        if any(each and is_meant_for(view, each.audience) for each in versions):
            facts = told.of(name)
            each = _site(world, rollout, rolling, view, facts, now=now)
            if each is not None:
                found.append(each)
        if number % _AT_A_TIME == _AT_A_TIME - 1:
            await asyncio.sleep(0)
    return found


def _site(
    world: World, rollout: Item, rolling: Rolling, view: View, facts: SiteFacts, *, now: datetime
) -> SiteNow | None:
    """Return how the target stands at a site; None if the site goes without it by its own wish."""

    def said(word: Word, code: str | None = None) -> SiteNow:
        return SiteNow(view.site, view.labels, word, code)

    if facts.joined_until is None:
        return said(Word.ABSENT, "not_joined")
    item = world.get(rolling.target)
    if item is None or not is_meant_for(view, item.audience):
        word, code = _without(rollout, facts, now=now)
        # It keeps what it has, however far it has come.
        return said(Word.PAUSED, SITE_PAUSED) if view.paused is not None else said(word, code)
    # As it would be for a site that is reached.
    standing = standing_in({**seen_by(world, view.site), rolling.target: item}, view)(item)
    if standing is Membership.OUT:
        return None
    state, code = state_of(item, standing, facts, now=now)
    if standing is Membership.WITHHELD:
        return said(Word.FAILED, code)
    word = _WORDS.get(state, Word.DONE)
    if word is Word.PENDING and view.paused is not None:
        return said(Word.PAUSED, SITE_PAUSED)
    return said(word, code)


def _without(rollout: Item, facts: SiteFacts, *, now: datetime) -> tuple[Word, str | None]:
    """Return whether a site has let go of a policy that isn't meant for it any more."""
    heard = facts.heard
    if heard is None:
        return Word.PENDING, "not_connected"
    position = heard.position
    # The step that reached it is no younger than the rollout's last.
    is_past = position.revision >= rollout.stored.revision
    if is_past and facts.incarnation in (None, position.incarnation):
        return Word.DONE, None
    if not heard.is_connected(now):
        return Word.PENDING, "not_connected"
    return Word.PENDING, "not_acknowledged"
