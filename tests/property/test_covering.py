"""Few rules that match what they must: exact, and held against the fewest that there are."""

from collections.abc import Sequence
from itertools import combinations, product
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from shared.algebra.boxes import Packet
from shared.algebra.cidrs import host_set
from shared.algebra.packets import PacketSet, Universe
from shared.policy.compile import SitePlanner
from shared.policy.narrowing.covering import cover
from shared.policy.narrowing.named import Names, Part
from tests.property.profile import rolls
from tests.unit.shared.policy.building import world

SIDE = range(4)
FIRST = 10 << 24
Cell = tuple[int, int]
"""A source and a destination; all of their packets."""

CELLS = [*product(SIDE, SIDE)]


def names(universe: Universe) -> Names:
    return Names(SitePlanner(world()).view(), "common", universe)


def packets(universe: Universe, cells: Sequence[Cell]) -> PacketSet:
    return universe.union(
        universe.matching([host_set([(4, FIRST + one)])], [host_set([(4, FIRST + two)])], None)
        for one, two in cells
    )


def covered(must: Sequence[Cell], may: Sequence[Cell]) -> list[Part]:
    """Return what is found, once it is sure that it is right."""
    universe = Universe(nodes=1 << 20)
    wanted = packets(universe, must)
    allowed = packets(universe, [*must, *may])
    found = cover(wanted, allowed, rules=(), names=names(universe), universe=universe)
    assert found is not None
    made = universe.union(each.packets for each in found)
    for one, two in CELLS:
        for port in (0, 80):
            packet = Packet(4, FIRST + one, FIRST + two, 6, 7, port)
            if (one, two) in must:
                assert packet in made
            elif (one, two) not in may:
                assert packet not in made
    return found


def fewest(must: Sequence[Cell], may: Sequence[Cell]) -> int:
    """Return how many products it takes at least: all that there are are tried."""
    free = {*must, *may}
    sides = [part for size in SIDE for part in combinations(SIDE, size + 1)]
    rectangles = {
        frozenset(product(rows, columns))
        for rows in sides
        for columns in sides
        if free.issuperset(product(rows, columns))
    }
    largest = [each for each in rectangles if not any(each < other for other in rectangles)]
    for count in range(len(must) + 1):
        for chosen in combinations(largest, count):
            if frozenset(must) <= frozenset().union(*chosen):
                return count
    raise AssertionError("each cell is a product")


def split(dice: Random, *, need: float, more: float) -> tuple[list[Cell], list[Cell]]:
    must, may = [], []
    for cell in CELLS:
        roll = dice.random()
        if roll < need:
            must.append(cell)
        elif roll < need + more:
            may.append(cell)
    return must, may


@given(st.sets(st.sampled_from(CELLS), min_size=1), st.sets(st.sampled_from(CELLS)))
def test_what_must_be_is_matched_and_what_may_not_be_is_not(
    must: set[Cell], may: set[Cell]
) -> None:
    found = covered(sorted(must), sorted(may - must))
    assert len(found) >= fewest(sorted(must), sorted(may - must))


def test_it_is_mostly_the_fewest_and_never_far_from_them() -> None:
    """Greedy: nobody promises the fewest, but they are in four of five worlds."""
    worse = count = 0
    for seed in rolls(60):
        dice = Random(seed)
        must, may = split(dice, need=0.35, more=dice.choice((0.0, 0.3)))
        if must:
            more = len(covered(must, may)) - fewest(must, may)
            assert 0 <= more <= 2
            worse += more
            count += 1
    assert 5 * worse < count
