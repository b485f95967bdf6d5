"""Coverage of grants by grants, beside an oracle that looks at every object of a small world."""

from collections.abc import Iterable
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from shared.access.coverage import lacks
from shared.auth.identity import Grant
from tests.unit.shared.access import strategies
from tests.unit.shared.access.strategies import LABEL_SETS, PERMISSIONS, SCOPES, TENANTS

POINTS = tuple(
    # A tenant and a scope that nobody names stand for all that may come one day.
    product(PERMISSIONS, (*TENANTS, "tomorrow"), (*SCOPES, "group/new"), LABEL_SETS)
)


def points(grants: Iterable[Grant]) -> set[int]:
    """Return every point that some grant lets one at, by trying each."""
    held = list(grants)
    return {
        number
        for number, (permission, tenant, scope, labels) in enumerate(POINTS)
        if any(
            permission in each.permissions
            and (each.tenants is None or tenant in each.tenants)
            and (each.scopes is None or scope in each.scopes)
            and (each.labels is None or each.labels(labels))
            for each in held
        )
    }


some = st.lists(strategies.grants(), max_size=5)


@given(needed=some, held=some)
def test_what_is_covered_is_held_on_every_object(needed, held) -> None:
    if not list(lacks(needed, held)):
        assert points(needed) <= points(held)


@given(needed=some, held=some)
def test_without_selectors_what_is_held_on_every_object_is_covered(needed, held) -> None:
    needed = [each for each in needed if each.labels is None]
    held = [each for each in held if each.labels is None]
    assert (not list(lacks(needed, held))) is (points(needed) <= points(held))


@given(held=some, data=st.data())
def test_what_one_holds_by_a_selector_one_may_pass_on_by_the_same(held, data) -> None:
    assert not list(lacks(held, held))
    # Also cut in pieces, and with the terms in another order.
    cut = [
        Grant("cut", frozenset([permission]), each.tenants, each.scopes, each.selector, each.labels)
        for each in held
        for permission in each.permissions
    ]
    assert not list(lacks(held, data.draw(st.permutations(cut))))
    assert not list(lacks(cut, held))


@given(needed=some, held=some)
def test_what_is_lacking_is_told_exactly(needed, held) -> None:
    """Whoever gets what he lacked besides lacks nothing."""
    missing = [
        Grant(
            "m",
            each.permissions,
            # None is every tenant that isn't named; of those that are, each is told.
            None if each.tenant is None else frozenset([each.tenant]),
            None if each.scope is None else frozenset([each.scope]),
            each.selector,
            next((g.labels for g in needed if g.selector == each.selector), None),
        )
        for each in lacks(needed, held)
    ]
    assert not list(lacks(needed, [*held, *missing]))
    assert points(missing) <= points(needed)
