"""Where two ordered lists differ.  Pure."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from shared.policy.nodeconfig import NodeConfiguration, NodeRule
from shared.policy.nodedelta import rule_splices

Item = TypeVar("Item", bound=Hashable)


def tier_splices(
    have: NodeConfiguration, want: NodeConfiguration, tier: str
) -> list[tuple[int, int, list[NodeRule]]]:
    """Return how a tier's rules change: place, how many go, what comes; from last to first."""
    if have.rules == want.rules:
        return []
    old = [rule for rule in have.rules if rule.tier == tier]
    new = [rule for rule in want.rules if rule.tier == tier]
    start, tail = common_ends(old, new)
    middle = rule_splices(old[start : len(old) - tail], new[start : len(new) - tail])
    return [(start + at, count, rules) for at, count, rules in middle]


def members_difference(have: Sequence[Item], want: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Return what is only in `have` and what is only in `want`; both are ordered alike."""
    start, tail = common_ends(have, want)
    old, new = have[start : len(have) - tail], want[start : len(want) - tail]
    before, after = set(old), set(new)
    return [each for each in old if each not in after], [each for each in new if each not in before]


def common_ends(have: Sequence[Item], want: Sequence[Item]) -> tuple[int, int]:
    """Return how many are the same at the beginning, and how many more at the end.

    Most changes are one place in a long list; slices are compared without a step of Python each.
    """
    shorter = min(len(have), len(want))
    start = _longest(shorter, lambda a, b: have[a:b] == want[a:b])
    ours, theirs = len(have), len(want)
    tail = _longest(
        shorter - start,
        lambda a, b: have[ours - b : ours - a] == want[theirs - b : theirs - a],
    )
    return start, tail


def _longest(limit: int, same: Callable[[int, int], bool]) -> int:
    """Return up to where, at most `limit`, all is the same, if `same(a, b)` says it of a part."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if same(low, middle):
            low = middle
        else:
            high = middle - 1
    return low
