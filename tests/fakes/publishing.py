"""Publications of configurations that a test writes down."""

from sdsp.compile.nodes import Changes, NodeChange, Published
from sdsp.nodes.publication import Publications
from shared.ids import Generation, Incarnation
from shared.policy.loaded.nodes import Step
from shared.policy.loaded.wire import delta_line, snapshot_line
from shared.policy.nodeconfig import NodeConfiguration
from shared.policy.nodedelta import compute_delta


class Publisher:
    """Publishes configurations as the compiler does: changes as deltas, the whole on request."""

    def __init__(self, *first: NodeConfiguration, incarnation: str = "i1") -> None:
        """Without a first one, nothing is published yet."""
        self.publications = Publications(Incarnation(incarnation))
        self.publications.snapshots = self.snapshot
        self._now: dict[str, NodeConfiguration] = {}
        if first:
            self.publish(1, *first)

    def publish(self, generation: int, *now: NodeConfiguration) -> frozenset[str]:
        """Make these the newest; nodes that aren't there any more are gone."""
        changes = {each.node: self._change(Generation(generation), each) for each in now}
        self._now = {each.node: each for each in now}
        return self.publications.publish(Changes(changes, is_whole=True))

    async def snapshot(self, node: str) -> tuple[Published, bytes] | None:
        published = self.publications.newest(node)
        if published is None:
            return None
        line = snapshot_line(published.generation, published.hash, self._now[node])
        return published, line

    def _change(self, generation: Generation, now: NodeConfiguration) -> NodeChange:
        policies = frozenset((rule.tenant, rule.policy) for rule in now.rules)
        published = Published(generation, now.hash(), policies)
        before = self._now.get(now.node)
        if before is None:
            return NodeChange(published)
        step = Step(before.hash(), now.hash(), compute_delta(before, now))
        return NodeChange(published, before.hash(), delta_line(generation, step))
