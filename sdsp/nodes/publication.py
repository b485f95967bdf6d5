"""The newest configuration of every admitted node, and who waits for it.

Only the newest counts: a stream that is behind gets one step to the present, never a queue of
what was.  A node's generation is the store's revision from which its present configuration was
first compiled, so it never falls, needs no counter of its own, and survives a restart.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import orjson

from shared.ids import Generation, Incarnation
from shared.policy.nodeconfig import NodeConfiguration, to_json
from shared.policy.nodedelta import compute_delta

# Enough for a node that reconnects after a short cut; one that was away longer takes a snapshot.
KEPT_FOR_DELTAS: Final = 8


@dataclass(frozen=True, slots=True)
class Published:
    """A node's configuration, its generation and its hash."""

    configuration: NodeConfiguration
    generation: Generation
    hash: str


class _Node:
    """One node's newest configuration, and those before it that deltas can start from."""

    def __init__(self, published: Published) -> None:
        self.published = published
        self._before: OrderedDict[str, NodeConfiguration] = OrderedDict()
        self._steps: dict[str | None, bytes] = {}

    def replace(self, published: Published) -> None:
        old = self.published
        self._before[old.hash] = old.configuration
        self._before.pop(published.hash, None)
        while len(self._before) > KEPT_FOR_DELTAS:
            self._before.popitem(last=False)
        self.published = published
        self._steps = {}

    def earlier(self, hash_: str) -> NodeConfiguration | None:
        return self._before.get(hash_)

    def step(self, have: str | None) -> bytes:
        """Return the line that takes a node from the hash it has; encoded once for all."""
        if have not in self._steps:
            self._steps[have] = self._encode(have)
        return self._steps[have]

    def _encode(self, have: str | None) -> bytes:
        now = self.published
        frame: dict[str, object] = {"generation": now.generation, "hash": now.hash}
        if have != now.hash:
            base = self._before.get(have) if have else None
            if base is None:
                frame["snapshot"] = to_json(now.configuration)
            else:
                frame["delta"] = compute_delta(base, now.configuration)
        return orjson.dumps(frame, option=orjson.OPT_APPEND_NEWLINE)


class Publications:
    """All nodes' newest configurations, in one incarnation of the site's store."""

    def __init__(self, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self._nodes: dict[str, _Node] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.is_complete = False
        """Whether anything was published: before, nobody knows which nodes are admitted."""

    def publish(
        self,
        generation: Generation,
        configurations: Mapping[str, NodeConfiguration],
        hashes: Mapping[str, str] | None = None,
    ) -> frozenset[str]:
        """Make these the newest, and return the nodes whose configuration changed.

        `hashes` are the configurations', if somebody has worked them out already.  Nodes that are
        missing are admitted no longer; their streams end.
        """
        self.is_complete = True
        changed: set[str] = set()
        for name, configuration in configurations.items():
            node = self._nodes.get(name)
            # An equal value needs no hashing; a new value with the old hash is no change either.
            if node and node.published.configuration == configuration:
                continue
            content = hashes[name] if hashes is not None else configuration.hash()
            published = Published(configuration, generation, content)
            if node is None:
                self._nodes[name] = _Node(published)
            elif node.published.hash != published.hash:
                node.replace(published)
            else:
                continue
            changed.add(name)
        gone = self._nodes.keys() - configurations.keys()
        for name in gone:
            del self._nodes[name]
        for name in changed | gone:
            for event in self._waiting.get(name, ()):
                event.set()
        return frozenset(changed)

    def newest(self, node: str) -> Published | None:
        """Return a node's newest configuration; None if it isn't admitted, or none is compiled."""
        found = self._nodes.get(node)
        return found.published if found else None

    def earlier(self, node: str, hash_: str | None) -> NodeConfiguration | None:
        """Return a configuration before a node's newest, if it is still known."""
        found = self._nodes.get(node)
        return found.earlier(hash_) if found and hash_ else None

    def step(self, node: str, have: str | None) -> bytes | None:
        """Return the line that takes a node from the hash it has to the newest.

        None if the node isn't admitted.
        """
        found = self._nodes.get(node)
        return found.step(have) if found else None

    @contextmanager
    def waiting(self, node: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever the node's newest configuration changes or goes."""
        event = asyncio.Event()
        events = self._waiting.setdefault(node, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events:
                self._waiting.pop(node, None)
