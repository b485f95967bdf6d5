"""Rules of a small corner, crowded enough that many shadow others; and edits to them."""

from dataclasses import replace
from typing import Any, Final

from shared.algebra import intervals
from shared.algebra.cidrs import AddressSet
from shared.algebra.ports import PORT_PROTOCOLS, PortMatch, group
from shared.policy.shadows.rules import ResolvedRule, RuleName
from tests.property.choices import Choices
from tests.property.oracle_shadows import (
    ADDRESSES,
    PORTS,
    SOURCE_PORTS,
    WITH_PORTS,
    WITHOUT_PORTS,
)

Rules = list[ResolvedRule]

TIERS: Final = ("mandatory", "local", "default")
_ORIGINS: Final = {
    "mandatory": ("federation", "region/north", "override"),
    "local": ("local",),
    "default": ("federation", "local", "override"),
}
_ACTIONS: Final = ("allow", "deny", "allow", "deny", "reject", "pass")
_BOUND: Final = AddressSet((1, 3), (0, 1))


def made_rules(choose: Choices, least: int = 2, most: int = 9) -> Rules:
    """Return rules in order of evaluation."""
    found = [made_rule(choose, number) for number in range(choose.number(least, most))]
    return in_order(found)


def in_order(rules: Rules) -> Rules:
    return sorted(rules, key=lambda rule: TIERS.index(rule.name.tier))


def made_rule(choose: Choices, number: int) -> ResolvedRule:
    tier: Any = choose.pick(TIERS)
    tenant = "acme" if choose.chance(15) else "common"
    name = RuleName(
        tier, tenant, "p", f"r{number}", choose.pick(_ORIGINS[tier]), choose.pick(_ACTIONS)
    )
    return ResolvedRule(
        name,
        _side(choose),
        _side(choose),
        _services(choose),
        _BOUND if tenant == "acme" else None,
    )


def edited(choose: Choices, rules: Rules, number: int) -> Rules:
    """Return the rules after one edit: one put in, taken out, exchanged, changed or moved."""
    found = list(rules)
    kind = choose.pick(("put", "take", "exchange", "change", "move"))
    place = choose.number(0, max(len(found) - 1, 0))
    if kind == "put" or not found:
        found.insert(place, made_rule(choose, number))
    elif kind == "take":
        del found[place]
    elif kind == "exchange":
        old = found[place].name
        new = made_rule(choose, number)
        # A rule's tenant is part of what tells it from others.
        found[place] = replace(
            new, name=new.name._replace(tenant=old.tenant, rule=old.rule),
            within=_BOUND if old.tenant == "acme" else None,
        )  # fmt: skip
    elif kind == "change":
        old = found[place].name
        found[place] = replace(found[place], name=old._replace(action=choose.pick(_ACTIONS)))
    else:
        found.insert(choose.number(0, len(found) - 1), found.pop(place))
    return in_order(found)


def _side(choose: Choices) -> AddressSet | None:
    if choose.chance(25):
        return None
    return AddressSet(_some_of(choose, ADDRESSES[4]), _some_of(choose, ADDRESSES[6]))


def _services(choose: Choices) -> tuple[PortMatch, ...] | None:
    if choose.chance(40):
        return None
    return group(_match(choose) for _ in range(choose.number(1, 2)))


def _match(choose: Choices) -> PortMatch:
    protocol = choose.pick((*WITH_PORTS, *WITH_PORTS, *WITHOUT_PORTS))
    if protocol not in PORT_PROTOCOLS:
        return PortMatch(protocol)
    ports = None if choose.chance(40) else _some_of(choose, PORTS) or None
    source_ports = _some_of(choose, SOURCE_PORTS) or None if choose.chance(20) else None
    return PortMatch(protocol, ports, source_ports)


def _some_of(choose: Choices, values: tuple[int, ...]) -> intervals.Intervals:
    # Mostly runs, as prefixes are.
    first = choose.number(0, len(values) - 1)
    last = choose.number(first, len(values) - 1)
    picked = [each for each in values[first : last + 1] if not choose.chance(10)]
    return intervals.from_ranges((each, each) for each in picked)
