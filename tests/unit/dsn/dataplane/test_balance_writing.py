"""A changed backend is written as elements, and nothing else."""

from collections import Counter
from dataclasses import replace

from dsn.dataplane import nfnetlink as nl
from dsn.dataplane.balance.writing import change
from shared.policy.balancers import NodeBalancer
from shared.policy.spreading import SLOTS, slots_of

OWN = ("10.1.0.1/32", "10.1.0.3/32")
BACKENDS = tuple(f"10.2.0.{host}" for host in range(1, 6))
SHOP = NodeBalancer("0" * 16, "common", "shop", "10.9.0.1", 6, (80, 80), backends=BACKENDS)


def elements(messages: list[nl.Message]) -> Counter[int]:
    """Return how many elements commands write, by what they do; all of them do only that."""
    found: Counter[int] = Counter()
    for each in messages:
        assert each.kind in (nl.NEW_ELEMENTS, nl.DELETE_ELEMENTS)
        for kind, content in nl.pairs(each.attributes):
            if kind == 3:
                found[each.kind] += sum(1 for _ in nl.pairs(content))
    return found


def test_a_backend_that_goes_exchanges_its_own_slots() -> None:
    fewer = replace(SHOP, backends=BACKENDS[1:])
    messages = change("t", ((SHOP,), OWN), ((fewer,), OWN))

    slots = Counter(slots_of("hash", BACKENDS))[BACKENDS[0]]
    assert 0 < slots < SLOTS / 2
    assert elements(messages) == {nl.DELETE_ELEMENTS: slots, nl.NEW_ELEMENTS: slots}


def test_the_last_backend_leaves_an_empty_map() -> None:
    one, none = replace(SHOP, backends=BACKENDS[:1]), replace(SHOP, backends=())
    assert elements(change("t", ((one,), OWN), ((none,), OWN))) == {nl.DELETE_ELEMENTS: SLOTS}


def test_an_own_address_more_is_an_element_more() -> None:
    messages = change("t", ((SHOP,), OWN), ((SHOP,), (*OWN, "10.1.0.5/32")))
    # A run of addresses is written as where it begins and where it ends.
    assert elements(messages) == {nl.NEW_ELEMENTS: 2}


def test_what_is_the_same_is_not_written() -> None:
    assert change("t", ((SHOP,), OWN), ((SHOP,), OWN)) == []
    assert change("t", (None, OWN), (None, ())) == []


def test_a_service_that_stops_takes_its_table_away() -> None:
    kinds = [each.kind for each in change("t", ((SHOP,), OWN), (None, OWN))]
    assert kinds == [nl.NEW_TABLE, nl.DELETE_TABLE]
