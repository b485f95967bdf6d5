"""Sides: unions of peers, each once for all rules that ask for the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import orjson

from shared.algebra import intervals
from shared.algebra.cidrs import AddressSet, Family, canonical_addresses, prefix_text, prefixes
from shared.algebra.intervals import Intervals
from shared.encoding import encode_to_keep
from shared.policy.definitions import Name
from shared.policy.loaded.peers import Peer, Window, pairs, with_family
from shared.policy.nodehash import MODULUS, member_term, members_total, set_term
from shared.policy.nodeplan import set_id

if TYPE_CHECKING:
    from shared.policy.loaded.rules import Rule


@dataclass(slots=True)
class Members:
    """How the minimal CIDRs of a side change: what was there before, what is there after."""

    before: set[str] = field(default_factory=set)
    after: set[str] = field(default_factory=set)
    _encoded: bytes | None = None

    def replace(self, old: Iterable[str], new: Iterable[str]) -> None:
        gone, come = set(old), set(new)
        gone, come = gone - come, come - gone
        # What came in an earlier window and goes in this one was never seen from outside.
        self.before |= gone - self.after
        self.after -= gone
        self.after |= come - self.before
        self.before -= come

    def merge(self, later: "Members") -> None:
        """Take in what happened after this."""
        self._encoded = None
        self.replace(later.before, later.after)

    def __bool__(self) -> bool:
        return bool(self.before or self.after)

    @property
    def fragment(self) -> orjson.Fragment:
        """The change as it travels; encoded once for all nodes, after the last replacement."""
        if self._encoded is None:
            self._encoded = orjson.dumps({"add": sorted(self.after), "remove": sorted(self.before)})
        return orjson.Fragment(self._encoded)


class Holder(Protocol):
    """Who is told when a set changes that it has."""

    def set_changed(self, side: "Side", grown: int) -> None:
        """Take note; the sum of terms grew by `grown`, modulo 2^256."""
        ...


@dataclass(slots=True)
class _Wire:
    """What nodes know of a side."""

    id: str
    total: int | None = None
    members: bytes | None = None


class Side:
    """A union of peers, and everything that is asked of it.

    `rules` use it; `nodes` counts, for each family and node, how many of its own addresses lie
    here; `holders` are the nodes that have the set.
    """

    __slots__ = (
        "_addresses",
        "_cidrs",
        "_names",
        "_wire",
        "holders",
        "nodes",
        "peers",
        "rules",
        "tenant_bound",
    )

    def __init__(self, peers: Sequence[Peer], tenant_bound: str | None = None) -> None:
        """`tenant_bound` names the tenant whose own addresses these are."""
        self.peers = peers
        self.tenant_bound = tenant_bound
        self.rules: dict[Rule, None] = {}
        self.nodes: dict[Family, dict[str, int]] = {}
        self.holders: dict[Holder, None] = {}
        self._addresses: AddressSet | None = None
        self._cidrs: Sequence[str] | None = None
        self._wire: _Wire | None = None
        self._names: frozenset[Name] | None = None

    @property
    def names(self) -> frozenset[Name]:
        """The networks that it takes in; the same object again as long as they are the same."""
        if self._names is None:
            self._names = frozenset([name for peer in self.peers for name in peer.members])
        return self._names

    def forget_names(self) -> None:
        """Note that its peers may take in other networks now."""
        self._names = None

    @property
    def id(self) -> str:
        """The id under which nodes know it: by its peers, whatever they are now."""
        return self._on_wire.id

    @property
    def _on_wire(self) -> "_Wire":
        if self._wire is None:
            if self.tenant_bound is not None:
                asked = f"tenant|{self.tenant_bound}"
            else:
                texts = sorted({peer.text for peer in self.peers})
                asked = f"peers|{self.peers[0].tenant}|{'|'.join(texts)}"
            self._wire = _Wire(set_id(asked))
        return self._wire

    @property
    def addresses(self) -> AddressSet:
        if self._addresses is None:
            if self._cidrs is not None:
                self._addresses = canonical_addresses(self._cidrs)
            else:
                found = [peer.addresses for peer in self.peers]
                self._addresses = found[0].union(*found[1:])
        return self._addresses

    @property
    def cidrs(self) -> Sequence[str]:
        """The fewest CIDRs, in address order, IPv4 first."""
        if self._cidrs is None:
            self._cidrs = self.addresses.cidrs()
        return self._cidrs

    def has(self, family: Family) -> bool:
        """Return whether it has addresses of a family."""
        if self._addresses is None and self._cidrs is not None:
            end = self._cidrs[0 if family == 4 else -1] if self._cidrs else ""
            return bool(end) and (":" in end) is (family == 6)
        return bool(self.addresses.of(family))

    @property
    def is_empty(self) -> bool:
        if self._addresses is None and self._cidrs is not None:
            return not self._cidrs
        return not self.addresses

    def settle(self, cidrs: Sequence[str]) -> None:
        """Take over members that were worked out for all sides at once."""
        self._cidrs = cidrs

    @property
    def total(self) -> int:
        """The sum of the terms of this set and its members."""
        wire = self._on_wire
        if wire.total is None:
            wire.total = (set_term(wire.id) + members_total(wire.id, self.cidrs)) % MODULUS
        return wire.total

    @property
    def fragment(self) -> orjson.Fragment:
        """The members, as nodes get them that don't know the set yet."""
        wire = self._on_wire
        if wire.members is None:
            wire.members = encode_to_keep({"add": list(self.cidrs), "remove": []})
        return orjson.Fragment(wire.members)

    def change(self, windows: Iterable[Window], members: Members) -> list[tuple[Window, bool]]:
        """Follow the peers; note changed CIDRs in `members`.

        Return the ranges that were lost (False) and gained (True).
        """
        found: list[tuple[Window, bool]] = []
        addresses = self.addresses
        for window in windows:
            family = window.family
            inside = intervals.union(
                *(
                    intervals.within(peer.addresses.of(family), window.start, window.end)
                    for peer in self.peers
                )
            )
            values = addresses.of(family)
            new, old_runs, new_runs = intervals.replace(values, window.start, window.end, inside)
            if new == values:
                continue
            addresses = with_family(addresses, family, new)
            members.replace(_texts(family, old_runs), _texts(family, new_runs))
            for start, end in pairs(intervals.difference(old_runs, new_runs)):
                found.append((Window(family, start, end), False))
            for start, end in pairs(intervals.difference(new_runs, old_runs)):
                found.append((Window(family, start, end), True))
        self._addresses = addresses
        if found:
            self._cidrs = None
            self._on_wire.members = None
        return found

    def count(self, members: Members) -> int:
        """Bring the sum of terms up to date; return by how much it grew, modulo 2^256."""
        id_ = self.id
        grown = sum([member_term(id_, cidr) for cidr in members.after])
        grown -= sum([member_term(id_, cidr) for cidr in members.before])
        wire = self._on_wire
        if wire.total is not None:
            wire.total = (wire.total + grown) % MODULUS
        return grown % MODULUS


def _texts(family: Family, runs: Intervals) -> list[str]:
    return [prefix_text(family, value, length) for value, length in prefixes(family, runs)]
