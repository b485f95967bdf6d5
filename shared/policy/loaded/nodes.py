"""One node's share of a loaded site: its rules in order, its sets, and what changed since."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import orjson

from shared.algebra.cidrs import AddressSet, Family, host_set
from shared.policy.balancers import Balancers, balancers_delta, balancers_total
from shared.policy.loaded.rules import Rule
from shared.policy.loaded.sides import Side
from shared.policy.nodeconfig import NodeConfiguration
from shared.policy.nodedelta import compute_delta, members_delta
from shared.policy.nodehash import MODULUS, content_hash, rule_term, rules_total

_ORDER = attrgetter("order")


@dataclass(frozen=True, slots=True)
class Step:
    """What takes a node from one configuration to the next.

    `delta` is in the wire form of shared.policy.nodedelta; parts of it are encoded already
    (orjson.Fragment).
    """

    base: str
    hash: str
    delta: Mapping[str, Any]


class LoadedNode:
    """An admitted node.

    `hosts` are its own workloads' addresses, `sets` the sides that its rules name and by how many
    of them.
    """

    def __init__(self, name: str, default_action: Literal["allow", "deny"]) -> None:
        self.name = name
        self.default_action = default_action
        self.hosts: dict[tuple[Family, int], None] = {}
        self.rules: list[Rule] = []
        self.sets: dict[Side, int] = {}
        self._policies: dict[tuple[str, str], int] = {}
        self._policy_names: frozenset[tuple[str, str]] | None = None
        self.balancers: Balancers | None = None
        self.inside: dict[str, AddressSet] = {}
        """Of its own addresses those within a tenant's bound, as far as somebody asked."""
        self._own: AddressSet | None = None
        self._addresses: tuple[str, ...] | None = None
        self._total: int | None = None
        self._hash: str | None = None
        # What was so when the last step was taken, once it has changed.
        self._splices: list[tuple[int, int, list[orjson.Fragment]]] = []
        self._sets_before: dict[Side, bool] = {}
        self._addresses_before: tuple[str, ...] | None = None
        self._default_before: str | None = None
        self._balancers_before: tuple[Balancers | None] | None = None
        self._configuration_before: NodeConfiguration | None = None
        self._base: str | None = None

    @property
    def own(self) -> AddressSet:
        if self._own is None:
            self._own = host_set(self.hosts)
        return self._own

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its own workloads' addresses, as minimal CIDRs."""
        if self._addresses is None:
            self._addresses = self.own.cidrs()
        return self._addresses

    @property
    def total(self) -> int:
        if self._total is None:
            found = rules_total(self.rules) + sum(side.total for side in self.sets)
            self._total = found % MODULUS
        return self._total

    @property
    def hash(self) -> str:
        if self._hash is None:
            everything = (self.total + balancers_total(self.balancers)) % MODULUS
            self._hash = content_hash(self.default_action, self.addresses, everything)
        return self._hash

    @property
    def policies(self) -> frozenset[tuple[str, str]]:
        """Tenant and name of the policies that it has rules of."""
        if self._policy_names is None:
            self._policy_names = frozenset(self._policies)
        return self._policy_names

    def configuration(self) -> NodeConfiguration:
        """Return all that the node enforces."""
        sets = {side.id: tuple(side.cidrs) for side in self.sets}
        return NodeConfiguration(
            node=self.name,
            default_action=self.default_action,
            addresses=self.addresses,
            sets=dict(sorted(sets.items())),
            rules=tuple([rule.node_rule for rule in self.rules]),
            balancers=self.balancers,
        ).with_total(self.total)

    def add_at_load(self, rule: Rule) -> None:
        """Take the next rule in order, while nobody has asked for the hash yet."""
        self.rules.append(rule)
        self._count_policy(rule, 1)
        for side in rule.sides:
            self.sets[side] = self.sets.get(side, 0) + 1
            side.holders[self] = None

    def add(self, rule: Rule) -> None:
        """Take a rule into its place."""
        total = self._begin()
        at = bisect_left(self.rules, rule.order, key=_ORDER)
        previous = self.rules[at - 1].id if at else ""
        if at < len(self.rules):
            behind = self.rules[at]
            total += rule_term(behind, rule.id) - rule_term(behind, previous)
        total += rule_term(rule, previous)
        self.rules.insert(at, rule)
        self._count_policy(rule, 1)
        self._splices.append((at, 0, [rule.fragment]))
        for side in rule.sides:
            count = self.sets.get(side, 0)
            if not count:
                self._sets_before.setdefault(side, False)
                side.holders[self] = None
                total += side.total
            self.sets[side] = count + 1
        self._total = total % MODULUS

    def remove(self, rule: Rule) -> None:
        """Take a rule out.  Its order must be what it was when it came in."""
        total = self._begin()
        at = bisect_left(self.rules, rule.order, key=_ORDER)
        assert self.rules[at] is rule, "rules stand in order"
        previous = self.rules[at - 1].id if at else ""
        if at + 1 < len(self.rules):
            behind = self.rules[at + 1]
            total += rule_term(behind, previous) - rule_term(behind, rule.id)
        total -= rule_term(rule, previous)
        del self.rules[at]
        self._count_policy(rule, -1)
        self._splices.append((at, 1, []))
        for side in rule.sides:
            self.sets[side] -= 1
            if not self.sets[side]:
                self._sets_before.setdefault(side, True)
                total -= side.total
                del self.sets[side]
                del side.holders[self]
        self._total = total % MODULUS

    def set_changed(self, side: Side, grown: int) -> None:
        """Note that the members of one of its sets have changed."""
        self._total = (self._begin() + grown) % MODULUS
        if side not in self._sets_before:
            self._sets_before[side] = True

    def change_hosts(self, family: Family, address: int, *, present: bool) -> None:
        """Take an own address in or out."""
        self._begin()
        if self._addresses_before is None:
            self._addresses_before = self.addresses
        if present:
            self.hosts[family, address] = None
        else:
            del self.hosts[family, address]
        self._own = self._addresses = None
        self.inside.clear()

    def change_default(self, action: Literal["allow", "deny"]) -> None:
        if action != self.default_action:
            self._begin()
            if self._default_before is None:
                self._default_before = self.default_action
            self.default_action = action

    def balance_at_load(self, balancers: Balancers | None) -> None:
        """Have these, outside of any change."""
        if balancers != self.balancers:
            self.balancers = balancers
            self._hash = None

    def change_balancers(self, balancers: Balancers | None) -> None:
        """Have others, or None."""
        self._begin()
        if self._balancers_before is None:
            self._balancers_before = (self.balancers,)
        self.balancers = balancers

    def start_over(self, leave: Callable[["LoadedNode"], None]) -> None:
        """Drop all rules: the node is about to get those of another view.

        Comes before any other change of a step; `leave` takes the node out of its view.
        """
        self._begin()
        self._configuration_before = self.configuration()
        leave(self)
        self.let_go()
        self.rules = []
        self.sets = {}
        self._policies = {}
        self._policy_names = None
        self.inside.clear()
        self._total = 0

    def let_go(self) -> None:
        """Have its sets know it no longer."""
        for side in self.sets:
            del side.holders[self]

    def step(self, changed: Mapping[Side, orjson.Fragment]) -> Step | None:
        """Return what happened since the last step; None if nothing did.

        `changed` are the sides of its view whose members changed meanwhile, and how.
        """
        if self._base is None:
            return None
        base, hash_ = self._base, self.hash
        delta = self._delta(changed) if base != hash_ else None
        self._addresses_before = self._default_before = self._balancers_before = None
        self._configuration_before = self._base = None
        if self._splices:
            self._splices = []
        self._sets_before = {}
        return None if delta is None else Step(base, hash_, delta)

    def _count_policy(self, rule: Rule, by: int) -> None:
        name = (rule.policy.name.tenant, rule.policy.name.name)
        count = self._policies.get(name, 0) + by
        if count == by or not count:
            self._policy_names = None
        if count:
            self._policies[name] = count
        else:
            del self._policies[name]

    def _begin(self) -> int:
        """Remember the hash before the first change; return the sum of terms."""
        total = self.total
        if self._base is None:
            self._base = self.hash
        self._hash = None
        return total

    def _delta(self, changed: Mapping[Side, orjson.Fragment]) -> Mapping[str, Any]:
        if self._configuration_before is not None:
            return compute_delta(self._configuration_before, self.configuration())
        delta: dict[str, Any] = {"base": self._base, "hash": self.hash}
        if self._default_before not in (None, self.default_action):
            delta["defaultAction"] = self.default_action
        if self._addresses_before not in (None, self.addresses):
            delta["addresses"] = members_delta(self._addresses_before or (), self.addresses)
        if sets := self._set_changes(changed):
            delta["sets"] = sets
        if self._splices:
            delta["rules"] = self._splices
        if self._balancers_before is not None and self._balancers_before[0] != self.balancers:
            delta["balancers"] = balancers_delta(self._balancers_before[0], self.balancers)
        return delta

    def _set_changes(self, changed: Mapping[Side, orjson.Fragment]) -> dict[str, Any]:
        sets: dict[str, Any] = {}
        for side, was_there in self._sets_before.items():
            if side not in self.sets:
                if was_there:
                    sets[side.id] = None
            elif not was_there:
                sets[side.id] = side.fragment
            elif side in changed:
                sets[side.id] = changed[side]
        return sets
