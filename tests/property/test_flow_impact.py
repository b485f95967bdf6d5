"""Verdicts of many observed flows at once, and which of them a change turns, against the slow
reading of the contract: flow by flow, at the nodes of both ends.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from ipaddress import ip_address
from random import Random
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared.policy.column_judge import ColumnJudge
from shared.policy.compile import SitePlanner
from shared.policy.flow_columns import FlowColumns, Observed
from shared.policy.impact.site import site_impact
from shared.policy.plan import Plan
from shared.policy.verdict import Decision
from shared.telemetry.flow_lines import FlowReader
from tests.property import oracle
from tests.property.borders import flows, views
from tests.property.choices import Choices, Rolled
from tests.property.generated_documents import NODES, NOW, SITE, edited
from tests.property.generators import made_world, rolled_world, worlds
from tests.property.oracle_inheritance import Asking, World
from tests.property.planner_worlds import judgement, packet, site_inputs
from tests.property.profile import rolls

SEEDS = st.integers(0, 2**16)
ROWS = (64, 4096)
"""How many rows are judged at a time: few, so that the first match may be in any part."""


def columns(given: list[dict[str, Any]]) -> FlowColumns:
    reader = FlowReader("flows")
    reader.read("\n".join(map(json.dumps, given)).encode())
    assert reader.faults == []
    return reader.columns()


@given(world=worlds(), seed=SEEDS)
def test_many_flows_at_once_get_the_oracles_verdicts(world: World, seed: int) -> None:
    assert_verdicts(world, seed)


def test_worlds_by_dice_with_many_rules_get_the_oracles_verdicts() -> None:
    for seed in rolls(4):
        assert_verdicts(crowded(seed), seed)


def assert_verdicts(world: World, seed: int) -> None:
    planner = SitePlanner(site_inputs(world, SITE, NOW))
    for asking in views(world):
        seen = oracle.view(asking)
        plan = planner.plan(asking.node, staged=asking.staged)
        asked = flows(Random(seed), world, seen, 60)
        read = columns(asked)
        places = {read.packet(place): place for place in range(len(read))}
        assert set(places) == set(map(packet, asked))
        for rows in ROWS:
            decided = ColumnJudge(plan, rows=rows).decide(read, np.arange(len(read)))
            for flow in asked:
                found = int(decided[places[packet(flow)]])
                assert judgement(decision(plan, found)) == oracle.judge(seen, flow), flow


def decision(plan: Plan, place: int) -> Decision:
    if place < 0:
        return Decision(plan.default_action, "site", None)
    rule = plan.rules[place]
    assert rule.action != "pass"
    return Decision(rule.action, rule.tier, rule)


def crowded(seed: int) -> World:
    """Return a world with some hundred rules."""
    world = made_world(Rolled(seed))
    for other in range(1000, 1030):
        more = rolled_world(seed + other)
        for part, mine in (
            (more["federation"], world["federation"]),
            (more["sites"][SITE], world["sites"][SITE]),
        ):
            for each in part:
                if each["kind"] == "SecurityPolicy":
                    name = f"{each['metadata']['name']}-{other}"
                    mine.append({**each, "metadata": {**each["metadata"], "name": name}})
    return world


def test_the_flows_that_a_change_turns_are_those_of_the_oracle() -> None:
    turned = 0
    for seed in rolls(7):
        choose = Rolled(seed)
        world = crowded(seed) if seed % 4 == 0 else made_world(choose)
        turned += assert_impact(world, changed(choose, world), seed)
    assert turned, "no flow changed: the test says nothing"


def changed(choose: Choices, world: World) -> World:
    """Return another version: policies edited, workloads at other nodes, nodes not admitted."""
    after = deepcopy(world)
    for documents in (after["federation"], after["sites"][SITE]):
        for each in documents:
            spec = each["spec"]
            if each["kind"] == "SecurityPolicy" and choose.chance(40):
                each["spec"] = edited(choose, spec)
            if each["kind"] == "Workload" and choose.chance(30):
                spec["node"] = choose.pick(NODES)
            if each["kind"] == "Node" and choose.chance(20):
                spec["admission"] = choose.pick(("admitted", "refused"))
    return after


def assert_impact(before: World, after: World, seed: int) -> int:
    old, new = (SitePlanner(site_inputs(each, SITE, NOW)) for each in (before, after))
    turned = 0
    for staged in (False, True):
        asked = [
            flow
            for world in (before, after)
            for node in (None, *NODES)
            for flow in flows(
                Random(seed), world, oracle.view(Asking(world, SITE, node, NOW, staged)), 12
            )
        ]
        for number, flow in enumerate(asked):
            flow["bytes"] = 10**number if number < 18 else 7
        observed = Observed(columns(asked))
        for node in (None, *NODES):
            impact = site_impact(old, new, node=node, staged=staged, observed=observed)
            assert impact.flows is not None
            was, becomes = (outcome(world, node, staged=staged) for world in (before, after))
            allowed = [each for each in asked if becomes(each) and not was(each)]
            denied = [each for each in asked if was(each) and not becomes(each)]
            for found, expected in ((impact.flows.allowed, allowed), (impact.flows.denied, denied)):
                assert found.flows == len(expected), (seed, node, staged)
                assert found.octets == (sum(each["bytes"] for each in expected) or None)
                assert_examples(found.examples, expected, truncated=found.truncated)
            if node is not None:
                # What one node sees is what `packets` are counted of.
                for flow in asked:
                    assert (packet(flow) in impact.allowed) == (flow in allowed)
                    assert (packet(flow) in impact.denied) == (flow in denied)
            turned += len(allowed) + len(denied)
    return turned


def assert_examples(
    found: tuple[dict[str, Any], ...], expected: list[dict[str, Any]], *, truncated: bool
) -> None:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for flow in expected:
        groups.setdefault(packet(flow)[:4] + packet(flow)[5:], []).append(flow)
    assert truncated == (len(groups) > len(found))
    heaviest = sorted(sum(each["bytes"] for each in group) for group in groups.values())[::-1]
    assert [each["bytes"] for each in found] == heaviest[: len(found)]
    for each in found:
        flow = {name: each[name] for name in ("from", "to", "protocol", "port") if name in each}
        group = groups[packet(flow)[:4] + packet(flow)[5:]]
        assert each["flows"] == len(group)
        assert (each["before"]["verdict"] == "allow") != (each["after"]["verdict"] == "allow")


def outcome(world: World, node: str | None, *, staged: bool) -> Callable[[dict[str, Any]], bool]:
    """Return whether a flow passes: at one node, or at those that its ends are at."""
    seen: dict[str | None, oracle.View] = {}
    local = world["sites"][SITE]
    admitted = {
        each["metadata"]["name"]
        for each in local
        if each["kind"] == "Node" and each["spec"].get("admission", "admitted") == "admitted"
    }
    owners = [
        (ip_address(text), each["spec"]["node"])
        for each in local
        if each["kind"] == "Workload" and each["spec"].get("node") in admitted
        for text in each["spec"].get("addresses", [])
    ]

    def allows(at: str | None, flow: dict[str, Any]) -> bool:
        if at not in seen:
            seen[at] = oracle.view(Asking(world, SITE, at, NOW, staged))
        return oracle.judge(seen[at], flow).verdict == "allow"

    def passes(flow: dict[str, Any]) -> bool:
        ends = [ip_address(flow["from"]), ip_address(flow["to"])]
        # An address that several workloads claim is the last one's.
        judges = {at for end in ends for at in [dict(owners).get(end)] if at is not None}
        return all(allows(each, flow) for each in (([node] if node else judges) or [None]))

    return passes
