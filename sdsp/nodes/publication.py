"""The newest configuration of every admitted node, and who waits for it.

Only the newest counts.  A stream that is a little behind gets the steps that it missed, in one
go; one that is far behind gets the whole, which the compiler makes when it is asked for.  A
node's generation is the store's revision from which its present configuration was first compiled,
so it never falls, needs no counter of its own, and survives a restart.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sdsp.compile.nodes import Changes, NodeChange, PolicyNames, Published
from shared.ids import Incarnation
from shared.policy.loaded.wire import line_of

# Enough for a node that reconnects after a short cut; one that was away longer takes a snapshot.
KEPT_FOR_DELTAS: Final = 8

Snapshots = Callable[[str], Awaitable[tuple[Published, bytes] | None]]
"""Makes a node's newest configuration, whole, as a line; None if it isn't admitted any more."""


class _Node:
    """One node's newest configuration, and the steps that led to it."""

    def __init__(self, published: Published) -> None:
        self.published = published
        self._before: OrderedDict[str, tuple[PolicyNames, bytes]] = OrderedDict()
        """By hash, oldest first: what was before, and the line that led on from there."""

    def replace(self, change: NodeChange) -> None:
        old, self.published = self.published, change.published
        if change.line is None or change.base != old.hash:
            self._before.clear()
            return
        # Back at a configuration of before, the way there leads in a circle.
        for hash_ in [*self._before] if change.published.hash in self._before else ():
            del self._before[hash_]
        self._before[old.hash] = old.policies, change.line
        while len(self._before) > KEPT_FOR_DELTAS:
            self._before.popitem(last=False)

    def earlier(self, hash_: str) -> PolicyNames | None:
        found = self._before.get(hash_)
        return found[0] if found else None

    def step(self, have: str | None) -> bytes | None:
        now = self.published
        if have == now.hash:
            return line_of({"generation": now.generation, "hash": now.hash})
        if have is None or have not in self._before:
            return None
        hashes = [*self._before]
        return b"".join(self._before[hash_][1] for hash_ in hashes[hashes.index(have) :])


class Publications:
    """All nodes' newest configurations, in one incarnation of the site's store."""

    def __init__(self, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self.snapshots: Snapshots = _nobody
        """Whom to ask for a whole configuration."""
        self._nodes: dict[str, _Node] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.trust: Mapping[str, Any] | None = None
        """What every node is told of trust; see sdsp.nodes.trust.  None: nothing is known yet."""
        self.policy_age: Callable[[], Mapping[str, Any] | None] = lambda: None
        """Returns which of the FSM's revisions the site has, and its age in seconds."""
        self.is_complete = False
        """Whether anything was published: before, nobody knows which nodes are admitted."""

    def publish(self, changes: Changes) -> frozenset[str]:
        """Make these the newest, and return the nodes whose configuration changed.

        The streams of nodes that are gone end.
        """
        self.is_complete = True
        changed: set[str] = set()
        for name, change in changes.nodes.items():
            node = self._nodes.get(name)
            if node is None:
                self._nodes[name] = _Node(change.published)
            elif node.published.hash != change.published.hash:
                node.replace(change)
            else:
                continue
            changed.add(name)
        gone = set(changes.gone) & self._nodes.keys()
        if changes.is_whole:
            gone |= self._nodes.keys() - changes.nodes.keys()
        for name in gone:
            del self._nodes[name]
        for name in changed | gone:
            for event in self._waiting.get(name, ()):
                event.set()
        return frozenset(changed)

    def tell(self, trust: Mapping[str, Any]) -> None:
        """Tell every node what is to be trusted from now on."""
        if trust == self.trust:
            return
        self.trust = trust
        for events in self._waiting.values():
            for event in events:
                event.set()

    def newest(self, node: str) -> Published | None:
        """Return a node's newest configuration; None if it isn't admitted, or none is compiled."""
        found = self._nodes.get(node)
        return found.published if found else None

    def earlier(self, node: str, hash_: str | None) -> PolicyNames | None:
        """Return the policies of a configuration before a node's newest, if it is still known."""
        found = self._nodes.get(node)
        return found.earlier(hash_) if found and hash_ else None

    def step(self, node: str, have: str | None) -> bytes | None:
        """Return the lines that take a node from the hash it has to the newest.

        None if it needs the whole, or isn't admitted.
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


async def _nobody(_node: str) -> None:
    return None
