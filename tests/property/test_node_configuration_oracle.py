"""Each node enforces exactly the oracle's view of its own workloads' traffic."""

import copy
from ipaddress import ip_network
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.policy.nodeconfig import Judge, NodeConfiguration, from_json, to_json
from shared.policy.nodedelta import apply_delta, compute_delta
from shared.policy.nodeplan import all_node_configurations, node_configuration
from tests.property import oracle
from tests.property.borders import flows
from tests.property.generated_documents import NODES, NOW, SITE, V4, V6
from tests.property.generators import rolled_world, worlds
from tests.property.oracle_inheritance import Asking, World
from tests.property.oracle_printed import minimal
from tests.property.planner_worlds import packet, site_inputs
from tests.property.profile import rolls

SEEDS = st.integers(0, 2**16)


@given(world=worlds(), seed=SEEDS)
def test_a_node_enforces_the_oracles_view(world: World, seed: int) -> None:
    assert_enforced(world, seed)


def test_nodes_of_worlds_by_dice_enforce_the_oracles_view() -> None:
    for seed in rolls(80):
        assert_enforced(rolled_world(seed), seed)


@given(world=worlds(), seed=SEEDS)
def test_a_workload_that_moves_changes_members_and_no_rule(world: World, seed: int) -> None:
    assert_stable(world, seed)


def test_workloads_of_worlds_by_dice_move_without_changing_a_rule() -> None:
    for seed in rolls(60):
        assert_stable(rolled_world(seed), seed)


def test_a_delta_leads_from_any_configuration_to_any_other() -> None:
    have = node_configuration(site_inputs(rolled_world(0), SITE, NOW), "n1")
    for seed in rolls(60):
        want = node_configuration(site_inputs(rolled_world(seed), SITE, NOW), "n1")
        assert apply_delta(have, compute_delta(have, want)) == want
        have = want


def assert_enforced(world: World, seed: int) -> None:
    inputs = site_inputs(world, SITE, NOW)
    configurations = all_node_configurations(inputs)
    for node in NODES:
        asking = Asking(world, SITE, node, NOW)
        configuration = node_configuration(inputs, node)
        own = oracle.workload_addresses(asking)
        assert configurations.get(node, configuration) == configuration
        assert_rules(asking, configuration, own)
        assert from_json(to_json(configuration)) == configuration
        assert_judged(asking, configuration, own, Random(seed))


def assert_rules(asking: Asking, configuration: NodeConfiguration, own: list[Any]) -> None:
    """The node has those rules of its view that touch its traffic, in order, and their sets."""
    touching = [rule for rule in oracle.view(asking).rules if oracle.rule_touches(rule, own)]
    assert [
        (rule.tier, rule.tenant, rule.policy, rule.rule, rule.origin, rule.action, rule.log)
        for rule in configuration.rules
    ] == [
        (
            *(rule.policy.tier, rule.policy.tenant, rule.policy.name, rule.name),
            *(rule.policy.origin, rule.action, rule.log),
        )
        for rule in touching
    ]
    used = set()
    for got, expected in zip(configuration.rules, touching, strict=True):
        for name, members in (
            (got.source, expected.source),
            (got.destination, expected.target),
            (got.within, "any" if expected.within is None else expected.within),
        ):
            assert (name is None) == (members == "any")
            if name is not None:
                assert list(configuration.sets[name]) == minimal(members)
                used.add(name)
    assert used == set(configuration.sets)
    assert list(configuration.addresses) == minimal([ip_network(address) for address in own])


def assert_judged(
    asking: Asking, configuration: NodeConfiguration, own: list[Any], random: Random
) -> None:
    seen = oracle.view(asking)
    judge = Judge(configuration)
    tried = flows(random, asking.world, seen, 40)
    for flow in [*tried, *(aimed(flow, own, random) for flow in tried if own)]:
        got = judge.judge(packet(flow))
        if not oracle.touches(asking, flow):
            assert got is None, flow
            continue
        expected = oracle.judge(seen, flow)
        assert got is not None, flow
        rule = got.rule
        if rule is None:
            assert expected.tier == "site"
            assert got.verdict == expected.verdict
            continue
        said = oracle.Judgement(got.verdict, rule.tier, rule.tenant, rule.policy, rule.rule)
        assert said == expected, flow


def aimed(flow: dict[str, Any], own: list[Any], random: Random) -> dict[str, Any]:
    """Return the flow with one end at a workload of the node."""
    end = random.choice(("from", "to"))
    family = 6 if ":" in flow["from"] else 4
    hosts = [address for address in own if address.version == family]
    return flow | {end: str(random.choice(hosts))} if hosts else flow


def assert_stable(world: World, seed: int) -> None:
    """Give one workload another address; rules that stay are the same, ids of sets included."""
    moved = copy.deepcopy(world)
    random = Random(seed)
    movable = [
        each
        for each in moved["sites"][SITE]
        if each["kind"] == "Workload" and each["spec"].get("addresses")
    ]
    if not movable:
        return
    chosen = random.choice(movable)
    tenant = chosen["metadata"].get("tenant", "common")
    pool = random.choice((V4, V6))[tenant]
    chosen["spec"]["addresses"][0] = pool.format(random.randrange(256))
    before, after = site_inputs(world, SITE, NOW), site_inputs(moved, SITE, NOW)
    for node in NODES:
        have, want = node_configuration(before, node), node_configuration(after, node)
        kept = {rule.id: rule for rule in have.rules}
        assert all(kept.get(rule.id, rule) == rule for rule in want.rules)
        assert apply_delta(have, compute_delta(have, want)) == want
