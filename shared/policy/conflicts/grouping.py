"""Conflicts of single rules, one for all of a policy where there are many.

Nobody decides a thousand conflicts.  Of more than twenty of one type in one policy there is one
conflict for the policy, and it stays one until there are ten or fewer, so that a policy near the
bound doesn't go back and forth.  Facts: the `count`, the first `rules` with what their type tells
of each, and a `digest` of all of their names, by which another set of rules is another matter.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from shared.model.override import URGENCIES, ConflictType
from shared.policy.conflicts.contract import Finding, Proposal
from shared.policy.definitions import Name

MANY: Final = 20
FEW: Final = 10
TOLD: Final = 20
"""Rules that a conflict tells one by one."""

_TYPES: Final = frozenset({"shadowed_rule", "contradicts_mandatory"})
_OF_EACH: Final = ("rule", "tier", "action", "decided", "extent")


class Group(NamedTuple):
    """The rules of one policy that have one type of conflict."""

    type: ConflictType
    policy: Name


class Grouping:
    """Groups findings; remembers which policies have one conflict for all."""

    def __init__(self, known: Iterable[Group] = ()) -> None:
        """`known` are the groups that there were before this process."""
        self._known: frozenset[Group] = frozenset(known)

    def grouped(self, found: Iterable[Finding]) -> Iterator[Finding]:
        """Yield the findings, those of many rules as one, in the place of the first."""
        groups: dict[Group, list[Finding]] = {}
        order: list[Finding | Group] = []
        for each in found:
            if each.type not in _TYPES:
                order.append(each)
                continue
            group = Group(each.type, each.target)
            if group not in groups:
                groups[group] = []
                order.append(group)
            groups[group].append(each)
        self._known = frozenset(
            group for group, members in groups.items() if self._is_one(group, len(members))
        )
        for place in order:
            if isinstance(place, Finding):
                yield place
            elif place in self._known:
                yield _as_one(place, groups[place])
            else:
                yield from groups[place]

    def _is_one(self, group: Group, count: int) -> bool:
        return count > (FEW if group in self._known else MANY)


def group_of(spec: Mapping[str, Any]) -> Group | None:
    """Return which group a conflict is of, as it is stored; None if it is of one thing."""
    if spec["type"] not in _TYPES or spec.get("subject"):
        return None
    target = spec["target"]
    policy = Name(target["kind"], target.get("tenant", "common"), target["name"])
    return Group(spec["type"], policy)


def _as_one(group: Group, members: Sequence[Finding]) -> Finding:
    names = "\0".join(sorted(each.subject for each in members))
    ways: dict[str, Proposal] = {}
    for each in members:
        ways |= {way.name: way for way in each.proposals}
    return Finding(
        group.type,
        group.policy,
        urgency=min((each.urgency for each in members), key=URGENCIES.index),
        facts={
            "count": len(members),
            "rules": [
                {name: each.facts[name] for name in _OF_EACH if name in each.facts}
                for each in members[:TOLD]
            ],
            "digest": hashlib.sha256(names.encode()).hexdigest()[:16],
        },
        proposals=tuple(ways[name] for name in sorted(ways)),
    )
