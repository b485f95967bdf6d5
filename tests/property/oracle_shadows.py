"""What a slow reader makes of rules that others come before: every packet is looked at.

Packets are those of a small corner, with one for all that lies outside of it in each dimension.
A set of packets is an integer, a bit for each.
"""

from collections.abc import Sequence
from itertools import product
from typing import Final

from shared.algebra import intervals
from shared.algebra.cidrs import AddressSet
from shared.policy.nodeconfig import Packet
from shared.policy.shadows.findings import Contradiction, Finding, Shadowed
from shared.policy.shadows.rules import ResolvedRule, RuleName

ADDRESSES: Final = {4: (0, 1, 2, 3), 6: (0, 1)}
PORTS: Final = (80, 81, 82)
SOURCE_PORTS: Final = (1000, 1001)
WITH_PORTS: Final = (6, 17)
WITHOUT_PORTS: Final = (1,)
ELSEWHERE: Final = 200
"""An address, a port, a source port and a protocol that no rule names."""

PACKETS: Final = [
    Packet(family, source, destination, *traffic)
    for family, addresses in ADDRESSES.items()
    for source, destination in product((*addresses, ELSEWHERE), repeat=2)
    for traffic in (
        *product(WITH_PORTS, (*SOURCE_PORTS, ELSEWHERE), (*PORTS, ELSEWHERE)),
        *((protocol, 0, 0) for protocol in (*WITHOUT_PORTS, ELSEWHERE)),
    )
]

_EFFECT: Final = {"allow": "allow", "deny": "deny", "reject": "deny", "pass": "pass"}
_TIERS: Final = ("mandatory", "local", "default")


def assert_findings(rules: Sequence[ResolvedRule], findings: Sequence[Finding]) -> None:
    """AssertionError if the findings about these rules aren't exactly the right ones."""
    matched = {rule.name: _matched(rule) for rule in rules}
    names = [rule.name for rule in rules]
    given = {(type(each), each.rule): each for each in findings}
    assert len(given) == len(findings), "one finding is there twice"
    order = [names.index(each.rule) for each in findings]
    assert order == sorted(order)
    for place, name in enumerate(names):
        shadowed = given.pop((Shadowed, name), None)
        if matched[name] and not _reaching(name, names[:place], matched):
            assert isinstance(shadowed, Shadowed), f"{name} is shadowed"
            _assert_shadowed(shadowed, names[:place], matched)
        else:
            assert shadowed is None, f"{name} is reached"
        contradiction = given.pop((Contradiction, name), None)
        if _contradicted(name, names[:place], matched):
            assert isinstance(contradiction, Contradiction), f"{name} contradicts"
            _assert_contradiction(contradiction, names[:place], matched)
        else:
            assert contradiction is None, f"{name} does not contradict"
    assert not given


def _assert_shadowed(
    found: Shadowed, earlier: Sequence[RuleName], matched: dict[RuleName, int]
) -> None:
    own = found.rule
    assert found.by == tuple(each for each in earlier if each in found.by)

    def reaching(by: Sequence[RuleName]) -> int:
        passing = [each.action == "pass" and each.tier != own.tier for each in earlier]
        here = [each for each, passes in zip(earlier, passing, strict=True) if passes or each in by]
        return _reaching(own, here, matched)

    assert not reaching(found.by), "they don't suffice"
    for each in found.by:
        assert reaching([other for other in found.by if other != each]), f"{each} isn't needed"
    alike = otherwise = 0
    for bit, decider in _deciders(own, earlier, matched):
        if _EFFECT[decider.action] == _EFFECT[own.action]:
            alike |= bit
        else:
            otherwise |= bit
    words = {(True, False): "alike", (False, True): "otherwise", (True, True): "both"}
    assert found.decided == words[bool(alike), bool(otherwise)]
    if not otherwise:
        assert found.example is None
    else:
        assert found.example is not None
        assert _bit_of(found.example, own, matched) & otherwise


