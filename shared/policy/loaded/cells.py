"""What a view has computed, each thing once, linked to what depends on it.

A *peer* stands for addresses, as a policy of a tenant names them.  A *side* is the union of a
rule's peers; rules with equal lists share it.  A change comes down as *windows*: ranges outside
of which nothing has changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

import orjson

from shared.algebra import intervals
from shared.algebra.cidrs import (
    BITS,
    NOWHERE,
    AddressSet,
    Family,
    canonical_addresses,
    prefix_text,
    prefixes,
)
from shared.algebra.intervals import Intervals
from shared.model.selectors import Selector
from shared.policy.definitions import Name
from shared.policy.inherit import Tier
from shared.policy.loaded.source import JSON
from shared.policy.nodeconfig import NodeRule, NodeService, rule_id, rule_to_json
from shared.policy.nodehash import MODULUS, member_term, members_total, set_term
from shared.policy.nodeplan import set_id

FAMILIES: Final[tuple[Family, ...]] = (4, 6)


class Window(NamedTuple):
    """Addresses from `start` to before `end`."""

    family: Family
    start: int
    end: int


def windows_between(before: AddressSet, after: AddressSet) -> list[Window]:
    """Return where two sets differ."""
    found = []
    for family in FAMILIES:
        old, new = before.of(family), after.of(family)
        if old != new:
            for part in (intervals.difference(old, new), intervals.difference(new, old)):
                found += [Window(family, start, end) for start, end in pairs(part)]
    return found


def pairs(values: Intervals) -> Iterable[tuple[int, int]]:
    """Return the runs of a set, half-open."""
    return zip(values[::2], values[1::2], strict=True)


class Meaning:
    """What the name of a network means in a view: its definition's subnets and labels."""

    __slots__ = ("_addresses", "labels", "subnets")

    def __init__(self, subnets: Sequence[str], labels: Mapping[str, str]) -> None:
        self.subnets = subnets
        self.labels = labels
        self._addresses: AddressSet | None = None

    @property
    def addresses(self) -> AddressSet:
        if self._addresses is None:
            self._addresses = canonical_addresses(self.subnets)
        return self._addresses

    def says(self, other: "Meaning") -> bool:
        """Return whether the two mean the same."""
        return list(self.subnets) == list(other.subnets) and self.labels == other.labels


PeerKind = Literal["network", "networks", "workloads", "cidr"]


_NO_HOSTS: Final[dict[tuple[Family, int], int]] = {}


class Peer:
    """What one reference of a tenant's policies stands for.

    `members` are the networks that it takes in, by name; `hosts` counts, by family and address,
    the workloads that it selects.
    """

    __slots__ = (
        "_addresses",
        "fixed",
        "hosts",
        "kind",
        "members",
        "name",
        "selector",
        "sides",
        "tenant",
        "text",
    )

    def __init__(self, tenant: str, text: str, kind: PeerKind) -> None:
        self.tenant = tenant
        self.text = text
        self.kind = kind
        self.name = ""
        self.selector: Selector | None = None
        self.fixed = ""
        self.members: dict[Name, Meaning] = {}
        self.hosts = _NO_HOSTS if kind == "network" else {}
        self.sides: dict[Side, None] = {}
        self._addresses: AddressSet | None = None

    def cidrs(self) -> Sequence[str]:
        """Return CIDRs that make up the addresses; they may overlap and repeat."""
        if self.kind == "cidr":
            return (self.fixed,)
        if self.kind == "workloads":
            return [prefix_text(family, value, BITS[family]) for family, value in self.hosts]
        if len(self.members) == 1:
            return next(iter(self.members.values())).subnets
        return [cidr for member in self.members.values() for cidr in member.subnets]

    @property
    def addresses(self) -> AddressSet:
        if self._addresses is None:
            self._addresses = self._union()
        return self._addresses

    def change_member(self, name: Name, meaning: Meaning | None) -> list[Window]:
        """Take in another meaning of a network, or none; return where addresses changed."""
        before = self.members.get(name)
        if before is meaning:
            return []
        old = self.addresses
        if meaning is None:
            del self.members[name]
        else:
            self.members[name] = meaning
        windows = windows_between(
            NOWHERE if before is None else before.addresses,
            NOWHERE if meaning is None else meaning.addresses,
        )
        self._addresses = old
        for window in windows:
            inside = [
                intervals.within(member.addresses.of(window.family), window.start, window.end)
                for member in self.members.values()
            ]
            self._replace(window, intervals.union(*inside))
        return windows

    def change_hosts(
        self, gone: Iterable[tuple[Family, int]], come: Iterable[tuple[Family, int]]
    ) -> list[Window]:
        """Let hosts go and come; return where addresses changed."""
        _ = self.addresses
        touched: dict[tuple[Family, int], bool] = {}
        for host in gone:
            touched.setdefault(host, host in self.hosts)
            self.hosts[host] -= 1
            if not self.hosts[host]:
                del self.hosts[host]
        for host in come:
            touched.setdefault(host, host in self.hosts)
            self.hosts[host] = self.hosts.get(host, 0) + 1
        windows = []
        for host, was in touched.items():
            if was != (host in self.hosts):
                window = Window(host[0], host[1], host[1] + 1)
                self._replace(window, () if was else (window.start, window.end))
                windows.append(window)
        return windows

    def _replace(self, window: Window, inside: Intervals) -> None:
        assert self._addresses is not None, "addresses are known before they change"
        values = self._addresses.of(window.family)
        new, _, _ = intervals.replace(values, window.start, window.end, inside)
        self._addresses = with_family(self._addresses, window.family, new)

    def _union(self) -> AddressSet:
        if self.kind == "cidr":
            return canonical_addresses((self.fixed,))
        if self.kind == "workloads":
            hosts: dict[Family, list[tuple[int, int]]] = {4: [], 6: []}
            for family, value in self.hosts:
                hosts[family].append((value, value))
            return AddressSet(intervals.from_ranges(hosts[4]), intervals.from_ranges(hosts[6]))
        found = [member.addresses for member in self.members.values()]
        return found[0].union(*found[1:]) if found else NOWHERE


