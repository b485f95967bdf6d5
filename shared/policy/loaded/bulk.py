"""All sides of a view at once, when it is loaded."""

from collections.abc import Sequence

import numpy as np

from shared.algebra import intervals
from shared.algebra.bulk import Unions, parse_prefixes, texts_of, unite
from shared.algebra.cidrs import Family, prefix_range, prefix_text, prefixes
from shared.policy.loaded.cells import FAMILIES, Peer, Side, Window, pairs
from shared.policy.loaded.owners import Owners

V4: Family = 4
V6: Family = 6


def settle_all(sides: Sequence[Side]) -> Unions | None:
    """Give each side its members; return those of IPv4, side by side."""
    rows: dict[Peer, int] = {}
    flat = [rows.setdefault(peer, len(rows)) for side in sides for peer in side.peers]
    given = [peer.cidrs() for peer in rows]
    texts = [text for cidrs in given for text in cidrs]
    six: list[list[str]] | None = None
    if ":" in "".join(texts):
        six = [[text for text in cidrs if ":" in text] for cidrs in given]
        given = [[text for text in cidrs if ":" not in text] for cidrs in given]
        texts = [text for cidrs in given for text in cidrs]
    codes = parse_prefixes(texts)
    if codes is None:
        # Stored specs are canonical; whoever has others pays for the long way.
        for side in sides:
            _ = side.addresses
        return None
    sizes = np.fromiter(map(len, given), dtype=np.int64, count=len(given))
    firsts = np.cumsum(sizes) - sizes
    peers = np.array(flat, dtype=np.int64)
    counts = np.fromiter([len(side.peers) for side in sides], dtype=np.int64, count=len(sides))
    owners = np.repeat(np.arange(len(sides)), counts)
    lengths = sizes[peers]
    # For each peer of each side the places of its prefixes, one after the other.
    places = np.repeat(firsts[peers] - (np.cumsum(lengths) - lengths), lengths)
    places += np.arange(len(places))
    unions = unite(codes[places], np.repeat(owners, lengths), len(sides))
    found = texts_of(unions, texts, places)
    bounds = unions.bounds.tolist()
    if six is None:
        for place, side in enumerate(sides):
            side.settle(found[bounds[place] : bounds[place + 1]])
        return unions
    for place, side in enumerate(sides):
        cidrs = found[bounds[place] : bounds[place + 1]]
        side.settle(cidrs + _united([six[rows[peer]] for peer in side.peers]))
    return unions


def _united(given: Sequence[Sequence[str]]) -> list[str]:
    """Return the minimal IPv6 prefixes of a union, as they were given where they were."""
    texts = [text for cidrs in given for text in cidrs]
    if not texts:
        return []
    known: dict[tuple[int, int], str] = {}
    ranges = []
    for text in texts:
        _, start, end = prefix_range(text)
        known[start, end] = text
        ranges.append((start, end - 1))
    found = []
    for start, length in prefixes(V6, intervals.from_ranges(ranges)):
        text = known.get((start, start + (1 << 128 - length)), "")
        found.append(text or prefix_text(V6, start, length))
    return found


def count_all(sides: Sequence[Side], unions: Unions | None, owners: Owners) -> None:
    """Count the own addresses of nodes in each side."""
    if unions is None:
        for side in sides:
            for family in FAMILIES:
                _count(side, family, owners)
        return
    addresses = np.array(owners.sorted[V4], dtype=np.int64)
    low = np.searchsorted(addresses, unions.starts)
    high = np.searchsorted(addresses, unions.ends)
    hits = np.flatnonzero(high > low)
    side_of_run = np.repeat(np.arange(len(sides)), np.diff(unions.run_bounds))
    of, every = owners.of[V4], owners.sorted[V4]
    rows = zip(side_of_run[hits].tolist(), low[hits].tolist(), high[hits].tolist(), strict=True)
    for place, first, last in rows:
        counts = sides[place].nodes.setdefault(V4, {})
        for address in every[first:last]:
            for node in of[address]:
                counts[node] = counts.get(node, 0) + 1
    if owners.sorted[V6]:
        for side in sides:
            if side.cidrs and ":" in side.cidrs[-1]:
                _count(side, V6, owners)


def _count(side: Side, family: Family, owners: Owners) -> None:
    counts = side.nodes.setdefault(family, {})
    for start, end in pairs(side.addresses.of(family)):
        for node in owners.within(Window(family, start, end)):
            counts[node] = counts.get(node, 0) + 1
