"""What became of each policy at a site."""

import pytest

from sdsp.compile.facts import Idle, PolicyFacts, UnresolvedReference
from sdsp.compile.nodes import PolicyNames, Published
from sdsp.nodes.states import NodeState
from sdsp.status import NodeStanding, PolicyStatus, policy_statuses
from shared.ids import Generation, Key

POLICY = Key("SecurityPolicy", "common", "federation", "web")


def policies(*names: str) -> PolicyNames:
    return frozenset(("common", name) for name in names)


def published(*names: str) -> Published:
    return Published(Generation(3), "hash", policies(*names))


def status(
    states: dict[str, NodeState],
    unresolved: list[UnresolvedReference] | None = None,
    *,
    idle: Idle | None = None,
    held: bool = False,
) -> PolicyStatus:
    nodes = {
        name: NodeStanding(published("web"), state, policies("web"))
        for name, state in states.items()
    }
    (result,) = policy_statuses(
        [PolicyFacts(POLICY, 7, idle, unresolved or ())],
        nodes,
        held=frozenset([POLICY] if held else []),
    )
    return result


ENFORCES = NodeState(outcome="ack", hash="hash", read_back="hash")
REFUSED = NodeState(outcome="nack", hash="older", read_back="older", code="data_plane_refused")
DRIFTS = NodeState(outcome="ack", hash="hash", read_back="else")
BEHIND = NodeState(outcome="ack", hash="older", read_back="older")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param([], ("realised", 0, 0, {}), id="no node has rules of it"),
        pytest.param([ENFORCES], ("realised", 1, 0, {}), id="enforced"),
        pytest.param([ENFORCES, BEHIND], ("pending", 1, 1, {}), id="one is behind"),
        pytest.param([NodeState()], ("pending", 0, 1, {}), id="never heard of"),
        pytest.param(
            [ENFORCES, REFUSED], ("failed", 1, 0, {"n1": "data_plane_refused"}), id="refused"
        ),
        pytest.param([DRIFTS], ("failed", 0, 0, {"n0": "drift"}), id="drifts"),
    ],
)
def test_a_policy_is_realised_when_every_node_reads_it_back(
    states: list[NodeState], expected: tuple[object, ...]
) -> None:
    found = status({f"n{number}": state for number, state in enumerate(states)})
    assert (found.state, found.realised, found.pending, found.failing) == expected


def test_a_policy_whose_deny_is_not_installed_is_never_realised() -> None:
    deny = UnresolvedReference("r", "to", "network:Cache", fails_open=True)
    assert status({"n": ENFORCES}, [deny]).state == "partial"


def test_a_policy_whose_allow_is_not_installed_is_realised_and_says_what_is_missing() -> None:
    allow = UnresolvedReference("r", "to", "network:Cache", fails_open=False)
    found = status({"n": ENFORCES}, [allow])
    assert (found.state, found.unresolved) == ("realised", [allow])


@pytest.mark.parametrize("idle", ["suspended", "replaced", "staged"])
def test_a_policy_that_is_not_in_force_says_why(idle: Idle) -> None:
    assert status({"n": ENFORCES}, idle=idle).state == idle


def test_a_held_policy_says_so() -> None:
    assert status({"n": ENFORCES}, held=True).state == "held"


def test_a_policy_is_pending_while_a_node_that_is_to_lose_its_rules_still_has_them() -> None:
    late = NodeStanding(published(), BEHIND, policies("web"))
    (found,) = policy_statuses([PolicyFacts(POLICY)], {"n": late})
    assert (found.state, found.total) == ("pending", 1)


def test_a_node_that_enforces_nobody_knows_what_is_waited_for_by_every_policy() -> None:
    unknown = NodeStanding(published(), BEHIND, None)
    (found,) = policy_statuses([PolicyFacts(POLICY)], {"n": unknown})
    assert (found.state, found.total) == ("pending", 1)


def test_a_node_that_has_never_enforced_anything_is_waited_for_by_its_own_policies_only() -> None:
    fresh = NodeStanding(published(), NodeState(), None)
    (found,) = policy_statuses([PolicyFacts(POLICY)], {"n": fresh})
    assert (found.state, found.total) == ("realised", 0)
