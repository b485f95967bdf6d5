"""Which nodes have which addresses as their own, findable by range."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from typing import Final

from shared.algebra.cidrs import Family
from shared.policy.loaded.peers import Window


class Owners:
    """The own addresses of a view's nodes.  Two workloads of a node may share one."""

    def __init__(self) -> None:
        self.sorted: Final[dict[Family, list[int]]] = {4: [], 6: []}
        self.of: Final[dict[Family, dict[int, dict[str, int]]]] = {4: {}, 6: {}}
        self.families: Final[dict[Family, dict[str, int]]] = {4: {}, 6: {}}
        """How many addresses of a family a node has."""

    def add(self, node: str, family: Family, address: int) -> bool:
        """Count one workload's address; return whether it is new to the node."""
        owners = self.of[family].get(address)
        if owners is None:
            owners = self.of[family][address] = {}
            insort(self.sorted[family], address)
        owners[node] = owners.get(node, 0) + 1
        if owners[node] > 1:
            return False
        counts = self.families[family]
        counts[node] = counts.get(node, 0) + 1
        return True

    def remove(self, node: str, family: Family, address: int) -> bool:
        """Count one workload's address less; return whether the node has it no longer."""
        owners = self.of[family][address]
        owners[node] -= 1
        if owners[node]:
            return False
        del owners[node]
        if not owners:
            del self.of[family][address]
            addresses = self.sorted[family]
            del addresses[bisect_left(addresses, address)]
        counts = self.families[family]
        counts[node] -= 1
        if not counts[node]:
            del counts[node]
        return True

    def within(self, window: Window) -> Iterator[str]:
        """Yield the node of each own address in a window; a node for each of its addresses."""
        addresses, of = self.sorted[window.family], self.of[window.family]
        low = bisect_left(addresses, window.start)
        high = bisect_left(addresses, window.end, low)
        for address in addresses[low:high]:
            yield from of[address]

    def nodes(self, family: Family) -> Mapping[str, int]:
        """Return how many own addresses of a family each node has."""
        return self.families[family]

    @property
    def is_empty(self) -> bool:
        return not (self.sorted[4] or self.sorted[6])
