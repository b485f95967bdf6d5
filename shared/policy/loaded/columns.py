"""A view compiled from nothing, all of it at once: rules and sides as rows of columns.

The quick way from a site's objects to resolved rules.  It makes no object for a rule, a side or
the name of a network: who wants to go on changing has LoadedView make them.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import orjson

from shared.algebra import intervals
from shared.algebra.bulk import Unions, parse_prefixes, texts_of, unite
from shared.algebra.cidrs import Family, canonical_addresses, prefix_range, prefix_text, prefixes
from shared.ids import COMMON
from shared.policy.loaded.names import Names, PolicyInForce, other_text
from shared.policy.loaded.peers import Peer
from shared.policy.loaded.rules import Services
from shared.policy.loaded.source import JSON

NONE: Final = -1
"""In place of a row: any."""

V6: Family = 6
_BOUND: Final = ("\1networks", "\1workloads")
_BLOCK: Final = 1000  # sides: what they need stays in the cache


RuleRow = tuple[int, JSON, int, int, int]
"""A rule: its policy's row, as it is stored, and the rows of source, destination and services."""


class Columns:
    """What a view makes of policy.

    `sides[i]` are rows of `peers`; `cidrs[i]` is what it stands for, minimal, IPv4 first.  Peers
    that are asked for in another order are another row.
    """

    def __init__(self, names: Names) -> None:
        self.names: Final = names
        self.policies: Final[list[PolicyInForce]] = names.policies()
        self.rules: Final[list[RuleRow]] = []
        self.bounds: Final[list[int]] = []
        """For each policy the row of its tenant's own addresses."""
        self.sides: Final[list[Sequence[int]]] = []
        self.peers: Final[list[tuple[str, str] | Peer]] = []
        """A tenant and the network that its policies name, or another peer."""
        self.services: Final[list[Services]] = []
        self.bound_rows: Final[dict[str, int]] = {}
        self._asked: Final[dict[tuple[str, ...], int]] = {}
        self._given: Final[dict[tuple[str, str], JSON]] = {}
        self._service_rows: Final[dict[tuple[str, str], int]] = {}
        for policy in self.policies:
            tenant = policy.name.tenant
            row = NONE if tenant == COMMON else self._asked.setdefault((tenant,), len(self._asked))
            self.bounds.append(row)
        for row, policy in enumerate(self.policies):
            self._add_rules(row, policy)
        self._add_sides()
        self.cidrs, self.blocks = _settle(self.sides, self._cidrs())

    def _add_rules(self, row: int, policy: PolicyInForce) -> None:
        tenant = policy.name.tenant
        asked, services, rules = self._asked, self._service_rows, self.rules
        for data in policy.rules:
            source = destination = service = NONE
            if (given := data["from"]) != "any":
                try:
                    peers = (tenant, *[each["network"] for each in given])
                except KeyError:
                    peers = self._texts(tenant, given)
                source = asked.setdefault(peers, len(asked))
            if (given := data["to"]) != "any":
                try:
                    peers = (tenant, *[each["network"] for each in given])
                except KeyError:
                    peers = self._texts(tenant, given)
                destination = asked.setdefault(peers, len(asked))
            if (wanted := data.get("services", "any")) != "any":
                key = services_key(wanted)
                found = services.get((tenant, key))
                service = self._add_services(tenant, key, wanted) if found is None else found
            rules.append((row, data, source, destination, service))

    def _texts(self, tenant: str, given: Sequence[JSON]) -> tuple[str, ...]:
        found = [tenant]
        for each in given:
            text = each.get("network")
            if text is None:
                text = other_text(each)
                self._given[tenant, text] = each
            found.append(text)
        return tuple(found)

    def _add_sides(self) -> None:
        """Make sides of what was asked for: a tenant's own addresses, or what its rules say."""
        rows: dict[str, int] = {}
        append = self.sides.append
        for row, asked in enumerate(self._asked):
            tenant = asked[0]
            if tenant == COMMON:
                append([rows.setdefault(text, len(rows)) for text in asked[1:]])
            elif len(asked) == 1:
                self.bound_rows[tenant] = row
                append([rows.setdefault(f"{tenant}\0{part}", len(rows)) for part in _BOUND])
            else:
                append([rows.setdefault(f"{tenant}\0{text}", len(rows)) for text in asked[1:]])
        bounds = {tenant: self.names.bound_peers(tenant) for tenant in self.bound_rows}
        for text in rows:
            tenant, _, name = text.rpartition("\0")
            if name in _BOUND:
                self.peers.append(bounds[tenant][_BOUND.index(name)])
            elif (given := self._given.get((tenant or COMMON, name))) is None:
                self.peers.append((tenant or COMMON, name))
            else:
                self.peers.append(self.names.other_peer(tenant or COMMON, name, given))

    def _add_services(self, tenant: str, key: str, given: Sequence[JSON]) -> int:
        services = Services(tenant, key, given)
        services.matches = self.names.matches(tenant, given)
        row = self._service_rows[tenant, key] = len(self.services)
        self.services.append(services)
        return row

    def _cidrs(self) -> list[Sequence[str]]:
        """Return what each peer stands for, in CIDRs that may overlap."""
        found: list[Sequence[str]] = [()] * len(self.peers)
        named: dict[str, list[tuple[int, str]]] = {}
        for row, peer in enumerate(self.peers):
            if isinstance(peer, Peer):
                found[row] = peer.cidrs()
            else:
                named.setdefault(peer[0], []).append((row, peer[1]))
        for tenant, rows in named.items():
            subnets = self.names.subnets(tenant, [name for _, name in rows])
            for (row, _), cidrs in zip(rows, subnets, strict=True):
                found[row] = cidrs
        return found


