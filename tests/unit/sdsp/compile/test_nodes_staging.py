"""What nodes are told of staged policies, and which agents are told."""

import orjson

from sdsp.compile.nodes import Changes, CompiledNodes
from shared.feed import knows
from shared.policy.nodedelta import apply_delta
from tests.unit.sdsp.compile.test_nodes import (
    OBJECTS,
    POLICY,
    change,
    load,
    nodes,
    some,
    sources,
    whole,
)
from tests.unit.sdsp.world import global_, policy, rule, to_network

__all__ = ["nodes"]

STAGED = {global_("SecurityPolicy", "no"): policy(rule(to=to_network("A"), action="deny"))}
for _spec in STAGED.values():
    _spec |= {"stage": "staged", "priority": 100}


def stage(nodes: CompiledNodes, generation: int = 4) -> None:
    """Let the first staged policy come, as the compiler does: everything is loaded."""
    assert not nodes.takes(sources(STAGED))
    load(nodes, generation, {**OBJECTS, **STAGED})


def test_the_first_that_is_staged_calls_for_loading_everything_and_others_do_not(
    nodes: CompiledNodes,
) -> None:
    assert nodes.takes(sources({POLICY: policy(rule(action="deny"))}))
    stage(nodes)
    assert nodes.takes(sources(STAGED))


def test_only_a_node_that_it_concerns_is_told(nodes: CompiledNodes) -> None:
    stage(nodes)
    generation, told = whole(nodes, "n1")
    assert generation == 4
    assert told.staged is not None
    assert [each.policy for each in told.rules] == ["p"]
    assert [each.policy for each in told.staged.rules] == ["no", "p"]
    assert whole(nodes, "n2")[0] == 3
    assert whole(nodes, "n2")[1].staged is None


def test_a_change_of_what_is_staged_is_a_line_like_any_other(nodes: CompiledNodes) -> None:
    stage(nodes)
    _, before = whole(nodes, "n1")
    (key, spec) = next(iter(STAGED.items()))
    found = some(change(nodes, 5, {key: {**spec, "priority": 900}})).nodes["n1"]
    assert found.line is not None
    assert apply_delta(before, orjson.loads(found.line)["delta"]) == whole(nodes, "n1")[1]
    found = some(change(nodes, 6, {}, key)).nodes["n1"]
    assert found.line is not None
    delta = orjson.loads(found.line)["delta"]
    assert delta["staged"] is None
    assert "rules" not in delta, "what is enforced stays"
    assert whole(nodes, "n1")[1].staged is None


def test_an_agent_that_cannot_count_goes_on_as_if_nothing_were_staged(
    nodes: CompiledNodes,
) -> None:
    _, before = whole(nodes, "n1")
    stage(nodes)
    changes = nodes.able("n1", frozenset())
    assert changes.nodes["n1"].line is None
    assert whole(nodes, "n1")[1] == before
    assert nodes.able("n1", frozenset()).nodes == {}
    assert _hash(nodes.able("n1", frozenset({knows.STAGED})), "n1") == whole(nodes, "n1")[1].hash()
    assert whole(nodes, "n1")[1].staged is not None
    assert nodes.able("unheard-of", frozenset()).nodes == {}


def _hash(changes: Changes, node: str) -> str:
    return changes.nodes[node].published.hash
