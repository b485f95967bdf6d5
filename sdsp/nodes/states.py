"""What is known of each node just now: observed state, never in history.

Kept in memory, since every report changes it, and written to the store's status now and then, so
that a restarted SDSP still shows when a node was last seen.  "Connected" means that the node's
stream is open, for a report alone proves nothing about the way back, and that it has reported of
late, for a stream whose other end is gone may look open until the kernel gives up.
"""

import asyncio
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from shared.ids import COMMON, SITE, Key
from shared.policy.balancers import FIREWALL
from shared.store.contract import Selection, Store
from shared.tasks.loop import Outcome

_NODES = Selection(kinds=frozenset({"Node"}))

# A node with many rules reports thousands of counters every few seconds.
_IN_MEMORY: Final = frozenset({"counters", "roots"})

# A node reports at least every 20 s (dsn.settings.DSNSettings.report_period); two may be lost.
QUIET: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class NodeState:
    """The last word of a node.

    `hash` is of the configuration that it enforces, `read_back` what its data plane says it
    enforces; they differ while it drifts.  `code` says why the last configuration was refused.
    """

    connected: bool = False
    last_seen: str | None = None
    generation: int | None = None
    hash: str | None = None
    read_back: str | None = None
    outcome: Literal["ack", "nack"] | None = None
    code: str | None = None
    message: str | None = None
    data_plane: str | None = None
    agent: str | None = None
    services: Sequence[str] | None = None
    """The network services that it runs; None if it doesn't say, and then it is the firewall."""
    roots: Sequence[str] | None = None
    """The SHA-256 of each root that it trusts; None if it doesn't say."""
    counters: Mapping[str, int] = field(default_factory=dict)

    def is_connected(self, now: datetime) -> bool:
        """Return whether its stream is open and it was heard of late."""
        if not self.connected or self.last_seen is None:
            return False
        # The wall clock may have been set back since: that makes nobody connected for so long.
        return abs(now - datetime.fromisoformat(self.last_seen)) <= QUIET

    @property
    def runs(self) -> tuple[str, ...]:
        """The network services that it runs, as far as it was heard."""
        if self.hash is None:
            return ()
        return tuple(self.services) if self.services is not None else (FIREWALL,)

    @property
    def is_drifting(self) -> bool:
        return self.read_back is not None and self.hash != self.read_back

    def enforces(self, wanted: str) -> bool:
        """Return whether the node enforces the configuration with this hash, and nothing else."""
        return self.outcome == "ack" and self.hash == wanted and self.read_back in (None, wanted)


def node_key(name: str) -> Key:
    return Key("Node", COMMON, SITE, name)


class NodeStates:
    """All nodes' states.  A reconciler that writes what changed to the store's status."""

    name = "write node status"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._states: dict[str, NodeState] = {}
        self._written: dict[str, NodeState] = {}
        self._dirty: set[str] = set()
        self._streams: dict[str, int] = {}
        self.changed = asyncio.Event()
        """Set when a node says something new; the reader clears it."""

    async def load(self) -> None:
        """Take up what an earlier process knew; nobody is connected yet."""
        known = {each.name for each in fields(NodeState)} - _IN_MEMORY
        async with self._store.snapshot() as snapshot:
            for stored in await snapshot.list(_NODES):
                kept = {name: value for name, value in stored.status.items() if name in known}
                self._states[stored.key.name] = replace(NodeState(**kept), connected=False)

    def get(self, node: str) -> NodeState:
        return self._states.get(node, NodeState())

    def report(self, node: str, report: Mapping[str, Any], *, at: datetime) -> NodeState:
        """Take a node's report: the fields of a NodeState that it speaks of."""
        return self._set(node, **report, last_seen=at.isoformat())

    @contextmanager
    def connection(self, node: str, *, at: datetime) -> Iterator[None]:
        """Count a node as connected while its stream is open."""
        self._streams[node] = self._streams.get(node, 0) + 1
        self._set(node, connected=True, last_seen=at.isoformat())
        try:
            yield
        finally:
            self._streams[node] -= 1
            if not self._streams[node]:
                del self._streams[node]
                self._set(node, connected=False)

    def keep_only(self, nodes: Container[str]) -> None:
        """Forget nodes that are no more, but for one whose stream has yet to end."""
        for name in [each for each in self._states if each not in nodes]:
            if name not in self._streams:
                del self._states[name]
                self._written.pop(name, None)
                self._dirty.discard(name)

    async def reconcile(self) -> Outcome:
        dirty = {name: self._states[name] for name in self._dirty}
        if not dirty:
            return Outcome()
        await self._store.put_status(
            {node_key(name): status_of(state) for name, state in dirty.items()}
        )
        # Only now: what could not be written is still to be written.
        self._written |= dirty
        self._dirty -= {name for name, state in dirty.items() if self._states.get(name) is state}
        return Outcome(changed=len(dirty))

    def _set(self, node: str, **changes: Any) -> NodeState:
        before = self.get(node)
        state = replace(before, **changes)
        self._states[node] = state
        if not _says_the_same(before, state):
            self.changed.set()
            self._dirty.add(node)
        elif not _is_fresh(self._written.get(node), state):
            self._dirty.add(node)
        return state


def status_of(state: NodeState) -> dict[str, Any]:
    """Return a node's status as it is stored; its counters live in memory only."""
    return {
        each.name: getattr(state, each.name)
        for each in fields(NodeState)
        if each.name not in _IN_MEMORY
    }


def _says_the_same(before: NodeState, after: NodeState) -> bool:
    """Return whether only time has passed, and traffic."""
    return replace(before, last_seen=after.last_seen, counters=after.counters) == after


def _is_fresh(written: NodeState | None, state: NodeState) -> bool:
    """Return whether the stored time at which a node was last seen will do."""
    if written is None or written.last_seen is None or state.last_seen is None:
        return False
    age = datetime.fromisoformat(state.last_seen) - datetime.fromisoformat(written.last_seen)
    return timedelta() <= age < QUIET
