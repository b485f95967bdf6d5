"""A PolicyTest holds if, and only if, trying every class of packets says so."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.policy.compile import SitePlanner
from shared.policy.nodeconfig import Packet
from shared.policy.policytest import FlowResult, run_test
from tests.property import oracle
from tests.property.borders import views
from tests.property.choices import Choices, Drawn, Rolled
from tests.property.generated_documents import NOW, SITE, policy_test
from tests.property.generators import made_world
from tests.property.oracle_inheritance import Asking
from tests.property.oracle_policytest import outcomes
from tests.property.planner_worlds import (
    flow_of,
    judgement,
    packet,
    planner_document,
    site_inputs,
)
from tests.property.profile import rolls

ACCEPTED = {"allow": {"allow"}, "deny": {"deny", "reject"}, "reject": {"reject"}}


@given(data=st.data())
def test_a_policy_test_holds_where_trying_packets_says_so(data: st.DataObject) -> None:
    assert_outcomes(Drawn(data.draw))


def test_policy_tests_by_dice_hold_where_trying_packets_says_so() -> None:
    for seed in rolls(50):
        assert_outcomes(Rolled(seed))


def assert_outcomes(choose: Choices) -> None:
    world = made_world(choose)
    planner = SitePlanner(site_inputs(world, SITE, NOW))
    for asking in views(world):
        test = policy_test(choose, asking.node)
        results = run_test(planner_document(test, "federation"), planner, staged=asking.staged)
        assert [each.holds for each in results] == outcomes(test, asking), test["spec"]
        for result, expected in zip(results, test["spec"]["flows"], strict=True):
            assert_examples(asking, result, expected)


def assert_examples(asking: Asking, result: FlowResult, expected: dict[str, Any]) -> None:
    """What a result shows is so; and a mixed outcome shows one packet of each kind."""
    seen = oracle.view(asking)
    for outcome in result.outcomes:
        assert judgement(outcome.decision) == oracle.judge(seen, flow_of(outcome.example))
        assert packet(flow_of(outcome.example)) == outcome.example
    verdicts = {outcome.decision.verdict for outcome in result.outcomes}
    if result.outcomes:
        assert result.holds == (verdicts <= ACCEPTED[expected["expect"]])


def test_an_example_is_a_packet_of_the_flow_that_it_speaks_for() -> None:
    example = Packet(4, 0x0A000001, 0x0A000002, 6, 1024, 80)
    assert packet(flow_of(example)) == example
