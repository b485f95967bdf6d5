"""As few rules as it can, that match what they must and nothing that they may not.

Names first: parts of rules that people wrote.  What those don't reach is made up of boxes of
addresses and ports, joined where that stays within what they may match.  Finding the fewest is
hard (it is set cover); this is greedy, and never wrong about which packets.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from shared.algebra.packets import PacketSet, Universe
from shared.model.policy import Rule
from shared.policy.narrowing.named import Names, Part
from shared.policy.narrowing.products import joined, product_of, without_superfluous

MOST_RULES: Final = 32
"""More rules than this in place of what somebody wrote are not offered: nobody would read them."""

MOST_WORDS: Final = 300
"""Peers, or services, that a rule may list.  All services but ssh are 256 of them, as no rule can
say `but`: longer than people like, and still what they want.
"""

_MOST_BOXES: Final = 4000
"""Boxes of prefixes that are joined to sets; one network left out of all makes some hundred."""


def cover(
    must: PacketSet,
    may: PacketSet,
    *,
    rules: Sequence[Rule],
    names: Names,
    universe: Universe,
    is_brief: bool = False,
) -> list[Part] | None:
    """Return what rules have to say to match all of `must` and nothing beyond `may`, which holds
    it; None if that takes more of them than somebody would read.

    Parts of rules are as large as they may be; with `is_brief` without peers and services that
    nothing needs.
    """
    found = _greedy(must, (part for rule in rules for part in names.parts(rule, may)))
    rest = must - universe.union(each.packets for each in found)
    if rest:
        boxes, truncated = rest.boxes(_MOST_BOXES)
        made = None
        if not truncated:
            made = joined(map(product_of, boxes), may, universe, names.within)
        if made is None:
            return None
        kept = without_superfluous(made, rest, universe, names.within)
        found += [names.say(each, rules) for each in kept]
    found = _needed(found, must, universe)
    if is_brief:
        found = _brief(found, must, names, universe)
    is_readable = len(found) <= MOST_RULES and all(each.words <= MOST_WORDS for each in found)
    return found if is_readable else None


def _greedy(must: PacketSet, parts: Iterable[Part]) -> list[Part]:
    """Return parts that make up as much of `must` as all do: always the one that adds most."""
    left = list(parts)
    found = []
    while must and left:
        gains = [(each.packets & must).count() for each in left]
        best = max(range(len(left)), key=gains.__getitem__)
        if not gains[best]:
            break
        part = left.pop(best)
        found.append(part)
        must = must - part.packets
    return found


def _needed(parts: Sequence[Part], must: PacketSet, universe: Universe) -> list[Part]:
    """Return the parts without those that the others make superfluous, the smallest first."""
    kept = list(parts)
    for each in sorted(parts, key=lambda part: (part.packets & must).count()):
        others = [other for other in kept if other is not each]
        if each.packets & must <= universe.union(other.packets for other in others):
            kept = others
    return kept


def _brief(parts: Sequence[Part], must: PacketSet, names: Names, universe: Universe) -> list[Part]:
    """Return the parts, each without what none of its packets needs."""
    found = list(parts)
    for place in range(len(found)):
        others = universe.union(each.packets for each in (*found[:place], *found[place + 1 :]))
        needed = must - others
        smaller: Part | None = found[place]
        while smaller is not None:
            found[place] = smaller
            options = names.smaller(smaller)
            smaller = next((each for each in options if needed <= each.packets), None)
    return found
