"""Which peers cover an address: prefixes in a table for each length."""

from collections.abc import Iterator
from typing import Final

from shared.algebra.cidrs import BITS, Family, prefix_range
from shared.policy.loaded.peers import Peer


class PrefixIndex:
    """Prefixes of peers.  A peer may have one several times, and overlapping ones."""

    def __init__(self) -> None:
        # By family and prefix length: the first address, then the peers and how often.
        self._tables: Final[dict[tuple[Family, int], dict[int, dict[Peer, int]]]] = {}

    def put(self, cidr: str, peer: Peer) -> None:
        family, start, end = prefix_range(cidr)
        table = self._tables.setdefault((family, BITS[family] - (end - start).bit_length() + 1), {})
        peers = table.setdefault(start, {})
        peers[peer] = peers.get(peer, 0) + 1

    def discard(self, cidr: str, peer: Peer) -> None:
        family, start, end = prefix_range(cidr)
        place = (family, BITS[family] - (end - start).bit_length() + 1)
        table = self._tables[place]
        peers = table[start]
        peers[peer] -= 1
        if not peers[peer]:
            del peers[peer]
        if not peers:
            del table[start]
        if not table:
            del self._tables[place]

    def covering(self, family: Family, address: int) -> Iterator[Peer]:
        """Yield the peers with a prefix that holds an address; some may come again."""
        for (of, length), table in self._tables.items():
            if of == family:
                free = BITS[family] - length
                yield from table.get(address >> free << free, ())
