"""What a rollout does next.  Pure.

Sites go in waves: those that the first selector of the order matches, then those that the second
does and the first doesn't, and last all that none matches.  A wave begins when all sites of the
waves before have come to an end, well or badly, and no more have failed than may.  Once a site is
reached it stays so, whatever its labels become; one that comes to an earlier wave late is reached
with the next step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from shared.login.people import span_of
from shared.model.rollout import Rollout
from shared.model.selectors import Selector

TOO_SLOW: Final = "too_slow"
"""Of a site that says nothing of the reason why it takes so long."""


class Word(StrEnum):
    """What became of the change at a site."""

    WAITS = "waits"
    """It isn't reached."""
    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    PAUSED = "paused"
    """A person has paused the site, so nothing is sent to it."""
    ABSENT = "absent"
    """Nobody has joined as the site."""
    REACHED = "reached"
    """It was; what came of it isn't known any more."""


@dataclass(frozen=True, slots=True)
class SiteNow:
    """A site that the change concerns.

    `word` is how it would stand were it reached, `code` the reason if it isn't done.
    """

    name: str
    labels: Mapping[str, str]
    word: Word
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a site stands in a rollout; `reached_at` is None if it isn't reached."""

    site: str
    wave: int
    word: Word
    code: str | None = None
    reached_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """Bring the change to sites; `wave` is the one under way then."""

    wave: int
    sites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopFor:
    """Stop: more sites have failed than may."""

    failed: tuple[Standing, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """All sites that it concerns have come to an end."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done now; `sites` are those that are waited for."""

    sites: tuple[str, ...] = ()


Step = Reach | StopFor | Finish | Wait


def wave_of(order: Sequence[Selector], labels: Mapping[str, str]) -> int:
    """Return the number of a site's wave, from 0; that of the last is the order's length."""
    found = (number for number, selector in enumerate(order) if selector.matches(labels))
    return next(found, len(order))


def standings(rollout: Rollout, sites: Sequence[SiteNow], *, now: datetime) -> list[Standing]:
    """Return how each site stands, by wave and name.

    A site that was reached counts in the wave in which that was, and one that takes longer than
    the rollout's patience has failed until it has caught up.
    """
    reached = {site: each for each in rollout.reached for site in each.sites}
    patience = span_of(rollout.patience)
    found = []
    for each in sites:
        step = reached.get(each.name)
        if step is None:
            wave = wave_of(rollout.order, each.labels)
            found.append(Standing(each.name, wave, Word.WAITS))
            continue
        word, code = each.word, each.code
        if word is Word.PENDING and _is_over(step.at, patience, now):
            word, code = Word.FAILED, code or TOO_SLOW
        found.append(Standing(each.name, step.wave, word, code, step.at))
    return sorted(found, key=lambda each: (each.wave, each.site))


def next_step(rollout: Rollout, sites: Sequence[SiteNow], *, now: datetime) -> Step:
    """Return what is to be done about a rollout, given each site that it concerns."""
    if rollout.state != "running" or rollout.paused:
        return Wait()
    found = standings(rollout, sites, now=now)
    failed = tuple(each for each in found if each.word is Word.FAILED)
    if len(failed) > rollout.max_failures:
        return StopFor(failed)
    waiting = [each for each in found if each.word is Word.WAITS]
    if late := tuple(each.site for each in waiting if each.wave <= rollout.wave):
        return Reach(rollout.wave, late)
    if pending := _waited_for(found, rollout.wave):
        return Wait(pending)
    if not waiting:
        return Finish()
    wave = min(each.wave for each in waiting)
    return Reach(wave, tuple(each.site for each in waiting if each.wave == wave))


def _waited_for(found: Sequence[Standing], wave: int) -> tuple[str, ...]:
    """Return the sites without whose word the next wave can't begin.

    A paused site isn't waited for, unless it is with all the sites of its wave that are there:
    then nobody has tried the change.
    """
    pending = tuple(each.site for each in found if each.word is Word.PENDING)
    if pending:
        return pending
    present = [
        each for each in found if each.wave == wave and each.word not in (Word.ABSENT, Word.WAITS)
    ]
    if all(each.word is Word.PAUSED for each in present):
        return tuple(each.site for each in present)
    return ()


def _is_over(since: datetime, patience: timedelta, now: datetime) -> bool:
    return now - since >= patience