def with_family(addresses: AddressSet, family: Family, values: Intervals) -> AddressSet:
    if family == 4:
        return AddressSet(values, addresses.v6)
    return AddressSet(addresses.v4, values)


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
            self._encoded = orjson.dumps({"add": [*self.after], "remove": [*self.before]})
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
            wire.members = orjson.dumps({"add": list(self.cidrs), "remove": []})
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


class Services:
    """A list of services, as policies of a tenant name it."""

    __slots__ = ("entries", "key", "matches", "names", "rules", "tenant")

    def __init__(self, tenant: str, key: str, entries: Sequence[JSON]) -> None:
        self.tenant = tenant
        self.key = key
        self.entries = entries
        self.names: tuple[str, ...] = tuple(
            [each["service"] for each in entries if "service" in each]
        )
        self.matches: tuple[NodeService, ...] | None = None
        self.rules: dict[Rule, None] = {}


class _RuleOnWire(NamedTuple):
    """What nodes know of a rule."""

    rule: NodeRule
    enforced: str
    encoded: bytes


class Rule:
    """One rule of a policy in force.

    `label` is its place in its policy: it grows from rule to rule and may have gaps.  `nodes`
    are those that have it.
    """

    __slots__ = (
        "_wire",
        "data",
        "destination",
        "label",
        "matches",
        "nodes",
        "policy",
        "services",
        "source",
    )

    def __init__(
        self,
        policy: "Policy",
        data: JSON,
        label: int,
        ends: tuple[Side | None, Side | None],
        services: Services | None,
    ) -> None:
        self.policy = policy
        self.data = data
        self.label = label
        self.source, self.destination = ends
        self.services = services
        self.matches = None if services is None else services.matches
        self.nodes: set[str] = set()
        self._wire: _RuleOnWire | None = None

    @property
    def order(self) -> tuple[object, ...]:
        return (self.policy.order, self.label)

    @property
    def sides(self) -> list[Side]:
        """The sets that it names, each once: source, destination, bound."""
        found = dict.fromkeys((self.source, self.destination, self.policy.bound))
        return [each for each in found if each is not None]

    @property
    def _on_wire(self) -> "_RuleOnWire":
        if self._wire is None:
            rule = self.policy.node_rule(self)
            self._wire = _RuleOnWire(rule, rule.enforced, orjson.dumps(rule_to_json(rule)))
        return self._wire

    @property
    def node_rule(self) -> NodeRule:
        """The rule as nodes get it."""
        return self._on_wire.rule

    @property
    def id(self) -> str:
        return self._on_wire.rule.id

    @property
    def enforced(self) -> str:
        """See shared.policy.nodehash.Enforced."""
        return self._on_wire.enforced

    @property
    def fragment(self) -> orjson.Fragment:
        """The rule as it travels."""
        return orjson.Fragment(self._on_wire.encoded)

    @property
    def is_installed(self) -> bool:
        """Whether none of its lists ended up empty."""
        return (
            (self.source is None or not self.source.is_empty)
            and (self.destination is None or not self.destination.is_empty)
            and self.matches != ()
        )


@dataclass(slots=True, eq=False)
class Policy:
    """One policy in force in a view, with its rules in order."""

    name: Name
    tier: Tier
    origin: str
    order: tuple[int, int, int, str, str]
    bound: Side | None
    """The tenant's own addresses: an end of each flow must lie there; None for common."""
    rules: list[Rule] = field(default_factory=list)

    def stands_like(self, other: "Policy") -> bool:
        """Return whether equal rules of the two are the same to a node, in the same place."""
        return (self.tier, self.origin, self.order) == (other.tier, other.origin, other.order)

    def node_rule(self, rule: Rule) -> NodeRule:
        data = rule.data
        return NodeRule(
            id=rule_id(self.tier, self.name.tenant, self.name.name, data["name"], self.origin),
            tier=self.tier,
            tenant=self.name.tenant,
            policy=self.name.name,
            rule=data["name"],
            origin=self.origin,
            action=data["action"],
            log=data.get("log", False),
            source=None if rule.source is None else rule.source.id,
            destination=None if rule.destination is None else rule.destination.id,
            services=rule.matches,
            within=None if self.bound is None else self.bound.id,
        )
