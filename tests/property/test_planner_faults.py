"""Worlds that break no rule are found faultless, whatever else is in them."""

from hypothesis import given

from shared.policy.faults.fault import Fault
from shared.policy.faults.federation import federation_address_faults, federation_faults
from shared.policy.faults.site import site_faults, site_warnings
from tests.property.generated_documents import NOW, SITE
from tests.property.generators import rolled_world, worlds
from tests.property.oracle_inheritance import World
from tests.property.planner_worlds import site_inputs
from tests.property.profile import rolls


@given(world=worlds(live=False))
def test_a_world_that_breaks_no_rule_has_no_fault(world: World) -> None:
    assert faults(world) == []


def test_worlds_by_dice_that_break_no_rule_have_no_fault() -> None:
    for seed in rolls(150):
        assert faults(rolled_world(seed, live=False)) == [], seed


def faults(world: World) -> list[Fault]:
    inputs = site_inputs(world, SITE, NOW)
    for warning in site_warnings(inputs):
        assert warning.code in {"unresolved_name", "no_target"}
    return [
        *federation_faults(inputs.federation),
        *federation_address_faults(inputs.federation),
        *site_faults(inputs),
    ]
