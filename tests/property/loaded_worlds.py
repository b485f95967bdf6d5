"""A loaded site under random edits, held against a fresh compile after each of them."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

import orjson

from shared.ids import Key
from shared.policy.inputs import Document, Documents, SiteInputs, is_inherited_scope
from shared.policy.loaded.site import LoadedSite
from shared.policy.loaded.source import NAMED_KINDS, Source, sources_of
from shared.policy.nodeconfig import NodeConfiguration
from shared.policy.nodedelta import apply_delta
from shared.policy.nodeplan import all_node_configurations
from tests.property.generated_documents import NOW, SITE
from tests.property.generators import rolled_world
from tests.property.planner_worlds import site_inputs

PLANNED = NAMED_KINDS | {"Override", "Workload", "Site", "Region", "NodeGroup", "Node"}


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
        self.site = LoadedSite(SITE, sources_of(self.inputs()), now=self.now)
        self.nodes = {name: self.site.configuration(name) for name in self.site.nodes}
        self.steps = 0

    def inputs(self) -> SiteInputs:
        return SiteInputs(
            SITE,
            Documents(d for d in self.documents.values() if is_inherited_scope(d.key.scope)),
            Documents(d for d in self.documents.values() if not is_inherited_scope(d.key.scope)),
            self.now,
        )

    def change(self, put: list[Document], delete: list[Key], now: datetime | None = None) -> None:
        """Change the documents, and let the nodes apply the steps as they travel."""
        for key in delete:
            self.documents.pop(key, None)
        for document in put:
            self.documents[document.key] = document
        if now is not None:
            self.now = now
        steps = self.site.change([Source.of(each) for each in put], delete, now=now)
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
        """Hold what the nodes have, and what the site says they have, against a fresh compile."""
        fresh = all_node_configurations(self.inputs())
        assert self.nodes == fresh
        for name, configuration in fresh.items():
            assert self.site.configuration(name) == configuration
            assert self.site.nodes[name].hash == fresh_hash(configuration)


def fresh_hash(configuration: NodeConfiguration) -> str:
    """Return a configuration's hash, worked out from nothing."""
    return NodeConfiguration(
        configuration.node,
        configuration.default_action,
        configuration.addresses,
        configuration.sets,
        configuration.rules,
        balancers=configuration.balancers,
    ).hash()


def edits(dice: Random, held: Held) -> Iterator[tuple[list[Document], list[Key], datetime | None]]:
    """Yield random edits without end: mostly one document, sometimes several, or time."""
    pool: list[Document] = []
    while True:
        if not pool:
            other = site_inputs(rolled_world(dice.randrange(1 << 30)), SITE, NOW)
            pool = [each for each in other if each.key.kind in PLANNED]
            dice.shuffle(pool)
        kind = dice.random()
        if kind < 0.05:
            yield [], [], held.now + timedelta(days=dice.choice([-40, -1, 1, 30, 400]))
            continue
        put, delete = [], []
        for _ in range(dice.choice([1, 1, 1, 2, 5])):
            if dice.random() < 0.6 and pool:
                document = pool.pop()
                # The Site itself may change but not go.
                put.append(document)
            else:
                keys = [key for key in held.documents if key.kind != "Site"]
                if keys:
                    delete.append(dice.choice(keys))
        yield put, [key for key in delete if key not in {each.key for each in put}], None
