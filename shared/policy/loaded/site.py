"""A whole site, loaded: objects in, one at a time or many; steps for its nodes out.

The planner of shared.policy.compile says what a site's documents mean; this package holds that
meaning ready and moves it along with each change.  What a change costs grows with what it touches
(the rules that use a name, the nodes that those concern), not with the site.

    source      objects as a store holds them, read as far as needed; definitions by name
    workloads   workloads by label and by node
    names       what names mean along one chain
    columns     a view compiled at once
    peers, sides, rules     what is computed, each thing once, linked to what depends on it
    ends, view  one chain's peers and sides, its policies: made from columns, then changed
    selecting, stabbing, owners, counting       indexes for what a change concerns
    balancing   which nodes balance, and what
    nodes       one node: its rules in order, its sets, the sum behind its hash, its delta
    wire        what travels
    staging     two loaded sites side by side: what is enforced, and what would be

Inheritance and the order of policies are those of shared.policy.inherit and compile; that both
ways agree is held by tests over random edits.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, Literal, cast

from shared.errors import NotFound
from shared.ids import COMMON, FEDERATION, SITE, Key
from shared.policy.definitions import Name
from shared.policy.inherit import Inheritance
from shared.policy.loaded.balancing import LoadedBalancing
from shared.policy.loaded.columns import Columns
from shared.policy.loaded.garbage import collection_paused
from shared.policy.loaded.names import POLICY, Names
from shared.policy.loaded.nodes import LoadedNode, Step
from shared.policy.loaded.source import NAMED_KINDS, LoadedDefinitions, Source
from shared.policy.loaded.view import LoadedView
from shared.policy.loaded.workloads import Host, WorkloadTable, hosts_of, node_of
from shared.policy.nodeconfig import NodeConfiguration
from shared.policy.scopes import Chain, group_chain, region_chain

_STRUCTURE: Final = frozenset({"Site", "Region", "NodeGroup", "Node"})

Steps = Mapping[str, Step | None]
"""By node; None for one that is admitted no longer."""


class LoadedSite:
    """One site, compiled, ready for changes.

    NotFound (`unknown_site`) if the Site itself isn't among the sources, or goes.
    """

    def __init__(
        self,
        site: str,
        sources: Iterable[Source],
        *,
        now: datetime,
        own_view: bool = False,
        staged: bool = False,
        balances: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`now` (with a zone) judges the expiry of overrides; `own_view` asks for `view`; with
        `staged`, staged policies count as enforced.  `balances` says whether a node's agent can.
        """
        self.now = now
        self._counts_staged: Final = staged
        self._has_own_view: Final = own_view
        self.nodes: Final[dict[str, LoadedNode]] = {}
        """The admitted nodes."""
        self._key: Final = Key("Site", COMMON, FEDERATION, site)
        self._structure: Final[dict[Key, Source]] = {}
        self._definitions: Final = LoadedDefinitions()
        self._workloads: Final = WorkloadTable()
        self._views: Final[dict[Chain, LoadedView]] = {}
        self._chains: Final[dict[str, Chain]] = {}
        self._balancing: Final = LoadedBalancing(self._definitions, self._workloads, balances)
        with collection_paused():
            self._load(sources)

    def _load(self, sources: Iterable[Source]) -> None:
        for source in sources:
            kind = source.key.kind
            if kind in NAMED_KINDS or kind == "Override":
                self._definitions.put(source)
            elif kind == "Workload":
                self._workloads.put(source)
            elif kind in _STRUCTURE:
                self._structure[source.key] = source
        self._inheritance = self._make_inheritance()
        default = self.default_action
        joining: dict[Chain, dict[LoadedNode, Counter[Host]]] = {}
        for name, chain in self._admitted().items():
            node = self.nodes[name] = LoadedNode(name, default)
            hosts = self._workloads.hosts(name)
            node.hosts.update(dict.fromkeys(hosts))
            joining.setdefault(chain, {})[node] = hosts
            self._chains[name] = chain
        for chain, nodes in joining.items():
            self._views[chain] = self._make_view(chain, nodes)
        self._add_own_view()
        self._balance(None)

    @property
    def view(self) -> LoadedView:
        """The site's own view, whatever its nodes see with; KeyError unless it was asked for.

        After a change of the site's regions it is another one.
        """
        return self._views[self._site_chain]

    @property
    def views(self) -> Iterable[LoadedView]:
        """The distinct views of the admitted nodes, and the site's own if it was asked for."""
        return self._views.values()

    def _add_own_view(self) -> None:
        if self._has_own_view and self._site_chain not in self._views:
            self._views[self._site_chain] = self._make_view(self._site_chain, {})

    def columns(self, node: str | None = None, *, staged: bool = False) -> Columns:
        """Compile what the site, or one of its nodes, makes of policy.

        NotFound (`unknown_node`).
        """
        chain = self._site_chain if node is None else self._chain(node)
        with collection_paused():
            return Columns(self._names(chain, staged=staged))

    @property
    def default_action(self) -> Literal["allow", "deny"]:
        """What becomes of traffic that no rule decides; NotFound (`unknown_site`)."""
        return cast("Literal['allow', 'deny']", self._site.data.get("defaultAction", "deny"))

    def configuration(self, node: str) -> NodeConfiguration:
        """Return what an admitted node enforces; KeyError if there is none of that name."""
        return self.nodes[node].configuration()

    def hash(self) -> str:
        """Return the SHA-256 (hex) of what all nodes enforce."""
        digest = hashlib.sha256()
        for name, node in sorted(self.nodes.items()):
            digest.update(f"{name} {node.hash}\n".encode())
        return digest.hexdigest()

    def change(
        self, put: Iterable[Source] = (), delete: Iterable[Key] = (), *, now: datetime | None = None
    ) -> Steps:
        """Add, replace and remove objects, let time pass, and return what changes for each node.

        All of it is one change: nodes see only its end.  A node that is newly admitted has no
        step; it is in `nodes` afterwards.  NotFound (`unknown_site`) if the Site goes: what is
        loaded is of no use then.
        """
        known = {name: node.hash for name, node in self.nodes.items()}
        batch = _Batch(frozenset(self._definitions.narrow_scopes))
        for key in delete:
            self._delete(key, batch)
        for source in put:
            self._put(source, batch)
        self._pass_time(now, batch)
        self._carry_out(batch)
        steps: dict[str, Step | None] = {name: None for name in known if name not in self.nodes}
        changed = {
            view: {side: members.fragment for side, members in view.changed.items() if members}
            for view in self._views.values()
        }
        for name, node in self.nodes.items():
            step = node.step(changed[self._views[self._chains[name]]])
            if step is not None and name in known:
                steps[name] = step
        for view in self._views.values():
            view.changed.clear()
        return steps

    # Tables.

    def _put(self, source: Source, batch: "_Batch") -> None:
        kind = source.key.kind
        if kind in NAMED_KINDS or kind == "Override":
            batch.touch(self._definitions.target(source.key))
            batch.touch(self._definitions.put(source))
        elif kind == "Workload":
            batch.workloads.append((self._workloads.put(source), source))
        elif kind in _STRUCTURE:
            batch.structure.add(source.key)
            self._structure[source.key] = source

    def _delete(self, key: Key, batch: "_Batch") -> None:
        if key.kind in NAMED_KINDS or key.kind == "Override":
            batch.touch(self._definitions.discard(key))
        elif key.kind == "Workload":
            batch.workloads.append((self._workloads.discard(key), None))
        elif key.kind in _STRUCTURE:
            batch.structure.add(key)
            self._structure.pop(key, None)

    def _pass_time(self, now: datetime | None, batch: "_Batch") -> None:
        if now is None or now == self.now:
            return
        early, late = sorted((self.now, now))
        for name, exemption in self._definitions.exempted:
            expires_at = exemption.terms.expires_at
            if expires_at is not None and early < expires_at <= late:
                batch.touch(name)
        self.now = now
        batch.judged_anew = True

    # Carrying out.

    def _carry_out(self, batch: "_Batch") -> None:
        default = self.default_action
        if self._key in batch.structure:
            batch.judged_anew = True
            for name in self._definitions.names("SecurityPolicy"):
                batch.touch(name)
        if batch.judged_anew:
            self._inheritance = self._make_inheritance()
        moving = self._move(batch)
        for view in self._views.values():
            view.names.inheritance = self._inheritance
            self._change_view(view, batch)
        for node in self.nodes.values():
            node.change_default(default)
            if node.name not in moving:
                self._change_hosts(node, batch)
        for view in self._views.values():
            for name in batch.named("Service"):
                view.service_changed(name)
            for name in batch.named("SecurityPolicy"):
                view.policy_changed(name)
        for node_name, chain in moving.items():
            if chain not in self._views:
                self._views[chain] = self._make_view(chain, {})
            self._views[chain].join(self.nodes[node_name], self._workloads.hosts(node_name))
            self._chains[node_name] = chain
        self._add_own_view()
        for view in self._views.values():
            view.settle()
        self._balance(batch)

    def balance_again(self) -> None:
        """Mind anew which agents can balance; what changes by that is no step."""
        self._balance(None)

    def _balance(self, batch: "_Batch | None") -> None:
        """Let nodes balance what they should after a change; None is everything."""
        if not self._balancing.is_wanted:
            return
        kinds = {name.kind for name in batch.names} - {POLICY} if batch else set()
        chosen = batch is None or bool(batch.structure or kinds) or batch.judged_anew
        if not chosen and (batch is None or not batch.workloads):
            return
        if chosen:
            self._balancing.choose({name: self._declared(name) for name in self.nodes}, self._seen)
        self._balancing.distribute(self.nodes, self._seen, loading=batch is None)

    def _declared(self, node: str) -> Iterable[str]:
        source = self._structure[Key("Node", COMMON, SITE, node)]
        return cast("Iterable[str]", source.data.get("services", ()))

    def _seen(self, node: str) -> Names:
        return self._views[self._chains[node]].names

    def _change_view(self, view: LoadedView, batch: "_Batch") -> None:
        for name in batch.named("Network"):
            view.ends.network_changed(name)
        for before, after in batch.workloads:
            if before is not None or after is not None:
                view.ends.workload_changed(before, after)
        view.settle_sides()

    def _change_hosts(self, node: LoadedNode, batch: "_Batch") -> None:
        view = self._views[self._chains[node.name]]
        hosts: Counter[Host] = Counter()
        for before, after in batch.workloads:
            if node_of(before) == node.name:
                hosts.subtract(hosts_of(before))
            if node_of(after) == node.name:
                hosts.update(hosts_of(after))
        for host, count in hosts.items():
            for _ in range(count):
                view.host_came(node, host)
            for _ in range(-count):
                view.host_went(node, host)

    def _move(self, batch: "_Batch") -> dict[str, Chain]:
        """Take nodes out of views that they leave; return where nodes are to come in."""
        if not batch.structure and batch.scopes == self._definitions.narrow_scopes.keys():
            return {}
        wanted = self._admitted()
        for name in [each for each in self.nodes if each not in wanted]:
            gone = self.nodes.pop(name)
            self._leave(gone)
            gone.let_go()
        moving = {}
        for name, chain in wanted.items():
            if name not in self.nodes:
                self.nodes[name] = LoadedNode(name, self.default_action)
            elif self._chains[name] == chain:
                continue
            else:
                self.nodes[name].start_over(self._leave)
            moving[name] = chain
        stay = set(self._chains.values())
        if self._has_own_view:
            stay.add(self._site_chain)
        for chain in [each for each in self._views if each not in stay]:
            del self._views[chain]
        return moving

    def _leave(self, node: LoadedNode) -> None:
        self._views[self._chains.pop(node.name)].leave(node)

    # Structure.

    @property
    def _site(self) -> Source:
        source = self._structure.get(self._key)
        if source is None:
            raise NotFound(
                f"there is no Site {self._key.name} in the federation; declare it there",
                code="unknown_site",
            )
        return source

    def _make_inheritance(self, *, staged: bool = False) -> Inheritance:
        return Inheritance(
            self._definitions,
            labels=self._site.labels,
            now=self.now,
            staged=staged or self._counts_staged,
        )

    def _make_view(self, chain: Chain, nodes: Mapping[LoadedNode, Counter[Host]]) -> LoadedView:
        return LoadedView(self._names(chain), nodes)

    def _names(self, chain: Chain, *, staged: bool = False) -> Names:
        return Names(
            chain,
            definitions=self._definitions,
            inheritance=self._make_inheritance(staged=True) if staged else self._inheritance,
            workloads=self._workloads,
        )

    @property
    def _site_chain(self) -> Chain:
        return (SITE, *self._upstream())

    def _upstream(self) -> Chain:
        return region_chain(self._site.data.get("region"), self._parents("Region"))

    def _parents(self, kind: str) -> dict[str, str | None]:
        return {
            key.name: source.data.get("parent")
            for key, source in self._structure.items()
            if key.kind == kind
        }

    def _admitted(self) -> dict[str, Chain]:
        """Return the admitted nodes, in name order, with the part of their chain that matters."""
        groups, outer = self._parents("NodeGroup"), self._site_chain
        return {
            key.name: self._reduced(source, groups, outer)
            for key, source in sorted(self._structure.items(), key=lambda each: each[0])
            if key.kind == "Node" and source.data.get("admission", "admitted") == "admitted"
        }

    def _chain(self, node: str) -> Chain:
        source = self._structure.get(Key("Node", COMMON, SITE, node))
        if source is None:
            raise NotFound(f"site {self._key.name} has no node {node}", code="unknown_node")
        return self._reduced(source, self._parents("NodeGroup"), self._site_chain)

    def _reduced(self, node: Source, groups: Mapping[str, str | None], outer: Chain) -> Chain:
        """Return the part of a node's chain that matters: nodes that differ only in scopes
        without definitions see the same.
        """
        own = (f"node/{node.key.name}", *group_chain(node.data.get("groups", ()), groups))
        narrow = self._definitions.narrow_scopes
        return (*(scope for scope in own if scope in narrow), *outer)


class _Batch:
    """What one change concerns."""

    def __init__(self, scopes: frozenset[str]) -> None:
        """`scopes` are those that had definitions before."""
        self.scopes: Final = scopes
        self.names: dict[Name, None] = {}
        self.workloads: list[tuple[Source | None, Source | None]] = []
        self.structure: set[Key] = set()
        self.judged_anew = False
        """Whether time has passed, or the Site's labels may have changed."""

    def touch(self, name: Name | None) -> None:
        if name is not None:
            self.names[name] = None

    def named(self, kind: str) -> list[Name]:
        return [name for name in self.names if name.kind == kind]
