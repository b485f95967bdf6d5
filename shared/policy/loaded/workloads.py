"""A site's workloads: by label for selectors, by node for what is a node's own."""

import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from pyroaring import BitMap

from shared.algebra.cidrs import Family
from shared.algebra.labels import LabelIndex
from shared.ids import COMMON, Key
from shared.model.selectors import Selector
from shared.policy.loaded.peers import Peer
from shared.policy.loaded.source import Source
from shared.policy.resolve import selector_terms

Host = tuple[Family, int]
"""One address."""


def hosts_of(source: Source | None) -> list[Host]:
    """Return a workload's addresses."""
    if source is None:
        return []
    return [_host(text) for text in source.data.get("addresses", ())]


def node_of(source: Source | None) -> str | None:
    """Return the node that enforces for a workload."""
    return None if source is None else source.data.get("node")


def selects_workload(peer: Peer, source: Source) -> bool:
    """Return whether a peer that selects workloads means this one."""
    assert peer.selector is not None, "it selects"
    seen = peer.tenant == COMMON or source.key.tenant in (COMMON, peer.tenant)
    return seen and peer.selector.matches(source.labels)


class WorkloadTable:
    """All workloads of a site, kept up to date one by one."""

    def __init__(self, sources: Iterable[Source] = ()) -> None:
        self._index: Final = LabelIndex()
        self._rows: Final[dict[Key, int]] = {}
        self._sources: Final[list[Source | None]] = []
        self._free: Final[list[int]] = []
        """Rows that nobody has any more."""
        self._tenants: Final[dict[str, BitMap]] = {}
        self._by_node: Final[dict[str, dict[Key, None]]] = {}
        for source in sources:
            self.put(source)

    def get(self, key: Key) -> Source | None:
        row = self._rows.get(key)
        return None if row is None else self._sources[row]

    def put(self, source: Source) -> Source | None:
        """Add or replace a workload; return what was there."""
        before = self.discard(source.key)
        if self._free:
            row = self._free.pop()
            self._sources[row] = source
        else:
            row = len(self._sources)
            self._sources.append(source)
        self._rows[source.key] = row
        self._index.put(row, source.labels)
        self._tenants.setdefault(source.key.tenant, BitMap()).add(row)
        if (node := node_of(source)) is not None:
            self._by_node.setdefault(node, {})[source.key] = None
        return before

    def discard(self, key: Key) -> Source | None:
        """Remove a workload; return what was there."""
        before = self.get(key)
        if before is not None:
            row = self._rows.pop(key)
            self._free.append(row)
            self._sources[row] = None
            self._index.discard(row)
            self._tenants[key.tenant].discard(row)
            if (node := node_of(before)) is not None:
                del self._by_node[node][key]
        return before

    def select(self, tenant: str, selector: Selector) -> Iterator[Source]:
        """Yield those that a selector means in a policy of a tenant."""
        among = None
        if tenant != COMMON:
            among = self._tenants.get(tenant, BitMap()) | self._tenants.get(COMMON, BitMap())
        return self._at(self._index.select(selector_terms(selector), among=among))

    def of_tenant(self, tenant: str) -> Iterator[Source]:
        return self._at(self._tenants.get(tenant, BitMap()))

    def hosts(self, node: str) -> Counter[Host]:
        """Return the addresses of a node's own workloads, and how many workloads have each."""
        found: Counter[Host] = Counter()
        for key in self._by_node.get(node, ()):
            found.update(hosts_of(self.get(key)))
        return found

    def _at(self, rows: Iterable[int]) -> Iterator[Source]:
        for row in rows:
            source = self._sources[row]
            assert source is not None, "what is indexed is there"
            yield source


def _host(text: str) -> Host:
    if ":" in text:
        return 6, int.from_bytes(socket.inet_pton(socket.AF_INET6, text), "big")
    return 4, int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
