"""What nodes are told of staged policies follows any changes, as a fresh compile has it."""

from datetime import datetime
from random import Random
from typing import Any

import orjson

from shared.ids import Key
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, Documents, SiteInputs, is_inherited_scope
from shared.policy.loaded.source import Source, sources_of
from shared.policy.loaded.staging import StagingSite
from shared.policy.nodeconfig import NodeConfiguration, from_json, to_json
from shared.policy.nodedelta import apply_delta, compute_delta
from shared.policy.nodeplan import counting_configurations
from shared.policy.nodestaged import StagedJudge
from tests.property import oracle
from tests.property.borders import flows
from tests.property.generated_documents import NODES, NOW, SITE
from tests.property.generators import rolled_world
from tests.property.loaded_worlds import PLANNED, edits
from tests.property.oracle_inheritance import Asking
from tests.property.planner_worlds import packet, site_inputs
from tests.property.profile import rolls
from tests.property.test_node_configuration_oracle import aimed

STEPS = 25


class Held:
    """A loaded site, the documents that it should hold, and what its nodes have applied."""

    def __init__(self, inputs: SiteInputs) -> None:
        self.now = inputs.now
        self.documents = {
            each.key: each
            for documents, inherited in ((inputs.federation, True), (inputs.local, False))
            for each in documents
            if each.key.kind in PLANNED and is_inherited_scope(each.key.scope) is inherited
        }
        self.unable: set[str] = set()
        self.loads = self.steps = self.counting = 0
        self.load()

    def load(self) -> None:
        sources = sources_of(self.inputs())
        self.site = StagingSite(
            SITE, sources, now=self.now, counts=lambda name: name not in self.unable
        )
        self.nodes = {name: self.site.configuration(name) for name in self.site.nodes}
        self.loads += 1

    def inputs(self) -> SiteInputs:
        return SiteInputs(
            SITE,
            Documents(d for d in self.documents.values() if is_inherited_scope(d.key.scope)),
            Documents(d for d in self.documents.values() if not is_inherited_scope(d.key.scope)),
            self.now,
        )

    def change(self, put: list[Document], delete: list[Key], now: datetime | None = None) -> None:
        for key in delete:
            self.documents.pop(key, None)
        for document in put:
            self.documents[document.key] = document
        self.now = now or self.now
        sources = [Source.of(each) for each in put]
        if not self.site.takes(sources):
            self.load()
            return
        steps = self.site.change(sources, delete, now=now)
        for name, step in steps.items():
            if step is None:
                del self.nodes[name]
                continue
            delta: dict[str, Any] = orjson.loads(orjson.dumps(step.delta))
            self.nodes[name] = apply_delta(self.nodes[name], delta)
            assert self.nodes[name].hash() == step.hash
            self.steps += 1
        for name in self.site.nodes.keys() - self.nodes.keys():
            self.nodes[name] = self.site.configuration(name)

    def check(self) -> None:
        fresh = dict(counting_configurations(SitePlanner(self.inputs())))
        for name in self.unable & fresh.keys():
            fresh[name] = without_staged(fresh[name])
        assert self.nodes == fresh
        for name, configuration in fresh.items():
            assert self.site.configuration(name) == configuration
            assert self.site.hash(name) == configuration.hash()
            self.counting += configuration.staged is not None


def without_staged(configuration: NodeConfiguration) -> NodeConfiguration:
    """Return what an agent gets that can't count, as earlier releases had it."""
    data = to_json(configuration)
    data.pop("staged", None)
    return from_json(data)


def test_what_nodes_count_follows_any_changes() -> None:
    steps = counting = loads = 0
    for seed in rolls(25):
        dice = Random(seed)
        held = Held(site_inputs(rolled_world(seed), SITE, NOW))
        held.check()
        for _, (put, delete, now) in zip(range(STEPS), edits(dice, held), strict=False):
            held.change(put, delete, now)
            held.check()
        steps += held.steps
        counting += held.counting
        loads += held.loads - 1
    # The load says something only if all of it happened.
    assert min(steps, counting, loads) > 5, (steps, counting, loads)


def test_an_agent_that_cannot_count_is_told_nothing_of_it_and_one_that_can_again_is() -> None:
    looked = 0
    for seed in rolls(40):
        held = Held(site_inputs(rolled_world(seed), SITE, NOW))
        for able in (False, True, True):
            for name in held.site.nodes:
                (held.unable.discard if able else held.unable.add)(name)
                before = held.site.hash(name)
                told = held.site.look_again(name)
                assert told == (held.site.hash(name) != before)
                looked += told
                if told:
                    held.nodes[name] = held.site.configuration(name)
            held.check()
    assert looked > 5


def test_a_delta_leads_from_anything_staged_to_anything_else() -> None:
    met = set()
    last: dict[str, NodeConfiguration] = {}
    for seed in rolls(120):
        found = counting_configurations(SitePlanner(site_inputs(rolled_world(seed), SITE, NOW)))
        for want in found.values():
            have = last.get(want.node)
            last[want.node] = want
            assert from_json(orjson.loads(orjson.dumps(to_json(want)))) == want
            if have is not None:
                delta = orjson.loads(orjson.dumps(compute_delta(have, want)))
                assert apply_delta(have, delta) == want
                met.add((have.staged is None, want.staged is None))
    assert len(met) == 4, "staged or not, before and after"


def test_a_node_counts_where_the_oracle_says_that_staged_policies_decide_otherwise() -> None:
    """With `--staged` a staged policy does as an enforced one: the oracle of inheritance judges
    both ways, and knows nothing of nodes' configurations.
    """
    counted = judged = 0
    for seed in rolls(120):
        world = rolled_world(seed)
        dice = Random(seed)
        for each in (*world["federation"], *world["sites"][SITE]):
            if each["kind"] == "SecurityPolicy" and dice.random() < 0.4:
                each["spec"]["stage"] = "staged"
        found = counting_configurations(SitePlanner(site_inputs(world, SITE, NOW)))
        for node in NODES:
            if node not in found:
                continue
            enforced, staged = (Asking(world, SITE, node, NOW, way) for way in (False, True))
            before, after = oracle.view(enforced), oracle.view(staged)
            would = found[node].staged
            judge = None if would is None else StagedJudge(found[node], would)
            own = oracle.workload_addresses(enforced)
            for tried in flows(dice, world, after, 40):
                flow = aimed(tried, own, dice) if own else tried
                if not oracle.touches(enforced, flow):
                    continue
                verdicts = [oracle.judge(view, flow).verdict for view in (before, after)]
                allowed = [verdict == "allow" for verdict in verdicts]
                difference = judge.difference(packet(flow)) if judge is not None else None
                judged += 1
                if allowed[0] == allowed[1]:
                    assert difference is None, (seed, flow)
                    continue
                counted += 1
                assert difference is not None, (seed, flow)
                assert difference.would == ("deny" if allowed[0] else "allow")
    assert counted > 10, (counted, judged)
