import pytest

from shared.errors import NotFound
from shared.policy.graph import ancestors, cycles
from shared.policy.scopes import Places, level_of
from tests.unit.shared.policy.building import group, node, region, site, world

GROUPS = [group("rack"), group("shelf", "rack"), group("pci", "rack"), group("hall")]


def chain(*groups: str) -> tuple[str, ...]:
    inputs = world(
        [region("west"), region("bay", "west")],
        [*GROUPS, node("n1", *groups)],
        at=site(region="bay"),
    )
    return Places(inputs).chain("n1")


def test_a_chain_goes_from_the_node_outwards() -> None:
    assert chain("shelf") == (
        "node/n1",
        "group/shelf",
        "group/rack",
        "site",
        "region/bay",
        "region/west",
        "federation",
    )


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (("pci", "shelf"), ("pci", "shelf", "rack")),
        (("shelf", "pci"), ("shelf", "pci", "rack")),
        (("rack", "pci"), ("pci", "rack")),
        (("shelf", "hall", "pci"), ("shelf", "hall", "pci", "rack")),
        (("shelf", "shelf"), ("shelf", "rack")),
        ((), ()),
    ],
)
def test_of_a_group_met_twice_the_last_place_counts(
    groups: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert [each.removeprefix("group/") for each in chain(*groups) if "group/" in each] == list(
        expected
    )


def test_without_a_node_the_chain_begins_at_the_site() -> None:
    inputs = world([region("west")], at=site(region="west"))
    assert Places(inputs).chain() == ("site", "region/west", "federation")


def test_a_site_without_a_region_is_right_under_the_federation() -> None:
    assert Places(world()).chain() == ("site", "federation")


def test_an_unknown_site_or_node_is_named() -> None:
    with pytest.raises(NotFound, match="no node n9") as caught:
        Places(world()).chain("n9")
    assert caught.value.code == "unknown_node"
    inputs = world()
    elsewhere = type(inputs)("s2", inputs.federation, inputs.local, inputs.now)
    with pytest.raises(NotFound, match="no Site s2") as caught:
        Places(elsewhere).chain()
    assert caught.value.code == "unknown_site"


def test_a_cycle_is_gone_round_once() -> None:
    parents = {"a": "b", "b": "c", "c": "b"}
    assert ancestors("a", parents) == ["a", "b", "c"]
    assert cycles(parents) == [["b", "c"]]
    assert cycles({"a": "a", "b": None, "c": "gone"}) == [["a"]]


@pytest.mark.parametrize(
    ("scope", "level"),
    [
        ("federation", "federation"),
        ("region/west", "region"),
        ("site", "site"),
        ("group/rack", "group"),
        ("node/n1", "node"),
        ("region/", None),
        ("planet", None),
        ("sites", None),
    ],
)
def test_scopes_have_levels(scope: str, level: str | None) -> None:
    assert level_of(scope) == level
