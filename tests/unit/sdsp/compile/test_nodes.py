"""What the compiled nodes hand out: lines that lead from hash to hash, and whole configurations."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from sdsp.compile.nodes import Changes, CompiledNodes
from shared.errors import NotFound
from shared.ids import Generation, Key
from shared.policy.loaded.source import Source
from shared.policy.nodeconfig import NodeConfiguration, from_json
from shared.policy.nodedelta import apply_delta
from tests.unit.sdsp.world import SITE, global_, key, policy, rule, to_network

NOW = datetime(2026, 1, 1, tzinfo=UTC)

N1, N2, W = key("Node", "n1"), key("Node", "n2"), key("Workload", "w")
POLICY = global_("SecurityPolicy", "p")

OBJECTS: Mapping[Key, Mapping[str, Any]] = {
    SITE: {},
    global_("Network", "A"): {"subnets": ["10.0.0.0/24"]},
    N1: {},
    N2: {},
    W: {"addresses": ["10.0.0.5"], "node": "n1"},
    POLICY: policy(rule(to=to_network("A"))),
}


def sources(objects: Mapping[Key, Mapping[str, Any]]) -> list[Source]:
    return [Source(each, spec, {}) for each, spec in objects.items()]


def load(
    nodes: CompiledNodes, generation: int, objects: Mapping[Key, Mapping[str, Any]] = OBJECTS
) -> Changes | None:
    return nodes.load(sources(objects), generation=Generation(generation), now=NOW)


def change(
    nodes: CompiledNodes,
    generation: int,
    put: Mapping[Key, Mapping[str, Any]],
    *delete: Key,
    now: datetime = NOW,
) -> Changes | None:
    return nodes.change(sources(put), delete, generation=Generation(generation), now=now)


def some(changes: Changes | None) -> Changes:
    assert changes is not None
    return changes


def whole(nodes: CompiledNodes, node: str) -> tuple[int, NodeConfiguration]:
    found = nodes.snapshot(node)
    assert found is not None
    published, line = found
    frame = orjson.loads(line)
    assert line.endswith(b"\n")
    assert (frame["generation"], frame["hash"]) == (published.generation, published.hash)
    configuration = from_json(frame["snapshot"])
    assert configuration.hash() == published.hash
    return published.generation, configuration


@pytest.fixture
def nodes() -> CompiledNodes:
    nodes = CompiledNodes("s1")
    load(nodes, 3)
    return nodes


def test_a_site_that_has_not_heard_of_itself_has_nothing() -> None:
    nodes = CompiledNodes("s1")
    assert load(nodes, 1, {N1: {}}) is None
    assert not nodes.is_loaded
    assert nodes.snapshot("n1") is None


def test_loading_names_every_admitted_node() -> None:
    changes = some(load(CompiledNodes("s1"), 3, {**OBJECTS, N2: {"admission": "pending"}}))
    assert changes.is_whole
    assert list(changes.nodes) == ["n1"]
    found = changes.nodes["n1"]
    assert (found.published.generation, found.line) == (3, None)
    assert found.published.policies == {("common", "p")}


def test_loading_again_keeps_the_generation_of_what_is_the_same(nodes: CompiledNodes) -> None:
    again = some(load(nodes, 9, {**OBJECTS, W: {"addresses": ["10.0.0.6"], "node": "n1"}}))
    assert again.nodes["n1"].published.generation == 9
    assert again.nodes["n2"].published.generation == 3


def test_a_change_is_a_line_from_the_hash_before(nodes: CompiledNodes) -> None:
    _, before = whole(nodes, "n1")
    changes = some(change(nodes, 4, {W: {"addresses": ["10.0.0.6"], "node": "n1"}}))
    assert list(changes.nodes) == ["n1"], "nobody else is concerned"
    found = changes.nodes["n1"]
    assert found.base == before.hash()
    assert found.line is not None
    frame = orjson.loads(found.line)
    assert (frame["generation"], frame["hash"]) == (4, found.published.hash)
    assert (4, apply_delta(before, frame["delta"])) == whole(nodes, "n1")
    assert whole(nodes, "n2")[0] == 3


def test_what_changes_nothing_for_nodes_is_no_change(nodes: CompiledNodes) -> None:
    changes = some(change(nodes, 4, {key("Network", "Z"): {"subnets": ["10.9.0.0/16"]}}))
    assert (changes.nodes, changes.gone, changes.is_whole) == ({}, [], False)
    assert whole(nodes, "n1")[0] == 3


def test_a_node_that_is_admitted_gets_the_whole(nodes: CompiledNodes) -> None:
    changes = some(change(nodes, 4, {key("Node", "n3"): {}}))
    assert changes.nodes["n3"].line is None
    assert whole(nodes, "n3")[0] == 4


def test_a_node_that_is_admitted_no_longer_is_gone(nodes: CompiledNodes) -> None:
    changes = some(change(nodes, 4, {}, N1))
    assert (list(changes.nodes), changes.gone) == ([], ["n1"])
    assert nodes.snapshot("n1") is None
    assert some(change(nodes, 5, {N1: {}})).nodes["n1"].line is None


def test_time_alone_changes_nodes_when_an_override_ends(nodes: CompiledNodes) -> None:
    over = {
        "target": {"kind": "Network", "name": "A"},
        "reason": "a test",
        "expiresAt": "2026-02-01T00:00:00Z",
        "spec": {"subnets": ["10.7.0.0/16"]},
    }
    change(nodes, 4, {key("Override", "o"): over})
    assert [*whole(nodes, "n1")[1].sets.values()] == [("10.7.0.0/16",)]
    changes = some(change(nodes, 5, {}, now=datetime(2026, 1, 31, tzinfo=UTC)))
    assert changes.nodes == {}
    changes = some(change(nodes, 6, {}, now=datetime(2026, 2, 1, tzinfo=UTC)))
    assert list(changes.nodes) == ["n1"]
    assert [*whole(nodes, "n1")[1].sets.values()] == [("10.0.0.0/24",)]


def test_policies_are_those_that_a_node_has_rules_of(nodes: CompiledNodes) -> None:
    found = some(change(nodes, 4, {}, POLICY))
    assert found.nodes["n1"].published.policies == frozenset()
    found = some(change(nodes, 5, {POLICY: OBJECTS[POLICY]}))
    assert found.nodes["n1"].published.policies == {("common", "p")}


def test_without_its_site_nothing_is_loaded(nodes: CompiledNodes) -> None:
    assert change(nodes, 4, {}, SITE) is None
    assert not nodes.is_loaded
    assert nodes.snapshot("n1") is None
    assert some(load(nodes, 5)).nodes["n1"].published.generation == 5


def test_after_a_change_that_failed_nothing_is_loaded(nodes: CompiledNodes) -> None:
    bad = {W: {"addresses": ["nonsense"], "node": "n1"}}
    with pytest.raises((OSError, ValueError, NotFound)):
        change(nodes, 4, bad)
    assert not nodes.is_loaded
    assert nodes.snapshot("n1") is None
    # What is as it was before keeps its generation: the nodes have it.
    assert some(load(nodes, 5)).nodes["n1"].published.generation == 3
