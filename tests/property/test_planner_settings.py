"""Settings documents resolve as the contract's plain reading resolves them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.policy.compile import SitePlanner
from shared.policy.inherit import effective_settings
from tests.property.borders import views
from tests.property.choices import Choices, Drawn, Rolled
from tests.property.generated_documents import NOW, REGIONS, SITE, TIMES, document, selector
from tests.property.generators import first_of_each_key, inventory, local_scopes, places
from tests.property.oracle_inheritance import Document, World, settings_in_force
from tests.property.planner_worlds import site_inputs
from tests.property.profile import rolls

KIND = "ServicePolicy"
NAMES = ("base", "edge")


@given(data=st.data())
def test_settings_are_the_oracles(data: st.DataObject) -> None:
    assert_settings(settings_world(Drawn(data.draw)))


def test_settings_by_dice_are_the_oracles() -> None:
    for seed in rolls(300):
        assert_settings(settings_world(Rolled(seed)))


def assert_settings(world: World) -> None:
    planner = SitePlanner(site_inputs(world, SITE, NOW))
    for asking in views(world):
        expected = settings_in_force(asking, KIND)
        chain = planner.view(asking.node, staged=asking.staged).chain
        inheritance = planner.inheritance(staged=asking.staged)
        got = effective_settings(inheritance, planner.definitions, KIND, chain)
        assert {
            name.name: (each.scope, each.spec.to_json()["services"]) for name, each in got.items()
        } == {name: (scope, spec["services"]) for name, (scope, spec) in expected.items()}


def settings_world(choose: Choices) -> World:
    federation, local = places(choose), inventory(choose)
    above = first_of_each_key(
        choose.some(
            lambda: settings(choose, ("federation", *(f"region/{name}" for name in REGIONS))), 0, 6
        ),
        "federation",
    )
    for each in above:
        if choose.chance(70):
            each["spec"]["enforcement"] = choose.pick(("mandatory", "default", "default"))
        if choose.chance(30):
            each["spec"]["sites"] = selector(choose)
    scopes = local_scopes(local)
    own = first_of_each_key(choose.some(lambda: settings(choose, scopes), 0, 4), "site")
    replaced = {each["metadata"]["name"] for each in own}
    free = [name for name in NAMES if name not in replaced]
    exceptions = choose.some(lambda: exception(choose, scopes, free), 0, 3) if free else []
    here = [*local, *own, *first_of_each_key(exceptions, "site")]
    return {"federation": [*federation, *above], "sites": {SITE: here}, "tests": []}


def services(choose: Choices) -> dict[str, Any]:
    """Return services that tell one document from another."""
    return {"services": {f"service-{choose.number(0, 999)}": "mandatory"}}


def settings(choose: Choices, scopes: tuple[str, ...]) -> Document:
    metadata = {"name": choose.pick(NAMES), "scope": choose.pick(scopes)}
    return document(KIND, metadata, services(choose))


def exception(choose: Choices, scopes: tuple[str, ...], names: list[str]) -> Document:
    name, scope = choose.pick(names), choose.pick(scopes)
    spec = {"target": {"kind": KIND, "name": name}, "reason": "here", "spec": services(choose)}
    expires = choose.pick(TIMES)
    if expires is not None:
        spec["expiresAt"] = expires
    return document("Override", {"name": f"{name}-{scope.replace('/', '.')}", "scope": scope}, spec)
