"""What a node counts for staged policies: where they would decide otherwise.

A configuration may carry a second one, `staged`: what the node would enforce if staged policies
were.  A packet that both decide alike is nothing to count.  Where they differ it is counted once,
as one that would newly be denied or newly be allowed, for what makes the difference:

    the new rule that would decide it, one that isn't enforced; else
    the first new rule that would pass it on to another tier; else
    the enforced rule that would be there no longer, since a staged policy takes its place.

One of these there is: else both would have met the same rules.  As with rules' own counters, what
is counted are packets that belong to no known connection: a connection once, if it is allowed.

Defined here once, for the in-memory data plane and as the yardstick of the kernel's answer.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from shared.policy.nodeconfig import Judge, Judgement, NodeConfiguration, Packet

Would = Literal["deny", "allow"]

_PREFIX: Final[dict[Would, str]] = {"deny": "would_deny:", "allow": "would_allow:"}


class Difference(NamedTuple):
    """What staged policies would newly do to a packet, and the id of the rule that it counts for.

    That is a new rule, or one of the enforced that would be there no longer.
    """

    would: Would
    rule: str


@dataclass(frozen=True, slots=True)
class Changed:
    """Ids of the rules that make the difference: new ones, and those there no longer."""

    new: frozenset[str]
    gone: frozenset[str]


class StagedJudge:
    """Judges packets by what is enforced and by what is staged."""

    def __init__(self, configuration: NodeConfiguration, staged: NodeConfiguration) -> None:
        self._enforced = Judge(configuration)
        self._staged = Judge(staged)
        self._changed = changed_rules(configuration, staged)

    def difference(self, packet: Packet) -> Difference | None:
        """Return what would be decided otherwise; None if nothing would."""
        enforced, staged = self._enforced.judge(packet), self._staged.judge(packet)
        if enforced is None or staged is None:
            return None
        if (enforced.verdict == "allow") == (staged.verdict == "allow"):
            return None
        would: Would = "deny" if enforced.verdict == "allow" else "allow"
        return Difference(would, self._cause(enforced, staged))

    def _cause(self, enforced: Judgement, staged: Judgement) -> str:
        if staged.rule is not None and staged.rule.id in self._changed.new:
            return staged.rule.id
        met = [rule.id for rule in staged.passed if rule.id in self._changed.new]
        met += [rule.id for rule in enforced.met if rule.id in self._changed.gone]
        return met[0]


def with_staged(enforced: NodeConfiguration, staged: NodeConfiguration) -> NodeConfiguration:
    """Return what is enforced with what is staged beside it; alone, if both are the same."""
    if staged.hash() == enforced.hash():
        return enforced
    return replace(enforced, staged=staged).with_total(enforced.total())


def changed_rules(configuration: NodeConfiguration, staged: NodeConfiguration) -> Changed:
    """Return which rules make the difference between what is enforced and what is staged."""
    before, after = set(configuration.rules), set(staged.rules)
    return Changed(
        frozenset(rule.id for rule in staged.rules if rule not in before),
        frozenset(rule.id for rule in configuration.rules if rule not in after),
    )


def counters_of(configuration: NodeConfiguration, staged: NodeConfiguration) -> list[str]:
    """Return the names of all that a node counts for what is staged."""
    changed = changed_rules(configuration, staged)
    return [counter_name(would, each) for would in _PREFIX for each in changed.new | changed.gone]


def counter_name(would: Would, rule: str) -> str:
    """Return the name under which a node reports what it counted."""
    return f"{_PREFIX[would]}{rule}"


def counted_for(name: str) -> Difference | None:
    """Return what a node's counter of that name counts; None if it is of another kind."""
    for would, prefix in _PREFIX.items():
        if name.startswith(prefix):
            return Difference(would, name.removeprefix(prefix))
    return None
