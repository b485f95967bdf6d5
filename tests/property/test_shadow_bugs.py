"""The comparison with a reader of every packet can fail: bugs put into the search are noticed."""

from typing import Any

import pytest

from shared.algebra import intervals, meeting, products
from shared.algebra.ports import ALL_PORTS
from shared.policy.shadows import judging, rules, site
from tests.property.choices import Rolled
from tests.property.test_shadows import assert_followed, assert_judged

WITHIN = 150
"""Worlds within which each bug must show; of those with edits a tenth."""

# An index that is no longer true ends in one of these, too.
NOTICED = (AssertionError, LookupError, ValueError)

_events = meeting._events
_rivals = site.Shadows._rivals


def only_single_covers(product: Any, others: Any) -> Any:
    if any(products.intersection(product, each) == product for each in others):
        return None
    return products.least_point(product)


def only_lines(product: Any, others: Any) -> Any:
    for corner in products._corners(product):
        if (point := products._free_on_lines(product, corner, others)) is not None:
            return point
    return None


def one_dimension_at_a_time(choices: Any, everything: int) -> Any:
    return None


def all_cells(cells: Any) -> Any:
    return [*cells.items()][:2]


def every_pass_blocks(shares_of: Any) -> Any:
    def shares(held: Any, rivals: Any, meets: Any, role: Any) -> Any:
        def blocks(other: Any) -> Any:
            return "absent" if role(other) == "absent" else "blocks"

        return shares_of(held, rivals, meets, blocks)

    return shares


def nothing_ahead(product: Any, _others: Any) -> Any:
    return [product]


def all_of_them(shares: Any, _meets: Any) -> Any:
    return tuple(each.name for each in shares)


def the_first(shares: Any, _meets: Any) -> Any:
    return tuple(each.name for each in shares)[:1]


def with_later_ones(self: Any, held: Any) -> Any:
    place, held.place = held.place, 1 << 30
    try:
        return [[each for each in row if each[0] is not held] for row in _rivals(self, held)]
    finally:
        held.place = place


def action_alone(name: Any) -> str:
    return str(name.action)


def one_family(addresses: Any) -> Any:
    if addresses is None:
        return (0, 1 << 32), (0, 1 << 128)
    return addresses.v4, addresses.v6


def unbounded(source: Any, destination: Any, _within: Any) -> Any:
    return [(source, destination)]


def own_sources_only(source: Any, destination: Any, within: Any) -> Any:
    return [(intervals.intersection(source, within), destination)]


def any_source_port(matches: Any) -> Any:
    for traffic, _ in rules_traffic(matches):
        yield traffic, ALL_PORTS


rules_traffic = rules._traffic


def beginnings_first(sets: Any) -> Any:
    pairs = [(place, begins) for place, begins in _events(sets)]
    return iter(sorted(pairs, key=lambda each: not each[1]))


def one_way(square: Any) -> Any:
    return square


def nothing(*_: Any, **__: Any) -> None:
    return None


def never(*_: Any) -> bool:
    return False


def nobody(self: Any, product: Any) -> Any:
    return site.BitMap()


def earlier_instead(self: Any, held: Any, touched: Any) -> None:
    for other in self._meets(held):
        if other.place < held.place:
            touched.setdefault(other, []).append(held)


def as_they_were(values: Any) -> Any:
    return [*range(len(values))]


def judged(seed: int) -> None:
    assert_judged(Rolled(seed))


def followed(seed: int) -> None:
    if seed % 10 == 0:
        assert_followed(Rolled(seed))


BUGS: dict[str, tuple[Any, str, Any, Any]] = {
    "only one rule alone covers another": (judging, "uncovered_point", only_single_covers, judged),
    "lines through corners stand for everything": (
        judging, "uncovered_point", only_lines, judged,
    ),
    "where no dimension is free all is covered": (
        products, "_choose", one_dimension_at_a_time, judged,
    ),
    "some kinds of values are left out": (products, "_minimal", all_cells, judged),
    "what passes blocks": (judging, "_shares", every_pass_blocks(judging._shares), judged),
    "what stands ahead lets nothing through": (judging, "_without", nothing_ahead, judged),
    "all are responsible": (judging, "_sufficient", all_of_them, judged),
    "the first is responsible": (judging, "_sufficient", the_first, judged),
    "later rules count as well": (site.Shadows, "_rivals", with_later_ones, judged),
    "a reject is no deny": (judging, "_effect", action_alone, judged),
    "both families are on one line": (rules, "_lines", one_family, judged),
    "tenants' rules reach beyond their addresses": (rules, "_bounded", unbounded, judged),
    "tenants' rules match by source only": (rules, "_bounded", own_sources_only, judged),
    "source ports don't count": (rules, "_traffic", any_source_port, judged),
    "rules of others' origin contradict": (rules.RuleName, "is_own", True, judged),
    "the sweep goes by kind": (meeting, "_events", beginnings_first, judged),
    "meeting is found one way only": (meeting, "_turned", one_way, judged),
    "rules that come meet nobody": (site.Shadows, "_meeting_rows", nobody, followed),
    "rules that others come before aren't judged again": (
        site.Shadows, "_judge_again", nothing, followed,
    ),
    "earlier rules are judged again": (site.Shadows, "_note", earlier_instead, followed),
    "rules never move": (site, "_growing", as_they_were, followed),
    "a packet that reaches a rule always will": (products, "contains", never, followed),
    "contradictions stay": (site, "may_contradict", never, followed),
}  # fmt: skip


@pytest.mark.parametrize("bug", [pytest.param(bug, id=name) for name, bug in BUGS.items()])
def test_a_bug_in_the_search_is_noticed(
    bug: tuple[Any, str, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name, replacement, compare = bug
    monkeypatch.setattr(module, name, replacement)
    with pytest.raises(NOTICED):
        each_of(compare)


def each_of(compare: Any) -> None:
    for seed in range(WITHIN):
        compare(seed)