def services_key(given: Sequence[JSON]) -> str:
    """Return what tells one list of services from another: the name of a single one, or JSON."""
    if len(given) == 1 and "service" in given[0]:
        name: str = given[0]["service"]
        return name
    # A name has no bracket in it.
    return orjson.dumps(given).decode()


def _settle(
    sides: Sequence[Sequence[int]], given: list[Sequence[str]]
) -> tuple[list[Sequence[str]], list[Unions]]:
    """Return each side's minimal CIDRs, and those of IPv4 as numbers, in blocks of sides.

    `given` are the peers' CIDRs, which may overlap.  No block if they aren't canonical.
    """
    texts = [text for cidrs in given for text in cidrs]
    four = given
    has_six = ":" in "".join(texts)
    if has_six:
        four = [[text for text in cidrs if ":" not in text] for cidrs in given]
        texts = [text for cidrs in four for text in cidrs]
    codes = parse_prefixes(texts)
    if codes is None:
        # Stored specs are canonical; whoever has others pays for the long way.
        return [
            canonical_addresses(text for row in side for text in given[row]).cidrs()
            for side in sides
        ], []
    sizes = np.array([len(cidrs) for cidrs in four], dtype=np.int64)
    firsts = np.cumsum(sizes) - sizes
    known = np.array([*texts, None], dtype=object)
    cidrs: list[Any] = []
    blocks = []
    printed: dict[int, str] = {}
    for start in range(0, len(sides), _BLOCK):
        block = sides[start : start + _BLOCK]
        peers = np.array([row for side in block for row in side], dtype=np.int64)
        counts = np.array([len(side) for side in block], dtype=np.int64)
        lengths = sizes[peers]
        # For each peer of each side the places of its prefixes, one after the other.
        places = np.repeat(firsts[peers] - (np.cumsum(lengths) - lengths), lengths)
        places += np.arange(len(places))
        groups = np.repeat(np.repeat(np.arange(len(block)), counts), lengths)
        unions = unite(codes[places], groups, len(block))
        blocks.append(unions)
        found = texts_of(unions, known, places, printed)
        cidrs += [found[low:high] for low, high in pairwise(unions.bounds.tolist())]
    if has_six:
        six = [[text for text in each if ":" in text] for each in given]
        for place, side in enumerate(sides):
            cidrs[place] += _united([text for row in side for text in six[row]])
    return cidrs, blocks


def _united(texts: Sequence[str]) -> list[str]:
    """Return the minimal IPv6 prefixes of a union, as they were given where they were."""
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
