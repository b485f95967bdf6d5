"""What somebody sees of a site who may see some tenants only: exactly his own, and nothing else."""

from typing import Any

import pytest
from hypothesis import given

from sdsp.site.sight import Sight
from shared.ids import COMMON, Key
from shared.model.kinds import KINDS
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, SiteInputs
from tests.property.borders import views
from tests.property.generated_documents import NOW, SITE
from tests.property.generators import rolled_world, worlds
from tests.property.oracle_inheritance import World
from tests.property.planner_worlds import site_inputs
from tests.property.profile import rolls

RIVAL = "zqrival"
LABELS = {"env": "prod", "tier": "web", "app": "a", "zone": "core"}


@given(world=worlds())
def test_ones_own_rules_are_the_sites_own(world: World) -> None:
    assert_own_rules(world)


@given(world=worlds())
def test_another_tenants_objects_change_nothing(world: World) -> None:
    assert_no_influence(world)


def test_worlds_by_dice_are_seen_alike() -> None:
    own = 0
    for seed in rolls(60):
        own += assert_own_rules(rolled_world(seed))
        assert_no_influence(rolled_world(seed))
    assert own > 50, "tenants' rules were met"


def sights(inputs: SiteInputs) -> list[Sight]:
    tenants = sorted({document.key.tenant for document in inputs} - {COMMON})
    return [
        Sight(frozenset(seen))
        for tenant in [*tenants, "nobody"]
        for seen in ({tenant}, {tenant, COMMON})
    ]


def assert_own_rules(world: World) -> int:
    """Return how many rules of tenants were compared with the whole site's."""
    inputs = site_inputs(world, SITE, NOW)
    whole, compared = SitePlanner(inputs), 0
    for sight in sights(inputs):
        planner = sight.planner(whole)
        assert sight.tenants is not None
        own = sight.tenants - {COMMON}
        for asking in views(world):
            everything = whole.plan(asking.node, staged=asking.staged).to_json()
            found = sight.resolved(planner, asking.node, staged=asking.staged)
            positions = [rule["position"] for rule in found["rules"]]
            assert positions == list(range(1, len(positions) + 1))
            for part in ("rules", "unresolved"):
                assert of(own, found[part]) == of(own, everything[part])
                assert {each["tenant"] for each in found[part]} <= sight.tenants
            for rule in found["rules"]:
                assert {name["tenant"] for name in rule["names"]} <= sight.tenants | {COMMON}
            compared += len(of(own, found["rules"]))
    return compared


def of(tenants: frozenset[str], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name != "position"}
        for row in rows
        if row["tenant"] in tenants
    ]


def assert_no_influence(world: World) -> None:
    inputs = site_inputs(world, SITE, NOW)
    more = SiteInputs(
        inputs.site,
        inputs.federation.changed(put=[rivals("Network", "federation", subnets=["198.18.0.0/16"])]),
        inputs.local.changed(put=[*locally()]),
        inputs.now,
    )
    before, after = SitePlanner(inputs), SitePlanner(more)
    for sight in sights(inputs):
        one, other = sight.planner(before), sight.planner(after)
        for asking in views(world):
            told = [
                sight.resolved(each, asking.node, staged=asking.staged) for each in (one, other)
            ]
            assert told[0] == told[1]


def locally() -> list[Document]:
    rule = {"name": "r", "from": [{"networks": {}}], "to": "any", "action": "deny"}
    return [
        rivals("Network", "site", name="near", subnets=["198.19.0.0/24"]),
        rivals("Workload", "site", addresses=["198.19.0.7"]),
        rivals("SecurityPolicy", "site", rules=[rule], priority=100),
    ]


def rivals(kind: str, scope: str, name: str = "zq", **spec: Any) -> Document:
    key = Key(kind, RIVAL, scope, name)
    return Document(key, KINDS[kind].spec.model_validate(spec), LABELS)


def test_the_whole_sight_is_the_whole_site() -> None:
    planner = SitePlanner(site_inputs(rolled_world(1), SITE, NOW))
    assert Sight().planner(planner) is planner
    assert Sight().resolved(planner, None, staged=False) == planner.plan().to_json()


@pytest.mark.parametrize("tenant", ["acme", COMMON])
def test_an_exception_is_its_targets(tenant: str) -> None:
    spec = {
        "target": {"kind": "SecurityPolicy", "tenant": tenant, "name": "p"},
        "reason": "x",
        "spec": {"rules": []},
    }
    override = rivals("Override", "site", **spec)
    assert Sight(frozenset({"acme"})).rests_on(override)
    assert Sight(frozenset({"other"})).rests_on(override) == (tenant == COMMON)
