"""Overlapping networks against all pairs of all addresses, at once and after each edit."""

from itertools import combinations
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.algebra import intervals
from shared.algebra.cidrs import AddressSet
from shared.policy import overlaps
from shared.policy.compile import plan
from shared.policy.definitions import Name
from shared.policy.overlaps import Overlap, Overlaps, Use, UsedNetwork, used_networks
from tests.property.choices import Choices, Drawn, Rolled
from tests.property.generated_documents import NOW, SITE
from tests.property.generators import rolled_world
from tests.property.planner_worlds import site_inputs
from tests.property.profile import rolls

NAMES = [
    Name("Network", tenant, f"n{number}") for tenant in ("acme", "common") for number in range(20)
]
SIDES: tuple[Literal["from", "to"], ...] = ("from", "to")
USES = [Use("common", "p", rule, side) for rule in ("r", "s") for side in SIDES]
WITHIN = 40
"""Worlds within which each bug must show."""


@given(st.data())
def test_overlaps_are_those_of_all_pairs_after_each_edit(data: st.DataObject) -> None:
    assert_followed(Drawn(data.draw))


def test_overlaps_of_many_seeds_are_those_of_all_pairs_after_each_edit() -> None:
    for seed in rolls(60):
        assert_followed(Rolled(seed))


def test_networks_of_a_plan_are_those_that_its_rules_name() -> None:
    found = 0
    for seed in rolls(40):
        made = plan(site_inputs(rolled_world(seed), SITE, NOW))
        networks = used_networks(made)
        uses = {(each.name.tenant, each.name.name, use) for each in networks for use in each.uses}
        assert uses == {
            (
                used.tenant,
                used.reference.removeprefix("network:"),
                Use(rule.tenant, rule.policy, rule.rule, side),
            )
            for rule in made.rules
            for side, addresses in (("from", rule.source), ("to", rule.destination))
            if addresses is not None
            for used in addresses.names
        }
        for each in networks:
            for use in each.uses:
                (rule,) = [r for r in made.rules if (r.tenant, r.policy, r.rule) == use[:3]]
                side = rule.source if use.side == "from" else rule.destination
                assert side is not None
                assert not each.addresses.difference(side.addresses)
        found += len(networks)
    assert found > 40


def test_two_networks_of_one_name_are_told() -> None:
    network = UsedNetwork(NAMES[0], AddressSet((0, 1)), None, frozenset())
    with pytest.raises(ValueError, match="two networks are called acme/n0"):
        Overlaps([network, network])


def test_regression_a_network_with_ipv6_beside_lies_inside_a_range_of_ipv4() -> None:
    range_ = UsedNetwork(NAMES[0], AddressSet((0, 100), ()), None, frozenset(USES[:1]))
    part = UsedNetwork(NAMES[1], AddressSet((10, 20), (10, 20)), None, frozenset(USES[1:2]))
    (found,) = Overlaps([range_, part]).findings
    assert found.part == "around"


def assert_followed(choose: Choices) -> None:
    held = Overlaps(networks := [made(choose, name) for name in choose.some_of(NAMES)])
    assert_overlaps(networks, [*held.findings])
    for _ in range(6):
        before = [*held.findings]
        networks = edited(choose, networks)
        changes = held.update(networks)
        after = [*held.findings]
        assert_overlaps(networks, after)
        assert set(changes.opened) == set(after) - set(before)
        assert set(changes.closed) == set(before) - set(after)


def edited(choose: Choices, networks: list[UsedNetwork]) -> list[UsedNetwork]:
    """Return the networks after one is put in, exchanged or taken out; or, seldom, many."""
    by_name = {each.name: each for each in networks}
    for _ in range(30 if choose.chance(10) else choose.number(1, 2)):
        name = choose.pick(NAMES)
        old = by_name.pop(name, None)
        if old is None or choose.chance(60):
            new = made(choose, name)
            if old is not None and choose.chance(50):
                new = UsedNetwork(name, old.addresses, new.vlan, new.uses)
            by_name[name] = new
    return [*by_name.values()]


def made(choose: Choices, name: Name) -> UsedNetwork:
    # Mostly alone, so that each shared address is one that matters.
    return UsedNetwork(
        name,
        AddressSet(_run(choose, 60), _run(choose, 60) if choose.chance(30) else ()),
        choose.number(1, 12) if choose.chance(30) else None,
        frozenset(choose.some_of(USES[: choose.number(1, 4)]) or USES[:1]),
    )


def _run(choose: Choices, size: int) -> intervals.Intervals:
    if choose.chance(20):
        return ()
    first = choose.number(0, size)
    return (first, first + choose.number(1, 6))


def assert_overlaps(networks: list[UsedNetwork], findings: list[Overlap]) -> None:
    expected = []
    for one, other in combinations(sorted(networks, key=lambda each: each.name), 2):
        mine, theirs = addresses(one), addresses(other)
        vlan = one.vlan if one.vlan is not None and one.vlan == other.vlan else None
        if one.uses == other.uses or not (mine & theirs or vlan):
            continue
        part = "partly"
        common = {family for family, _ in mine & theirs}
        mine, theirs = ({each for each in side if each[0] in common} for side in (mine, theirs))
        if not common:
            part = "nothing"
        elif mine == theirs:
            part = "same"
        elif mine < theirs:
            part = "inside"
        elif mine > theirs:
            part = "around"
        expected.append((one.name, other.name, part, frozenset(mine & theirs), vlan))
    found = [
        (each.one, each.other, each.part, frozenset(_members(each.shared)), each.vlan)
        for each in findings
    ]
    assert found == expected


def addresses(network: UsedNetwork) -> set[tuple[int, int]]:
    return _members(network.addresses)


def _members(given_set: AddressSet) -> set[tuple[int, int]]:
    return {
        (family, value)
        for family, runs in ((4, given_set.v4), (6, given_set.v6))
        for first, last in intervals.to_ranges(runs)
        for value in range(first, last + 1)
    }


def nothing(*_: Any, **__: Any) -> None:
    return None


def nobody(self: Any, network: Any) -> Any:
    return self._sharing[network.name]


def no_set(*_: Any) -> Any:
    return {}


BUGS: dict[str, tuple[Any, str, Any]] = {
    "VLANs don't count": (Overlaps, "_beside", nobody),
    "networks that come share nothing": (Overlaps, "_look_for", nothing),
    "what was found stays": (Overlaps, "_forget", nothing),
    "only IPv4 is looked at": (overlaps, "_FAMILIES", (4,)),
    "pairs are in any order": (overlaps, "_pair", lambda one, other: (one, other)),
}


@pytest.mark.parametrize("bug", [pytest.param(bug, id=name) for name, bug in BUGS.items()])
def test_a_bug_in_the_overlaps_is_noticed(
    bug: tuple[Any, str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*bug)
    with pytest.raises((AssertionError, KeyError)):
        follow_worlds()


def follow_worlds() -> None:
    for seed in range(WITHIN):
        assert_followed(Rolled(seed))
