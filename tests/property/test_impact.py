"""The impact of a change against two slow readings of both versions: every part of the space of
packets with its verdict, and the contract's own verdicts on flows at the borders of rules.
"""

from copy import deepcopy
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.algebra import intervals
from shared.algebra.boxes import Box, Packet, boxes
from shared.algebra.cidrs import AddressSet
from shared.algebra.packets import PacketSet, Universe
from shared.policy.compile import SitePlanner
from shared.policy.impact.difference import Differ
from shared.policy.impact.site import Impact, site_impact
from shared.policy.partition import partition
from shared.policy.plan import Plan
from shared.policy.resolve import host_addresses
from tests.property import oracle
from tests.property.borders import flows
from tests.property.choices import Choices, Drawn, Rolled
from tests.property.generated_documents import NODES, NOW, SITE, edited
from tests.property.generators import made_world, rolled_world
from tests.property.oracle_inheritance import Asking, World
from tests.property.planner_worlds import packet, site_inputs
from tests.property.profile import rolls

VIEWS = (None, *NODES)
FIXED = ("Region", "Site", "Tenant", "NodeGroup", "Node")


@st.composite
def changes(draw: Any) -> tuple[World, World]:
    choose = Drawn(draw)
    world = made_world(choose)
    return world, changed(choose, world)


def changed(choose: Choices, world: World) -> World:
    """Return another version of a world: policies edited, documents gone or from elsewhere."""
    if choose.chance(10):
        return rolled_world(choose.number(0, 1000))
    after = deepcopy(world)
    for documents in (after["federation"], after["sites"][SITE]):
        for each in documents:
            if each["kind"] == "SecurityPolicy" and choose.chance(40):
                each["spec"] = edited(choose, each["spec"])
        loose = [each for each in documents if each["kind"] not in FIXED]
        if loose and choose.chance(40):
            documents.remove(choose.pick(loose))
    return after


@settings(max_examples=15)
@given(changes())
def test_what_changes_is_what_every_part_of_the_space_says(versions: tuple[World, World]) -> None:
    assert_exact(*versions)


@given(changes(), st.integers(0, 2**16))
def test_flows_on_the_borders_of_rules_change_as_the_contract_says(
    versions: tuple[World, World], seed: int
) -> None:
    assert_flows(*versions, seed)


def test_impacts_by_dice_are_exact_too() -> None:
    for seed in rolls(12):
        choose = Rolled(seed)
        world = made_world(choose)
        after = changed(choose, world)
        assert_exact(world, after)
        assert_flows(world, after, seed)


def assert_exact(before: World, after: World) -> None:
    old, new = planner(before), planner(after)
    for staged in (False, True):
        found = {node: site_impact(old, new, node=node, staged=staged) for node in VIEWS}
        moved = {
            node: moves(old.plan(node, staged=staged), new.plan(node, staged=staged))
            for node in VIEWS
        }
        for node, impact in found.items():
            allowed, denied = moved[node]
            assert impact.allowed.count() == sum(box.size() for box in allowed), node
            assert impact.denied.count() == sum(box.size() for box in denied), node
            for packets, parts in ((impact.allowed, allowed), (impact.denied, denied)):
                example = packets.example()
                assert example is None or any(holds(part, example) for part in parts)
                assert all(example_of(part) in packets for part in parts)
        touched(found[None], old, new, moved, staged=staged)


def touched(
    impact: Impact,
    old: SitePlanner,
    new: SitePlanner,
    moved: dict[str | None, tuple[list[Box], list[Box]]],
    *,
    staged: bool,
) -> None:
    """Hold networks, workloads and nodes against the boxes of all views."""
    nodes = tuple(node for node in NODES if any(moved[node]))
    networks, workloads = set(), set()
    for node, sides in moved.items():
        hit = [box for side in sides for box in side]
        for each in (old, new):
            view = each.view(node, staged=staged)
            for name in each.definitions.names("Network"):
                found = view.definition(name)
                if found is not None and meets(hit, view.network_addresses(name, found)):
                    networks.add(name)
            for document in each.workloads.documents:
                if meets(hit, host_addresses([document])):
                    workloads.add((document.key.tenant, document.key.name))
    assert impact.nodes == nodes
    assert set(impact.networks) == networks
    assert {(each.tenant, each.name) for each in impact.workloads} == workloads
    assert impact.changes == any(any(sides) for sides in moved.values())


