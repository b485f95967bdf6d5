"""A loaded site takes any changes, and ends where a fresh compile of the same objects does."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shared.errors import NotFound
from shared.ids import Key
from shared.model.kinds import KINDS
from shared.policy.inputs import Document, Documents, SiteInputs
from shared.policy.loaded.site import LoadedSite
from shared.policy.loaded.source import sources_of
from tests.property.choices import Drawn, Rolled
from tests.property.generated_documents import NOW, SITE
from tests.property.generators import rolled_world
from tests.property.loaded_edits import EDITS, Edit, any_edit
from tests.property.loaded_worlds import Held, edits
from tests.property.planner_worlds import site_inputs
from tests.property.profile import SOAKING, rolls

STEPS = 25


def test_edits_by_dice_end_where_a_fresh_compile_does() -> None:
    for seed in rolls(8):
        dice = Random(seed)
        held = Held(site_inputs(rolled_world(seed), SITE, NOW))
        held.check()
        for _, (put, delete, now) in zip(range(STEPS), edits(dice, held), strict=False):
            held.change(put, delete, now)
            held.check()
        assert_same_hash(held)


def test_edits_of_every_kind_by_dice_end_where_a_fresh_compile_does() -> None:
    moved = 0
    for seed in rolls(25):
        moved += run_edits(seed)
    assert moved > STEPS, "nodes have taken steps"


def run_edits(seed: int, *kinds: str, steps: int = STEPS) -> int:
    """Carry out random edits, checked after each; return how many steps nodes have taken."""
    choose = Rolled(seed)
    held = Held(site_inputs(rolled_world(seed), SITE, NOW))
    for _ in range(steps):
        any_edit(choose, held, kinds).carry_out(held)
        held.check()
    assert_same_hash(held)
    assert_nothing_left_over(held)
    return held.steps


def assert_same_hash(held: Held) -> None:
    assert held.site.hash() == fresh_site(held).hash()


def assert_nothing_left_over(held: Held) -> None:
    """Hold what the site keeps against what a fresh one makes: nothing stays that nobody uses."""
    fresh = fresh_site(held)
    assert held.site._views.keys() == fresh._views.keys()
    for chain, view in held.site._views.items():
        other = fresh._views[chain]
        for part in ("_sides", "_others"):
            assert len(getattr(view.ends, part)) == len(getattr(other.ends, part)), part
        assert view._services.keys() == other._services.keys()
        assert view.owners.of == other.owners.of
        known = {side.id: known_of(side) for side in view.ends._sides.values()}
        assert known == {side.id: known_of(side) for side in other.ends._sides.values()}


def known_of(side: Any) -> Any:
    """Return what a side knows of nodes: their addresses in it, and who has it as a set."""
    counts = {family: counts for family, counts in side.nodes.items() if counts}
    return counts, sorted(holder.name for holder in side.holders)


def fresh_site(held: Held) -> LoadedSite:
    return LoadedSite(SITE, sources_of(held.inputs()), now=held.now)


# The same with Hypothesis, which shrinks.


class LoadedSites(RuleBasedStateMachine):
    """One loaded site; a rule for each kind of what changes."""

    held: Held

    @initialize(seed=st.integers(0, 999))
    def load(self, seed: int) -> None:
        self.held = Held(site_inputs(rolled_world(seed), SITE, NOW))
        self.unchecked = False

    def carry_out(self, kind: str, data: st.DataObject) -> None:
        edit: Edit = EDITS[kind](Drawn(data.draw), self.held)
        edit.carry_out(self.held)
        self.unchecked = True

    @precondition(lambda self: self.unchecked)
    @invariant()
    def nodes_enforce_what_a_fresh_compile_says(self) -> None:
        self.held.check()
        self.unchecked = False

    def teardown(self) -> None:
        if hasattr(self, "held"):
            assert_same_hash(self.held)
            assert_nothing_left_over(self.held)


def _rule_for(kind: str) -> Callable[..., None]:
    def change(self: LoadedSites, data: st.DataObject) -> None:
        self.carry_out(kind, data)

    change.__name__ = f"change_{kind}"
    return rule(data=st.data())(change)


for _kind in EDITS:
    setattr(LoadedSites, f"change_{_kind}", _rule_for(_kind))

TestAnyChanges = LoadedSites.TestCase
TestAnyChanges.settings = settings(
    max_examples=500 if SOAKING else 12, stateful_step_count=100 if SOAKING else 20
)


# What random edits meet seldom, by name.


def document(
    kind: str, name: str, spec: Any, *, scope: str = "site", tenant: str = "common"
) -> Document:
    return Document(Key(kind, tenant, scope, name), KINDS[kind].spec.model_validate(spec), {})


def policy(name: str, *rules: Any, **given: Any) -> Document:
    return document("SecurityPolicy", name, {"rules": list(rules)}, **given)


def a_rule(name: str, from_: Any = "any", to: Any = "any", action: str = "allow") -> Any:
    return {"name": name, "from": from_, "to": to, "action": action}


def held_with(*local: Document, federation: tuple[Document, ...] = ()) -> Held:
    site = document("Site", SITE, {}, scope="federation")
    return Held(SiteInputs(SITE, Documents([site, *federation]), Documents(local), NOW))


WORKLOAD = document("Workload", "w", {"addresses": ["10.0.0.5"], "node": "n1"})
NODE = document("Node", "n1", {})
NETWORK = document("Network", "A", {"subnets": ["10.0.0.0/24"]})


def test_a_node_admitted_along_with_a_policy_counts_its_addresses_once() -> None:
    held = held_with(WORKLOAD, NETWORK, document("Node", "n2", {}), document(
        "Workload", "v", {"addresses": ["10.1.0.5"], "node": "n2"}
    ))  # fmt: skip
    to = [{"cidr": "10.9.0.0/24"}]
    held.change([NODE, policy("p", a_rule("r", [{"network": "A"}], to))], [])
    held.check()
    held.change([document("Workload", "w", {"addresses": ["10.7.0.5"], "node": "n1"})], [])
    held.check()
    assert held.nodes["n1"].rules == ()


def test_of_a_node_that_goes_nothing_stays() -> None:
    rules = policy("p", a_rule("r", [{"network": "A"}]))
    held = held_with(WORKLOAD, NETWORK, NODE, document("Node", "n2", {}), rules)
    held.change([], [NODE.key])
    held.check()
    assert_nothing_left_over(held)


def test_workloads_that_come_and_go_under_new_names_take_no_more_room() -> None:
    held = held_with(WORKLOAD, NETWORK, NODE, policy("p", a_rule("r", [{"network": "A"}])))
    for number in range(20):
        spec = {"addresses": [f"10.0.0.{number}"], "node": "n1"}
        held.change([document("Workload", f"x{number}", spec)], [])
        held.change([], [Key("Workload", "common", "site", f"x{number}")])
    held.check()
    table = held.site._workloads
    assert (len(table._rows), len(table._sources)) == (1, 2)


def test_rules_go_into_one_place_until_there_is_no_room_and_beyond() -> None:
    held = held_with(WORKLOAD, NETWORK, NODE)
    rules = [a_rule("first"), a_rule("last", action="deny")]
    for number in range(30):
        held.change([policy("p", *rules)], [])
        assert [each.rule for each in held.nodes["n1"].rules] == [each["name"] for each in rules]
        rules.insert(1, a_rule(f"r{number}"))
    held.check()


def test_many_rules_at_either_end_find_room() -> None:
    held = held_with(WORKLOAD, NETWORK, NODE)
    rules = [a_rule("middle")]
    for number in range(30):
        rules = [a_rule(f"a{number}"), *rules, a_rule(f"b{number}")]
        held.change([policy("p", *rules)], [])
    held.check()
    assert len(held.nodes["n1"].rules) == 61


def test_an_address_that_two_workloads_share_stays_with_the_second() -> None:
    twin = document("Workload", "w2", {"addresses": ["10.0.0.5"], "node": "n1"})
    rule = a_rule("r", [{"network": "A"}], [{"cidr": "10.9.0.0/24"}])
    held = held_with(WORKLOAD, twin, NETWORK, NODE, policy("p", rule))
    held.change([], [WORKLOAD.key])
    held.check()
    assert len(held.nodes["n1"].rules) == 1
    held.change([], [twin.key])
    held.check()
    assert held.nodes["n1"].rules == ()


def test_an_address_that_comes_into_a_tenants_networks_brings_the_tenants_rules() -> None:
    blue = document("Network", "B", {"subnets": ["10.0.1.0/24"]}, tenant="blue")
    rules = policy("p", a_rule("r", "any", [{"cidr": "10.9.0.0/24"}]), tenant="blue")
    held = held_with(WORKLOAD, NODE, blue, rules)
    held.check()
    assert held.nodes["n1"].rules == ()
    held.change([document("Workload", "x", {"addresses": ["10.0.1.7"], "node": "n1"})], [])
    held.check()
    assert len(held.nodes["n1"].rules) == 1


def test_a_change_of_nothing_is_no_step() -> None:
    held = held_with(WORKLOAD, NETWORK, NODE, policy("p", a_rule("r")))
    held.change([NETWORK, WORKLOAD, policy("p", a_rule("r"))], [])
    assert held.steps == 0


def test_a_change_and_its_opposite_at_once_are_no_step() -> None:
    # Through a node's view of several changes in one the hash is what it was.
    held = held_with(WORKLOAD, NETWORK, NODE, policy("p", a_rule("r", [{"network": "A"}])))
    before = held.nodes["n1"]
    held.change([document("Network", "A", {"subnets": ["10.0.0.0/25", "10.0.0.128/25"]})], [])
    assert held.nodes["n1"] == before
    assert held.steps == 0


def test_a_site_that_goes_is_told_by_name() -> None:
    held = held_with(NODE)
    with pytest.raises(NotFound, match=f"no Site {SITE}"):
        held.site.change(delete=[Key("Site", "common", "federation", SITE)])
    with pytest.raises(NotFound, match="no Site s9"):
        LoadedSite("s9", [], now=NOW)


def test_an_exception_is_merged_with_all_that_its_target_says() -> None:
    """Regression: the loaded site read inherited policies without their rules, and so lost those
    of a merge.  Each of these worlds has one.
    """
    for seed in (142, 197, 312, 901, *rolls(30)):
        Held(site_inputs(rolled_world(seed), SITE, NOW)).check()