def _assert_contradiction(
    found: Contradiction, earlier: Sequence[RuleName], matched: dict[RuleName, int]
) -> None:
    own = found.rule
    assert found.by == tuple(each for each in earlier if each in found.by)
    all_of_it = _contradicted(own, earlier, matched)

    def contradicted(by: Sequence[RuleName]) -> int:
        here = [each for each in earlier if each in by or not _is_opposite(each, own)]
        return _contradicted(own, here, matched)

    assert contradicted(found.by) == all_of_it, "they don't suffice"
    for each in found.by:
        fewer = contradicted([other for other in found.by if other != each])
        assert fewer != all_of_it, f"{each} isn't needed"
    assert found.extent == ("whole" if all_of_it == matched[own] else "part")
    assert _bit_of(found.example, own, matched) & all_of_it


def _bit_of(packet: Packet, own: RuleName, matched: dict[RuleName, int]) -> int:
    """Return the bit of the packet that stands for this one."""

    def within(values: Sequence[int], value: int) -> int:
        return value if value in values else ELSEWHERE

    family = packet.family
    has_ports = packet.protocol in WITH_PORTS
    protocol = within((*WITH_PORTS, *WITHOUT_PORTS), packet.protocol)
    if packet.protocol == 132:
        # Nothing here tells sctp from other protocols that no rule names.
        assert packet.port >= 0
    elif not has_ports:
        assert packet.port == packet.source_port == 0
    found = Packet(
        family,
        within(ADDRESSES[family], packet.source),
        within(ADDRESSES[family], packet.destination),
        protocol,
        within(SOURCE_PORTS, packet.source_port) if has_ports else 0,
        within(PORTS, packet.port) if has_ports else 0,
    )
    bit = 1 << PACKETS.index(found)
    assert bit & matched[own], "the example is a packet of the rule"
    return bit


def _reaching(own: RuleName, earlier: Sequence[RuleName], matched: dict[RuleName, int]) -> int:
    """Return the packets of a rule that no earlier one keeps from it."""
    left = matched[own]
    for tier in _TIERS[: _TIERS.index(own.tier) + 1]:
        undecided = left
        for each in earlier:
            if each.tier == tier:
                if each.action != "pass" or tier == own.tier:
                    left &= ~(matched[each] & undecided)
                undecided &= ~matched[each]
    return left


def _deciders(
    own: RuleName, earlier: Sequence[RuleName], matched: dict[RuleName, int]
) -> list[tuple[int, RuleName]]:
    """Return which earlier rule takes which packets of a rule away."""
    found = []
    for place, each in enumerate(earlier):
        taken = _reaching(own, earlier[:place], matched) & ~_reaching(
            own, earlier[: place + 1], matched
        )
        if taken:
            found.append((taken, each))
    return found


def _contradicted(own: RuleName, earlier: Sequence[RuleName], matched: dict[RuleName, int]) -> int:
    """Return the packets of a rule that the mandatory tier decides the other way."""
    if own.origin != "local" or own.tier == "mandatory" or own.action == "pass":
        return 0
    left, found = matched[own], 0
    for each in earlier:
        if each.tier == "mandatory":
            if _is_opposite(each, own):
                found |= left & matched[each]
            left &= ~matched[each]
    return found


def _is_opposite(one: RuleName, other: RuleName) -> bool:
    return {_EFFECT[one.action], _EFFECT[other.action]} == {"allow", "deny"}


def _matched(rule: ResolvedRule) -> int:
    found = 0
    for number, packet in enumerate(PACKETS):
        if _matches(rule, packet):
            found |= 1 << number
    return found


def _matches(rule: ResolvedRule, packet: Packet) -> bool:
    def lies(value: int, addresses: AddressSet | None) -> bool:
        return addresses is None or any(
            first <= value <= last
            for first, last in intervals.to_ranges(addresses.of(packet.family))
        )

    return (
        lies(packet.source, rule.source)
        and lies(packet.destination, rule.destination)
        and (
            rule.within is None
            or lies(packet.source, rule.within)
            or lies(packet.destination, rule.within)
        )
        and (
            rule.services is None
            or any(
                each.matches(packet.protocol, packet.source_port, packet.port)
                for each in rule.services
            )
        )
    )
