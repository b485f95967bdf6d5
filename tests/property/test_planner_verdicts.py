"""The planner gives every flow the verdict that the contract's plain reading gives it."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from shared.policy.compile import SitePlanner
from shared.policy.verdict import FlowJudge, judge
from tests.property import oracle
from tests.property.borders import flows, views
from tests.property.generated_documents import NOW, SITE
from tests.property.generators import rolled_world, worlds
from tests.property.oracle_inheritance import World
from tests.property.oracle_printed import resolved
from tests.property.planner_worlds import judgement, packet, site_inputs
from tests.property.profile import rolls

SEEDS = st.integers(0, 2**16)


@given(world=worlds(), seed=SEEDS)
def test_flows_on_the_borders_of_rules_get_the_oracles_verdict(world: World, seed: int) -> None:
    assert_verdicts(world, seed)


@given(world=worlds())
def test_rules_names_and_gaps_are_the_oracles(world: World) -> None:
    assert_resolved(world)


def test_worlds_by_dice_get_the_oracles_answers_too() -> None:
    for seed in rolls(100):
        world = rolled_world(seed)
        assert_resolved(world)
        assert_verdicts(world, seed)


def assert_verdicts(world: World, seed: int) -> None:
    planner = SitePlanner(site_inputs(world, SITE, NOW))
    for asking in views(world):
        seen = oracle.view(asking)
        plan = planner.plan(asking.node, staged=asking.staged)
        quick = FlowJudge(plan)
        for flow in flows(Random(seed), world, seen, 25):
            expected = oracle.judge(seen, flow)
            place = (seed, asking.node, asking.staged, flow)
            assert judgement(quick.judge(packet(flow))) == expected, place
            assert judgement(judge(plan, packet(flow)).decision) == expected, place


def assert_resolved(world: World) -> None:
    planner = SitePlanner(site_inputs(world, SITE, NOW))
    for asking in views(world):
        expected = resolved(asking)
        got = planner.plan(asking.node, staged=asking.staged).to_json()
        assert {key: got[key] for key in expected} == expected
