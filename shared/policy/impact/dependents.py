"""Which objects depend on others, and by what chain: who may be touched when one changes.

    Network App <- SecurityPolicy three-tier <- Override legacy-ftp

A name ties all of its definitions to whoever uses it: which of them counts is another question,
and another one's answer on another node.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.ids import COMMON, Key
from shared.model.inventory import Node, NodeGroup, Region, Site, Workload
from shared.model.policy import SecurityPolicy
from shared.model.policytest import PolicyTest
from shared.model.selectors import Selector
from shared.policy.definitions import Name, name_of, read_exemption, target_of
from shared.policy.faults.references import references
from shared.policy.inputs import Document, SiteInputs
from shared.policy.loaded.garbage import collection_paused

DEPENDENTS: Final = 100
"""So many are told."""

_PLACES: Final = frozenset({"Region", "Site", "Tenant", "NodeGroup", "Node"})
_SCOPES: Final = {"region": "Region", "group": "NodeGroup", "node": "Node"}

Tie = Key | Name
"""An object, or a name in whatever scope."""


@dataclass(frozen=True, slots=True)
class Dependent:
    """An object, and the objects that tie it to what it depends on, that one first."""

    key: Key
    chain: tuple[Key, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.key.kind,
            "tenant": self.key.tenant,
            "scope": self.key.scope,
            "name": self.key.name,
            "chain": [str(each) for each in self.chain],
        }


def changed_objects(before: SiteInputs, after: SiteInputs) -> list[Key]:
    """Return what is in one version only, or says something else in the other."""
    old = {each.key: (each.spec, each.labels) for each in before}
    new = {each.key: (each.spec, each.labels) for each in after}
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def dependents(
    targets: Sequence[Key], *versions: SiteInputs, tests: Iterable[Document] = ()
) -> list[Dependent]:
    """Return what depends on any of the targets, nearest first, each by its shortest chain.

    Of several versions the targets are all that differs between them; versions are asked in order,
    and what one finds the next doesn't add again.  An Override stands for its target: who depends
    on that depends on it.
    """
    with collection_paused():
        return _dependents(targets, versions, tests)


def _dependents(
    targets: Sequence[Key], versions: Iterable[SiteInputs], tests: Iterable[Document]
) -> list[Dependent]:
    given = [*tests]
    found: dict[Key, Dependent] = {}
    asked: dict[Key, object] = {}
    for inputs in versions:
        documents = {each.key: each for each in (*inputs, *given)}
        # Who is tied to an object is as before, unless it chooses or is chosen otherwise.
        ties = {key: _ties(documents[key]) for key in targets if key in documents}
        wanted = [key for key, tie in ties.items() if asked.get(key) != tie]
        if wanted:
            for each in _Ties(inputs.site, documents, wanted, targets).dependents():
                found.setdefault(each.key, each)
        asked |= ties
    return sorted(found.values(), key=lambda each: (len(each.chain), each.key))


def _ties(document: Document) -> object:
    """Return what of an object decides who depends on it, beside its key."""
    exemption = read_exemption(document)
    target = None if exemption is None else target_of(exemption.terms)
    return document.labels, target


class _Ties:
    """The objects of a site's version as a graph, from what is used to who uses it."""

    def __init__(
        self,
        site: str,
        documents: Mapping[Key, Document],
        targets: Sequence[Key],
        untold: Iterable[Key],
    ) -> None:
        """`untold` are no dependents: what changes by itself."""
        import networkx as nx  # noqa: PLC0415 - seldom needed, and it takes a fifth of a second

        here = {key: each for key, each in documents.items() if _is_of(each, site)}
        self._untold: Final = frozenset(untold)
        self._declared: Final = {name_of(key) for key in here}
        self._places: Final = _places(here)
        self._targets: Final = [here[key] for key in targets if key in here]
        self._graph: Final[nx.DiGraph[Tie]] = nx.DiGraph()
        for key, document in here.items():
            # A name is used through any of its definitions.
            self._graph.add_edge(key, name_of(key))
            self._graph.add_edges_from((used, key) for used in self._used(document))
        for each in self._targets:
            if (found := read_exemption(each)) is not None:
                self._graph.add_edge(each.key, target_of(found.terms))

    def dependents(self) -> Iterator[Dependent]:
        import networkx as nx  # noqa: PLC0415 - as above

        if not self._targets:
            return
        begins = sorted(each.key for each in self._targets)
        paths: Mapping[Tie, list[Tie]] = nx.multi_source_dijkstra_path(self._graph, begins)
        for tie, path in paths.items():
            if isinstance(tie, Key) and tie not in self._untold:
                yield Dependent(tie, tuple(each for each in path if isinstance(each, Key)))

    def _used(self, document: Document) -> Iterator[Tie]:
        """Yield what an object depends on."""
        key, spec = document.key, document.spec
        place, _, inner = key.scope.partition("/")
        yield from self._at(_SCOPES.get(place), inner)
        if key.tenant != COMMON:
            yield from self._at("Tenant", key.tenant)
        if isinstance(spec, Region):
            yield from self._at("Region", spec.parent)
        elif isinstance(spec, Site):
            yield from self._at("Region", spec.region)
        elif isinstance(spec, NodeGroup):
            yield from self._at("NodeGroup", spec.parent)
        elif isinstance(spec, Node):
            yield from self._at("NodeGroup", *spec.groups)
        elif isinstance(spec, Workload):
            yield from self._at("Node", spec.node)
        elif isinstance(spec, PolicyTest):
            yield from self._tested(key.tenant, spec)
        elif isinstance(spec, SecurityPolicy):
            yield from self._named(key.tenant, spec)
        elif (found := read_exemption(document)) is not None:
            target = target_of(found.terms)
            yield target
            if isinstance(found.spec, SecurityPolicy):
                yield from self._named(target.tenant, found.spec)

    def _named(self, tenant: str, spec: SecurityPolicy) -> Iterator[Tie]:
        for _, kind, name in references(spec):
            yield self._meant(kind, tenant, name)
        for rule in spec.rules:
            for peers in (rule.from_, rule.to):
                for peer in () if peers == "any" else peers:
                    yield from self._selected("Network", tenant, peer.networks)
                    yield from self._selected("Workload", tenant, peer.workloads)

    def _tested(self, tenant: str, spec: PolicyTest) -> Iterator[Tie]:
        yield from self._at("Site", spec.site)
        yield from self._at("Node", spec.node)
        for flow in spec.flows:
            if self._meant("Service", tenant, flow.service) in self._declared:
                yield self._meant("Service", tenant, flow.service)
            for end in (flow.from_, flow.to):
                if end.network is not None:
                    yield self._meant("Network", tenant, end.network)
                if end.workload is not None:
                    yield self._meant("Workload", tenant, end.workload)
                yield from self._selected("Network", tenant, end.networks)
                yield from self._selected("Workload", tenant, end.workloads)

    def _meant(self, kind: str, tenant: str, name: str) -> Name:
        own = Name(kind, tenant, name)
        return own if own in self._declared else Name(kind, COMMON, name)

    def _selected(self, kind: str, tenant: str, selector: Selector | None) -> Iterator[Tie]:
        """Yield the targets that a selector means: who is chosen by labels is no step of a chain
        to others, and may be very many.
        """
        if selector is not None:
            for each in self._targets:
                of = each.key.tenant
                seen = tenant == COMMON or of in (tenant, COMMON)
                if each.key.kind == kind and seen and selector.matches(each.labels):
                    yield each.key

    def _at(self, kind: str | None, *names: str | None) -> Iterator[Tie]:
        for name in names:
            if (key := self._places.get((kind, name))) is not None:
                yield key


def _is_of(document: Document, site: str) -> bool:
    """Return whether a document is an affair of the site: not another Site, nor a test of one."""
    spec = document.spec
    if isinstance(spec, PolicyTest):
        return spec.site == site
    return not isinstance(spec, Site) or document.key.name == site


def _places(keys: Iterable[Key]) -> Mapping[tuple[str | None, str | None], Key]:
    """Return the objects that others name without a tenant, by kind and name."""
    return {(key.kind, key.name): key for key in keys if key.kind in _PLACES}
