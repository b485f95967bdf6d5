"""Products of sets against all of their points."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from shared.algebra import intervals, products
from shared.algebra.meeting import meeting
from shared.algebra.products import Product

SETS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda pair: (min(pair), max(pair))),
    min_size=1,
    max_size=2,
).map(intervals.from_ranges)


def points(given_product: Product) -> set[tuple[int, ...]]:
    values = [
        [value for first, last in intervals.to_ranges(each) for value in range(first, last + 1)]
        for each in given_product
    ]
    return set(product(*values))


def some(dimensions: int) -> st.SearchStrategy[list[Product]]:
    return st.lists(st.tuples(*[SETS] * dimensions), min_size=1, max_size=9)


MANY = st.integers(1, 4).flatmap(some)


@given(MANY)
def test_an_uncovered_point_is_found_if_there_is_one(given_products: list[Product]) -> None:
    one, *others = given_products
    left = points(one).difference(*map(points, others))
    found = products.uncovered_point(one, others)
    assert (found in left) if left else (found is None)


@given(MANY)
def test_operations_on_products_are_those_on_points(given_products: list[Product]) -> None:
    one, other = given_products[0], given_products[-1]
    both = products.intersection(one, other)
    assert (points(both) if both is not None else set()) == points(one) & points(other)
    parts = [points(each) for each in products.difference(one, other)]
    assert set().union(*parts) == points(one) - points(other)
    assert sum(map(len, parts)) == len(points(one) - points(other))
    assert products.size(one) == len(points(one))
    assert products.least_point(one) == min(points(one))
    assert all(products.contains(one, each) == (each in points(one)) for each in points(other))


@given(MANY, st.sampled_from([0, 1 << 70]))
def test_products_meet_that_share_a_point(given_products: list[Product], far: int) -> None:
    moved = [tuple(tuple(v + far for v in each) for each in one) for one in given_products]
    expected = [
        {
            place
            for place, other in enumerate(given_products)
            if other is not one and points(one) & points(other)
        }
        for one in given_products
    ]
    assert [set(each) for each in meeting(moved)] == expected


def test_many_products_meet_across_all_words_and_bytes() -> None:
    sets = [((place * 3) % 500, (place * 3) % 500 + 1 + place % 40) for place in range(300)]
    found = meeting([(each, (0, 1)) for each in sets])
    for place, each in enumerate(sets):
        assert set(found[place]) == {
            other
            for other, values in enumerate(sets)
            if other != place and intervals.overlaps(each, values)
        }


def test_of_nothing_nothing_meets() -> None:
    assert meeting([]) == []
    assert [list(each) for each in meeting([((0, 1),), ((0, 1),)])] == [[1], [0]]