def meets(hit: list[Box], addresses: AddressSet) -> bool:
    return any(
        intervals.overlaps(side, addresses.of(box.family))
        for box in hit
        for side in (box.sources, box.destinations)
    )


def moves(before: Plan, after: Plan) -> tuple[list[Box], list[Box]]:
    """Return, as disjoint boxes, what is newly allowed and what is newly denied."""
    old, new = allowed_boxes(before), allowed_boxes(after)
    return without(new, old), without(old, new)


def allowed_boxes(plan: Plan) -> list[Box]:
    parts = partition(plan, boxes(None, None, None))
    return [part.box for part in parts if part.decision.verdict == "allow"]


def without(these: list[Box], others: list[Box]) -> list[Box]:
    left = these
    for other in others:
        left = [rest for box in left for rest in box.difference(other)]
    return left


def holds(box: Box, value: Any) -> bool:
    single = Box(value.family, *((each, each + 1) for each in value[1:]))
    return box.overlaps(single)


def example_of(box: Box) -> Any:

    return Packet(box.family, *box.example())


def assert_flows(before: World, after: World, seed: int) -> None:
    old, new = planner(before), planner(after)
    for staged in (False, True):
        for node in VIEWS:
            impact = site_impact(old, new, node=node, staged=staged)
            seen = [
                oracle.view(Asking(world, SITE, node, NOW, staged)) for world in (before, after)
            ]
            for world, view in zip((before, after), seen, strict=True):
                for flow in flows(Random(seed), world, view, 15):
                    was, becomes = (oracle.judge(each, flow).verdict == "allow" for each in seen)
                    place = (seed, node, staged, flow)
                    assert (packet(flow) in impact.allowed) == (becomes and not was), place
                    assert (packet(flow) in impact.denied) == (was and not becomes), place


def planner(world: World) -> SitePlanner:
    return SitePlanner(site_inputs(world, SITE, NOW))


def test_a_small_change_among_many_rules_is_exact() -> None:
    for seed in rolls(12):
        choose = Rolled(seed)
        world = made_world(choose)
        # Rules enough that those out of reach of the change are left out.
        for other in range(1000, 1004):
            more = rolled_world(seed + other)
            for part, mine in (
                (more["federation"], world["federation"]),
                (more["sites"][SITE], world["sites"][SITE]),
            ):
                for each in part:
                    if each["kind"] == "SecurityPolicy":
                        name = f"{each['metadata']['name']}-{other}"
                        mine.append({**each, "metadata": {**each["metadata"], "name": name}})
        after = deepcopy(world)
        policies = [
            each
            for documents in (after["federation"], after["sites"][SITE])
            for each in documents
            if each["kind"] == "SecurityPolicy" and each["spec"]["rules"]
        ]
        for _ in range(4):
            rule = choose.pick(choose.pick(policies)["spec"]["rules"])
            rule["action"] = "deny" if rule["action"] == "allow" else "allow"
        assert_flows(world, after, seed)
        for node in VIEWS:
            old, new = (planner(each).plan(node) for each in (world, after))
            differ = Differ(Universe())
            found = differ.difference(old, new)
            one, two = differ.allowed(old), differ.allowed(new)
            assert (found.allowed, found.denied) == (two - one, one - two)


def test_a_view_allows_what_its_parts_do() -> None:

    for seed in rolls(15):
        plans = planner(rolled_world(seed))
        for node in VIEWS:
            plan = plans.plan(node)
            universe = Universe()
            allowed: PacketSet = Differ(universe).allowed(plan)
            parts = allowed_boxes(plan)
            assert allowed == universe.union(map(universe.box, parts))
