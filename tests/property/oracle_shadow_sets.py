"""What rules that others come before amount to, by exact sets of packets.

For hundreds of rules, where no reader could look at every packet.  It goes through the rules in
order, with the sets of what was decided so far, and compares every rule with every set.
"""

from collections.abc import Sequence

from shared.algebra.packets import PacketSet, Universe
from shared.policy.shadows.findings import Contradiction, Finding, Shadowed
from shared.policy.shadows.rules import ResolvedRule, RuleName

_EFFECT = {"allow": "allow", "deny": "deny", "reject": "deny", "pass": "pass"}


def assert_findings(rules: Sequence[ResolvedRule], findings: Sequence[Finding]) -> None:
    """AssertionError if the findings about these rules aren't exactly the right ones."""
    given = {(type(each), each.rule): each for each in findings}
    assert len(given) == len(findings), "one finding is there twice"
    reader = _Reader()
    for rule in rules:
        reader.read(rule, given)
    assert not given, "what is left is found about rules that are reached and contradict nothing"


class _Reader:
    """Reads rules in order, without `pass`, which it doesn't understand."""

    def __init__(self) -> None:
        self._universe = Universe()
        nothing = self._universe.nothing
        self._matching: dict[RuleName, PacketSet] = {}
        self._decided = {"allow": nothing, "deny": nothing}
        self._mandatory = dict(self._decided)
        self._ahead = dict(self._decided)
        """What mandatory rules of each effect match, whether they decide it or not."""
        self._before: dict[RuleName, dict[str, PacketSet]] = {}

    def read(self, rule: ResolvedRule, given: dict[tuple[type, RuleName], Finding]) -> None:
        name = rule.name
        own = self._matching[name] = self._universe.matching(
            None if rule.source is None else [rule.source],
            None if rule.destination is None else [rule.destination],
            rule.services,
            rule.within,
        )
        effect = _EFFECT[name.action]
        reached = own - self._decided["allow"] - self._decided["deny"]
        shadowed = given.pop((Shadowed, name), None)
        assert (shadowed is not None) == (bool(own) and not reached), f"{name} is shadowed"
        if shadowed is not None:
            assert isinstance(shadowed, Shadowed)
            self._assert_shadowed(shadowed, own, effect)
        other = "deny" if effect == "allow" else "allow"
        against = own & self._mandatory[other]
        if name.tier == "mandatory" or name.origin != "local":
            against = self._universe.nothing
        contradiction = given.pop((Contradiction, name), None)
        assert (contradiction is not None) == bool(against), f"{name} contradicts"
        if contradiction is not None:
            assert isinstance(contradiction, Contradiction)
            self._assert_contradiction(contradiction, own, against)
        self._before[name] = dict(self._ahead)
        self._decided[effect] |= reached
        if name.tier == "mandatory":
            self._mandatory[effect] |= reached
            self._ahead[effect] |= own

    def _assert_shadowed(self, found: Shadowed, own: PacketSet, effect: str) -> None:
        _assert_sufficient(own, [self._matching[each] & own for each in found.by])
        alike = own & self._decided[effect]
        otherwise = own - alike
        words = {(True, False): "alike", (False, True): "otherwise", (True, True): "both"}
        assert found.decided == words[bool(alike), bool(otherwise)]
        assert (found.example is not None) == bool(otherwise)
        assert found.example is None or found.example in otherwise

    def _assert_contradiction(
        self, found: Contradiction, own: PacketSet, against: PacketSet
    ) -> None:
        effect = _EFFECT[found.rule.action]
        shares = [(own & self._matching[each]) - self._before[each][effect] for each in found.by]
        _assert_sufficient(against, shares)
        assert found.extent == ("whole" if own == against else "part")
        assert found.example in against


def _assert_sufficient(everything: PacketSet, shares: Sequence[PacketSet]) -> None:
    """AssertionError if the shares don't make up everything, or one of them could be left out."""
    assert shares, "somebody is responsible"
    nothing = everything - everything
    behind = [nothing]
    for share in reversed(shares):
        behind.append(behind[-1] | share)
    assert behind[-1] == everything, "they don't suffice"
    before = nothing
    for place, share in enumerate(shares):
        assert share - before - behind[len(shares) - place - 1], "one isn't needed"
        before |= share
