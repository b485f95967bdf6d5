"""The site's nodes as the compiler keeps them: in its own thread, and nowhere else.

What leaves the thread are values: what changed for each node, encoded, or a whole configuration.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.errors import NotFound
from shared.feed.knows import BALANCERS, STAGED
from shared.ids import Generation, Key
from shared.policy.conflicts.followed import InForce, RulesInForce
from shared.policy.loaded.source import Source
from shared.policy.loaded.staging import StagingSite
from shared.policy.loaded.wire import delta_line, snapshot_line

PolicyNames = frozenset[tuple[str, str]]
"""Policies by tenant and name."""


@dataclass(frozen=True, slots=True)
class Published:
    """A node's configuration from outside: which one it is, and of which policies it has rules."""

    generation: Generation
    hash: str
    policies: PolicyNames = frozenset()


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A node's newest configuration, and the line that leads there from the hash before.

    Without a line the node gets the whole.
    """

    published: Published
    base: str | None = None
    line: bytes | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a compilation changes; if it `is_whole`, nodes that aren't named are gone."""

    nodes: Mapping[str, NodeChange]
    gone: Sequence[str] = ()
    is_whole: bool = False


class CompiledNodes:
    """The loaded site with its nodes' generations."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._loaded: StagingSite | None = None
        self._unable: dict[str, set[str]] = {STAGED: set(), BALANCERS: set()}
        """By what, the nodes whose agent can't do it."""
        self._published: dict[str, Published] = {}
        self._rules = RulesInForce()

    def load(
        self, sources: Iterable[Source], *, generation: Generation, now: datetime
    ) -> Changes | None:
        """Compile anew; None while the site has not heard of itself.

        A node whose configuration is what it was keeps its generation.
        """
        self._loaded = None
        try:
            self._loaded = StagingSite(
                self._site,
                sources,
                now=now,
                counts=lambda node: node not in self._unable[STAGED],
                balances=lambda node: node not in self._unable[BALANCERS],
            )
        except NotFound:
            # Before the first snapshot from the FSM there is no Site, hence no default action.
            return None
        before, self._published = self._published, {}
        for name, node in self._loaded.nodes.items():
            old = before.get(name)
            hash_ = self._loaded.hash(name)
            same = old is not None and old.hash == hash_
            self._published[name] = (
                old if old is not None and same else Published(generation, hash_, node.policies)
            )
        return Changes(
            {name: NodeChange(each) for name, each in self._published.items()}, is_whole=True
        )

    def change(
        self,
        put: Iterable[Source],
        delete: Iterable[Key],
        *,
        generation: Generation,
        now: datetime,
    ) -> Changes | None:
        """Take changes in; None if there is no site any more.

        Whatever goes wrong, nothing is loaded then.
        """
        loaded, self._loaded = self._loaded, None
        assert loaded is not None, "changes go into what is loaded"
        try:
            steps = loaded.change(put, delete, now=now)
        except NotFound:
            self._published = {}
            return None
        self._loaded = loaded
        changed: dict[str, NodeChange] = {}
        gone = [name for name in self._published if name not in loaded.nodes]
        for name in gone:
            del self._published[name]
        for name, node in loaded.nodes.items():
            step = steps.get(name)
            if step is None and name in self._published:
                continue
            published = Published(generation, loaded.hash(name), node.policies)
            self._published[name] = published
            if step is None:
                changed[name] = NodeChange(published)
            else:
                changed[name] = NodeChange(published, step.base, delta_line(generation, step))
        return Changes(changed, gone)

    def look(self) -> InForce | None:
        """Return what is in force, for those who look for conflicts; None if there is no site."""
        return None if self._loaded is None else self._rules.look(self._loaded.enforced)

    @property
    def is_loaded(self) -> bool:
        return self._loaded is not None

    def takes(self, put: Iterable[Source]) -> bool:
        """Return whether changes can be taken in; else everything has to be loaded."""
        return self._loaded is not None and self._loaded.takes(put)

    def able(self, node: str, abilities: frozenset[str]) -> Changes:
        """Mind what a node's agent can do; what it can't, it is told nothing of."""
        changed = False
        for what, unable in self._unable.items():
            if (node in unable) == (what in abilities):
                changed = True
                (unable.discard if what in abilities else unable.add)(node)
        loaded = self._loaded
        if not changed or loaded is None or node not in self._published:
            return Changes({})
        if not loaded.look_again(node):
            return Changes({})
        before = self._published[node]
        published = Published(before.generation, loaded.hash(node), before.policies)
        self._published[node] = published
        return Changes({node: NodeChange(published)})

    def snapshot(self, node: str) -> tuple[Published, bytes] | None:
        """Return a node's newest configuration, whole, as a line; None if it isn't admitted."""
        if self._loaded is None or node not in self._published:
            return None
        published = self._published[node]
        configuration = self._loaded.configuration(node)
        return published, snapshot_line(published.generation, published.hash, configuration)
