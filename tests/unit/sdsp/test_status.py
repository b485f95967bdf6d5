"""What became of each policy at a site."""

import pytest

from sdsp.nodes.publication import Published
from sdsp.nodes.states import NodeState
from sdsp.status import PolicyStatus, UnresolvedReference, policy_statuses
from shared.ids import Generation, Key
from shared.policy.nodeconfig import NodeConfiguration, NodeRule

POLICY = Key("SecurityPolicy", "common", "federation", "web")


def published(node: str, policy: str = "web") -> Published:
    rule = NodeRule("0" * 16, "default", "common", policy, "in", "federation", "allow")
    configuration = NodeConfiguration(node, "deny", ("10.0.0.1/32",), {}, (rule,))
    return Published(configuration, Generation(3), "hash")


def status(
    states: dict[str, NodeState], unresolved: list[UnresolvedReference] | None = None, **more: bool
) -> PolicyStatus:
    (result,) = policy_statuses(
        [POLICY],
        published={name: published(name) for name in states},
        states=states,
        unresolved={("common", "web"): unresolved or []},
        suspended=frozenset([POLICY] if more.get("suspended") else []),
        held=frozenset([POLICY] if more.get("held") else []),
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


def test_suspended_and_held_policies_say_so() -> None:
    assert status({"n": ENFORCES}, suspended=True).state == "suspended"
    assert status({"n": ENFORCES}, held=True).state == "held"
