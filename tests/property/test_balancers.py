"""Balancers of any world are what a plain reading says, also after any edits."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import pairwise, product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dsn.dataplane.memory import MemoryDataPlane
from shared.algebra.cidrs import Family
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, SiteInputs
from shared.policy.leading import Leading
from shared.policy.nodeconfig import NodeConfiguration, Packet, from_json, to_json
from shared.policy.nodedelta import apply_delta, compute_delta
from shared.policy.nodeplan import admitted_configurations, all_node_configurations
from tests.property.balancer_worlds import balanced_world, rolled_balanced_world
from tests.property.choices import Drawn, Rolled
from tests.property.generated_documents import NOW, SITE
from tests.property.loaded_edits import Edit, any_edit, renewed
from tests.property.loaded_worlds import Held
from tests.property.oracle_balancers import Balanced, balanced, runs
from tests.property.oracle_inheritance import Asking, World
from tests.property.planner_worlds import site_inputs
from tests.property.profile import rolls

KINDS = ("LoadBalancer", "ServicePolicy", "Node", "Override", "Network")


def test_nodes_balance_what_a_plain_reading_says() -> None:
    balancing = led = 0
    for seed in rolls(150):
        world = rolled_balanced_world(seed)
        for name, configuration in all_node_configurations(inputs(world)).items():
            asking = Asking(world, SITE, name, NOW)
            assert (configuration.balancers is not None) == runs(asking), f"seed {seed}, {name}"
            if configuration.balancers is not None:
                found = said(configuration)
                assert found == balanced(asking), f"seed {seed}, {name}"
                balancing += 1
                led += sum(1 for each in found if each[-1])
    assert balancing > 50, "the worlds have nodes that balance"
    assert led > 50, "and backends"


def said(configuration: NodeConfiguration) -> set[Balanced]:
    return {
        (
            each.tenant,
            each.name,
            each.address,
            each.protocol,
            each.ports,
            each.target,
            each.algorithm,
            each.backends,
        )
        for each in configuration.balancers or ()
    }


@st.composite
def balanced_worlds(draw: Any) -> World:
    return balanced_world(Drawn(draw))


@given(world=balanced_worlds())
def test_nodes_balance_what_a_plain_reading_says_in_the_least_world_that_shows_it(
    world: World,
) -> None:
    for name, configuration in all_node_configurations(inputs(world)).items():
        asking = Asking(world, SITE, name, NOW)
        assert (configuration.balancers is not None) == runs(asking)
        if configuration.balancers is not None:
            assert said(configuration) == balanced(asking)


def test_edits_end_where_a_fresh_compile_does() -> None:
    changed = 0
    for seed in rolls(40):
        choose = Rolled(seed)
        held = Held(inputs(rolled_balanced_world(seed)))
        for _ in range(25):
            edit = balancer_edit(choose, held) if choose.chance(60) else any_edit(choose, held)
            before = {name: each.balancers for name, each in held.nodes.items()}
            edit.carry_out(held)
            held.check()
            after = {name: each.balancers for name, each in held.nodes.items()}
            changed += before != after
    assert changed > 50, "edits change what nodes balance"


def test_a_delta_leads_from_any_balancers_to_any_others() -> None:
    found = [
        each
        for seed in range(30)
        for each in all_node_configurations(inputs(rolled_balanced_world(seed))).values()
    ]
    for have, want in pairwise(found):
        delta = compute_delta(have, want)
        assert apply_delta(have, delta).hash() == want.hash()
        assert from_json(to_json(want)) == want


def test_a_backend_that_goes_changes_backends_and_nothing_else() -> None:
    gone = 0
    for seed in range(20):
        for have in all_node_configurations(inputs(rolled_balanced_world(seed))).values():
            fewer = tuple(
                replace(each, backends=each.backends[1:]) for each in have.balancers or ()
            )
            if fewer != (have.balancers or ()):
                delta = compute_delta(have, replace(have, balancers=fewer))
                assert delta.keys() == {"base", "hash", "balancers"}
                assert delta["balancers"].keys() == {"backends"}
                gone += 1
    assert gone, "there are backends"


async def test_trace_leads_a_flow_where_the_node_leads_it() -> None:
    """What is told of a flow is what the data plane of the client's node does with it, which takes
    every configuration that the planner makes.
    """
    led = unserved = 0
    for seed in rolls(60):
        planner = SitePlanner(inputs(rolled_balanced_world(seed)))
        leading = Leading(planner)
        for name, configuration in admitted_configurations(planner).items():
            memory = MemoryDataPlane()
            await memory.apply(configuration)
            for packet in flows(configuration):
                found, handled = leading.lead(packet, name), memory.handle(packet)
                if found is None or not found.packets:
                    assert handled.to is None, f"seed {seed}, {name}"
                    assert (found is not None) == (handled.reason == "unserved")
                    unserved += found is not None
                else:
                    assert handled.to in found.likely, f"seed {seed}, {name}"
                    led += 1
    assert led > 50, "flows are led"
    assert unserved > 5, "and some have no backend"


def flows(configuration: NodeConfiguration) -> Iterator[Packet]:
    """Yield flows from own and other addresses to virtual addresses, at their ports and beside."""
    sources = [*configuration.addresses[:3], *configuration.addresses[-2:], "10.0.3.9/32"]
    for number, (balancer, source) in enumerate(product(configuration.balancers or (), sources)):
        client, target = ip_network(source).network_address, ip_address(balancer.address)
        if client.version == target.version:
            family: Family = 4 if client.version == 4 else 6
            for port in {*balancer.ports, (balancer.ports[1] + 1) % 65536}:
                yield Packet(
                    family, int(client), int(target), balancer.protocol, 1024 + number, port
                )


def inputs(world: World) -> SiteInputs:
    return site_inputs(world, SITE, NOW)


def balancer_edit(choose: Rolled, held: Held) -> Edit:
    """Put a document of another world with balancers, or delete one that is there."""
    kind = choose.pick(KINDS)
    there = [key for key in held.documents if key.kind == kind]
    if there and choose.chance(35):
        return Edit([], [choose.pick(there)])
    found = choose.pick(others(kind))
    return Edit([renewed(found, found.spec.to_json())], [])


@cache
def others(kind: str) -> tuple[Document, ...]:
    """Return the documents of a kind that other worlds have."""
    return tuple(
        each
        for seed in range(1000, 1060)
        for each in inputs(rolled_balanced_world(seed))
        if each.key.kind == kind
    )
