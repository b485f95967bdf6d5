"""Counts of staged policies are added up once each, whoever begins anew when."""

from random import Random
from typing import Any

import pytest

from sdsp.compile.compiler import Compilation, review_site
from sdsp.compile.model import SiteModel
from sdsp.nodes.states import NodeStates
from sdsp.staged.counts import SPACE, UPWARD_PERIOD, StagedCounts
from sdsp.staged.facts import NOTHING, staged_facts
from shared.access.reach import WHOLE
from shared.ids import Key, Revision
from shared.policy.nodeconfig import rule_id
from shared.policy.nodestaged import counter_name
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore
from tests.unit.sdsp.world import SITE, global_, key, policy, rule, to_network, write

NO, OURS = global_("SecurityPolicy", "no"), key("SecurityPolicy", "ours")
NODES = ("n1", "n2")
DENY = counter_name("deny", rule_id("mandatory", "common", "no", "r", "federation"))


def staged(*rules: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return policy(*rules, stage="staged", **spec)


class Counting:
    """A compiled site, its nodes' reports, and the counts; it may be started again."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = VirtualClock()
        self.newest: Compilation | None = None
        self.begin()

    def begin(self) -> None:
        """Begin anew, as a process that was killed does."""
        self.states = NodeStates(self.store)
        self.counts = StagedCounts(
            self.store, self.states, newest=lambda: self.newest, clock=self.clock
        )

    async def compile(self, objects: dict[Key, dict[str, Any]]) -> None:
        await write(self.store, objects)
        model = SiteModel("s1")
        async with self.store.snapshot() as snapshot:
            model.load(await snapshot.list(), snapshot.position.revision)
        self.newest = review_site(model.inputs(self.clock.now()), Revision(1))

    def report(self, node: str, **counters: int) -> None:
        self.states.report(node, {"counters": counters}, at=self.clock.now())

    def shown(self) -> dict[str, Any]:
        return {each["name"]: each for each in self.counts.shown(WHOLE.sees)}


@pytest.fixture
async def counting() -> Counting:
    return await compiled()


async def compiled() -> Counting:
    """Return a site with a staged mandatory policy `no`."""
    made = Counting()
    await made.compile(
        {
            SITE: {},
            global_("Network", "A"): {"subnets": ["10.0.0.0/24"]},
            **{key("Node", name): {} for name in NODES},
            key("Workload", "w"): {"addresses": ["10.0.0.5"], "node": "n1"},
            NO: staged(rule(to=to_network("A"), action="deny"), enforcement="mandatory"),
        }
    )
    return made


async def test_all_nodes_count_for_one_rule(counting: Counting) -> None:
    counting.report("n1", **{DENY: 3, "default": 9, "0123456789abcdef": 4})
    counting.report("n2", **{DENY: 4})
    await counting.counts.reconcile()
    found = counting.shown()["no"]
    assert (found["wouldDeny"], found["wouldAllow"]) == (7, 0)
    assert [(each["rule"], each["wouldDeny"]) for each in found["rules"]] == [("r", 7)]
    assert found["objects"] == [{"kind": "SecurityPolicy", "scope": "federation", "name": "no"}]
    assert found["lastAt"] is not None


async def test_nothing_is_lost_nor_added_twice_whoever_begins_anew() -> None:
    for seed in range(30):
        made, dice = await compiled(), Random(seed)
        stands, truth = dict.fromkeys(NODES, 0), 0
        for _ in range(60):
            node = dice.choice(NODES)
            match dice.choice(("count", "count", "report", "add up", "silent", "node", "site")):
                case "count":
                    stands[node] += (more := dice.randrange(1, 9))
                    truth += more
                case "report":
                    made.report(node, **nonzero(stands[node]))
                case "add up":
                    await made.counts.reconcile()
                case "silent":
                    # Its data plane can't be asked just now.
                    made.states.report(node, {"counters": {}}, at=made.clock.now())
                    await made.counts.reconcile()
                case "node":
                    # Before it begins anew its last count was added up, and after it the first.
                    made.report(node, **nonzero(stands[node]))
                    await made.counts.reconcile()
                    stands[node] = 0
                    made.report(node, **nonzero(0))
                    await made.counts.reconcile()
                case "site":
                    made.begin()
        for node in NODES:
            made.report(node, **nonzero(stands[node]))
        await made.counts.reconcile()
        assert made.shown()["no"]["wouldDeny"] == truth, seed


def nonzero(value: int) -> dict[str, int]:
    """Return a report's counters: those that stand at nothing are left out."""
    return {"default": 1, **({DENY: value} if value else {})}


async def test_another_text_begins_anew_and_what_is_enforced_is_forgotten(
    counting: Counting,
) -> None:
    counting.report("n1", **{DENY: 3})
    await counting.counts.reconcile()
    await counting.compile({NO: staged(rule(action="deny"), enforcement="mandatory")})
    await counting.counts.reconcile()
    assert counting.shown()["no"]["wouldDeny"] == 0
    counting.report("n1", **{DENY: 5})
    await counting.counts.reconcile()
    assert counting.shown()["no"]["wouldDeny"] == 2

    await counting.compile({NO: policy(rule(action="deny"), enforcement="mandatory")})
    await counting.counts.reconcile()
    assert counting.shown() == {}
    async with counting.store.snapshot() as snapshot:
        assert await snapshot.records(SPACE) == {}


async def test_the_federation_is_told_of_its_own_policies_and_every_half_minute(
    counting: Counting,
) -> None:
    await counting.compile({OURS: staged(rule(action="deny"))})
    await counting.counts.reconcile()
    (told,) = counting.counts.upward()
    assert (told["name"], told["scope"], told["wouldDeny"]) == ("no", "federation", 0)
    counting.report("n1", **{DENY: 3})
    await counting.counts.reconcile()
    assert counting.counts.upward() == [told]
    counting.clock.advance(UPWARD_PERIOD.total_seconds())
    assert counting.counts.upward()[0]["wouldDeny"] == 3


async def test_whoever_may_not_see_a_policy_is_not_told_of_it(counting: Counting) -> None:
    assert counting.counts.shown(lambda _key, _labels: False) == []


async def test_where_nothing_is_staged_nothing_is_looked_at(counting: Counting) -> None:
    await counting.compile({NO: policy(rule(action="deny"))})
    assert counting.newest is not None
    assert staged_facts(counting.newest.planner) is NOTHING


async def test_a_policy_that_would_be_replaced_is_counted_under_its_name(
    counting: Counting,
) -> None:
    """A staged local namesake replaces an inherited default policy: the rules that would be gone
    count for it as well.
    """
    again = key("SecurityPolicy", "again")
    await counting.compile(
        {
            global_("SecurityPolicy", "again"): policy(rule("old")),
            again: staged(rule("new", action="deny")),
        }
    )
    old = counter_name("deny", rule_id("default", "common", "again", "old", "federation"))
    new = counter_name("deny", rule_id("default", "common", "again", "new", "local"))
    counting.report("n1", **{old: 2, new: 5})
    await counting.counts.reconcile()
    found = counting.shown()["again"]
    assert {each["rule"]: each["wouldDeny"] for each in found["rules"]} == {"new": 5, "old": 2}
    assert found["objects"] == [{"kind": "SecurityPolicy", "scope": "site", "name": "again"}]
