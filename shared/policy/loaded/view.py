"""One chain's policies in force, resolved: made at once, then changed bit by bit.

A change is noted first (by `ends`, by policy_changed(), …) and carried through by settle(): from
peers to sides, from sides to the nodes whose addresses lie in them, from those to the rules that
each node has.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shared.algebra.cidrs import Family
from shared.ids import COMMON
from shared.policy.definitions import Name
from shared.policy.loaded.columns import NONE, Columns, services_key
from shared.policy.loaded.counting import count_all
from shared.policy.loaded.ends import Ends
from shared.policy.loaded.names import Names, PolicyInForce
from shared.policy.loaded.nodes import LoadedNode
from shared.policy.loaded.owners import Owners
from shared.policy.loaded.peers import FAMILIES, Window, pairs
from shared.policy.loaded.rules import Policy, Rule, Services
from shared.policy.loaded.sides import Members, Side
from shared.policy.loaded.source import JSON
from shared.policy.loaded.workloads import Host
from shared.policy.nodeplan import touches_within

_GAP: Final = 1 << 20  # between the labels of neighbours in a policy


class LoadedView:
    """What one chain makes of policy."""

    def __init__(self, names: Names, nodes: Mapping[LoadedNode, Counter[Host]]) -> None:
        """`nodes` are those that see with this view, and how many workloads have each of their
        own addresses.
        """
        self.names: Final = names
        self.policies: Final[dict[Name, Policy]] = {}
        self.ends: Final = Ends(names)
        self.owners: Final = Owners()
        self.nodes: Final[dict[str, LoadedNode]] = {}
        self.changed: Final[dict[Side, Members]] = {}
        """Sides whose members changed; whoever has taken the nodes' steps clears it."""
        self._services: Final[dict[tuple[str, str], Services]] = {}
        self._services_naming: Final[dict[str, dict[Services, None]]] = {}
        self._open_rules: Final[dict[Rule, None]] = {}
        """Rules with a side that is any."""
        self._dirty: dict[Rule, None] = {}
        self._idle: dict[Side | Services, None] = {}
        for node, hosts in nodes.items():
            self.nodes[node.name] = node
            for (family, address), count in hosts.items():
                for _ in range(count):
                    self.owners.add(node.name, family, address)
        self._load(Columns(names))

    def join(self, node: LoadedNode, hosts: Counter[Host]) -> None:
        """Take a node in that has no rules yet; `hosts` as at the beginning."""
        self.nodes[node.name] = node
        for host in [each for each in node.hosts if each not in hosts]:
            node.change_hosts(*host, present=False)
        for host, count in hosts.items():
            for _ in range(count):
                self.host_came(node, host)

    # Changes, noted.

    def service_changed(self, name: Name) -> None:
        """Note that a definition of a service, or an override of it, came, went or changed."""
        for services in [*self._services_naming.get(name.name, ())]:
            if name.tenant not in (COMMON, services.tenant):
                continue
            services.missing = None
            matches = self.names.matches(services.tenant, services.entries)
            if matches == services.matches:
                continue
            services.matches = matches
            for rule in [*services.rules]:
                self._replace(rule)

    def policy_changed(self, name: Name) -> None:
        """Note that a policy, or an override of it, came, went, changed or applies no more."""
        old = self.policies.pop(name, None)
        new = self.names.policy(name)
        if new is not None:
            policy = self.policies[name] = self._policy(new)
            if old is not None and old.stands_like(policy):
                self._edit(policy, old, new.rules)
                return
            self._fill(policy, new.rules)
        for rule in old.rules if old is not None else ():
            self._withdraw(rule)

    # Changes, carried through: sides, then own addresses, then rules.

    def settle_sides(self) -> None:
        """Let the sides follow their peers; before own addresses and policies change."""
        for side, where in self.ends.take_windows().items():
            self._follow(side, where)

    def host_came(self, node: LoadedNode, host: Host) -> None:
        """Count an address of one more workload of a node."""
        family, address = host
        if self.owners.add(node.name, family, address):
            if host not in node.hosts:
                node.change_hosts(family, address, present=True)
            self._own_changed(node, host, 1, first=self.owners.nodes(family)[node.name] == 1)

    def host_went(self, node: LoadedNode, host: Host) -> None:
        """Count an address of one workload less."""
        family, address = host
        if self.owners.remove(node.name, family, address):
            node.change_hosts(family, address, present=False)
            self._own_changed(node, host, -1, first=node.name not in self.owners.nodes(family))

    def leave(self, node: LoadedNode) -> None:
        """Let a node go, whatever it had."""
        for rule in node.rules:
            rule.nodes.discard(node.name)
        for host in node.hosts:
            family, address = host
            for side in self.ends.covering(host):
                _count(side, family, node.name, -1)
            for _ in range(self.owners.of[family][address][node.name]):
                self.owners.remove(node.name, family, address)
        del self.nodes[node.name]

    def settle(self) -> None:
        """Give every rule that was concerned to the nodes that have it now."""
        self.settle_sides()
        for side in self.ends.fresh:
            # A node that joined since the side was made has counted its addresses there already.
            side.nodes.clear()
            self._count_nodes(side)
        self.ends.fresh.clear()
        for rule in self._dirty:
            self._place(rule)
        self._dirty = {}
        for part in self._idle:
            if part.rules:
                continue
            if isinstance(part, Side):
                self.ends.drop(part)
            else:
                self._drop(part)
        self._idle = {}

    def _follow(self, side: Side, where: list[Window]) -> None:
        step = Members()
        shown = _families(side)
        found = side.change(where, step)
        if not found:
            return
        dirty = side.tenant_bound is not None or shown != _families(side)
        for window, gained in found:
            for name in self.owners.within(window):
                dirty |= _count(side, window.family, name, 1 if gained else -1)
        for rule in side.rules:
            if dirty or rule.policy.bound is not None:
                self._dirty[rule] = None
        grown = side.count(step)
        self.changed.setdefault(side, Members()).merge(step)
        for holder in side.holders:
            holder.set_changed(side, grown)
        if side.tenant_bound is not None:
            for node in self.nodes.values():
                node.inside.pop(side.tenant_bound, None)

    def _own_changed(self, node: LoadedNode, host: Host, by: int, *, first: bool) -> None:
        """Count an own address of a node; `first` if it is the family's first, or was its last."""
        for side in self.ends.covering(host):
            _count(side, host[0], node.name, by)
            # An address in a bound matters only with one in a side.
            if side.tenant_bound is None:
                self._dirty.update(side.rules)
        for rule in self._open_rules:
            if first or rule.policy.bound is not None:
                self._dirty[rule] = None

    def _count_nodes(self, side: Side) -> None:
        for family in FAMILIES:
            if self.owners.sorted[family]:
                for start, end in pairs(side.addresses.of(family)):
                    for name in self.owners.within(Window(family, start, end)):
                        _count(side, family, name, 1)

    def _place(self, rule: Rule) -> None:
        """Give a rule to the nodes that it concerns now, and to no other."""
        wanted = self.concerned(rule)
        if wanted == rule.nodes:
            return
        for name in rule.nodes - wanted:
            self.nodes[name].remove(rule)
        for name in wanted - rule.nodes:
            self.nodes[name].add(rule)
        rule.nodes = wanted

    def concerned(self, rule: Rule) -> set[str]:
        """Return the nodes of this view with an own address at an end of what a rule matches."""
        found: set[str] = set()
        if not rule.is_installed:
            return found
        source, destination, bound = rule.source, rule.destination, rule.policy.bound
        for family in FAMILIES:
            if not (_has(source, family) and _has(destination, family)):
                continue
            candidates = self._with_own(source, family) | self._with_own(destination, family)
            if bound is None:
                found |= candidates
                continue
            for name in candidates - found:
                if self._touches(rule, bound, self.nodes[name], family):
                    found.add(name)
        return found

    def unresolved(self) -> Iterator[tuple[str, Rule]]:
        """Yield what rules name that has no meaning here, as the reference says it."""
        for peer in self.ends.unresolved:
            for side in peer.sides:
                for rule in side.rules:
                    yield peer.text, rule
        for services in self._services.values():
            if services.missing is None:
                services.missing = self.names.unresolved_services(services.tenant, services.names)
            for name in services.missing:
                for rule in services.rules:
                    yield f"service:{name}", rule

    def _with_own(self, side: Side | None, family: Family) -> set[str]:
        if side is None:
            return set(self.owners.nodes(family))
        return set(side.nodes.get(family, ()))

    def _touches(self, rule: Rule, bound: Side, node: LoadedNode, family: Family) -> bool:
        tenant = rule.policy.name.tenant
        if tenant not in node.inside:
            node.inside[tenant] = node.own.intersection(bound.addresses)
        return touches_within(
            None if rule.source is None else rule.source.addresses,
            None if rule.destination is None else rule.destination.addresses,
            bound.addresses,
            own=node.own,
            inside=node.inside[tenant],
            family=family,
        )

    # Rules.

    def _edit(self, policy: Policy, old: Policy, rules: Sequence[JSON]) -> None:
        """Take over what is equal at both ends of two lists of rules, and replace the middle."""
        before = old.rules
        least = min(len(before), len(rules))
        start = 0
        while start < least and before[start].data == rules[start]:
            start += 1
        end = 0
        while end < least - start and before[-1 - end].data == rules[-1 - end]:
            end += 1
        stop = len(before) - end
        for rule in before[start:stop]:
            self._withdraw(rule)
        fresh = rules[start : len(rules) - end]
        policy.rules = before[:start] + before[stop:]
        for rule in policy.rules:
            rule.policy = policy
        low = before[start - 1].label if start else None
        high = before[stop].label if stop < len(before) else None
        labels = _labels_between(low, high, len(fresh))
        if labels is None:
            # No room: spread all anew.  Order stays, so nodes needn't know.
            for place, rule in enumerate(policy.rules):
                rule.label = (place if place < start else place + len(fresh)) * _GAP
            labels = [(start + place) * _GAP for place in range(len(fresh))]
        new = [self._rule(policy, data, label) for data, label in zip(fresh, labels, strict=True)]
        policy.rules[start:start] = new
        self._dirty.update(dict.fromkeys(new))

    def _fill(self, policy: Policy, rules: Sequence[JSON]) -> None:
        policy.rules = [self._rule(policy, data, place * _GAP) for place, data in enumerate(rules)]
        self._dirty.update(dict.fromkeys(policy.rules))

    def _rule(self, policy: Policy, data: JSON, label: int) -> Rule:
        tenant = policy.name.tenant
        ends = (self.ends.side(tenant, data["from"]), self.ends.side(tenant, data["to"]))
        services = self._services_of(tenant, data.get("services", "any"))
        return self._link(Rule(policy, data, label, ends, services))

    def _link(self, rule: Rule) -> Rule:
        source, destination = rule.source, rule.destination
        if source is None or destination is None:
            self._open_rules[rule] = None
        for part in (source, destination, rule.policy.bound, rule.services):
            if part is not None:
                part.rules[rule] = None
        return rule

    def _replace(self, rule: Rule) -> None:
        """Put a rule in the place of one that has other services now."""
        ends = (rule.source, rule.destination)
        new = Rule(rule.policy, rule.data, rule.label, ends, rule.services)
        rules = rule.policy.rules
        rules[rules.index(rule)] = new
        self._withdraw(rule)
        self._link(new)
        self._dirty[new] = None

    def _withdraw(self, rule: Rule) -> None:
        for name in rule.nodes:
            self.nodes[name].remove(rule)
        rule.nodes = set()
        for part in (*rule.sides, rule.services):
            if part is not None:
                del part.rules[rule]
                self._idle[part] = None
        self._open_rules.pop(rule, None)
        self._dirty.pop(rule, None)

    def _drop(self, services: Services) -> None:
        """Forget services that no rule uses any more."""
        del self._services[services.tenant, services.key]
        for name in set(services.names):
            naming = self._services_naming[name]
            del naming[services]
            if not naming:
                del self._services_naming[name]

    # What policies name.

    def _policy(self, given: PolicyInForce) -> Policy:
        tenant = given.name.tenant
        bound = None if tenant == COMMON else self.ends.bound(tenant)
        return Policy(given.name, given.tier, given.origin, given.order, bound)

    def _services_of(self, tenant: str, given: Any) -> Services | None:
        if given == "any":
            return None
        key = services_key(given)
        services = self._services.get((tenant, key))
        if services is None:
            services = Services(tenant, key, given)
            services.matches = self.names.matches(tenant, given)
            self._add_services(services)
        return services

    def _add_services(self, services: Services) -> None:
        self._services[services.tenant, services.key] = services
        for name in services.names:
            self._services_naming.setdefault(name, {})[services] = None

    # The beginning.

    def _load(self, columns: Columns) -> None:
        """Make what columns hold into what can be changed."""
        sides = self.ends.load(columns)
        for services in columns.services:
            self._add_services(services)
        policies = []
        for given in columns.policies:
            policy = self.policies[given.name] = self._policy(given)
            policies.append(policy)
        for row, data, source, destination, services_row in columns.rules:
            policy = policies[row]
            ends = (
                None if source == NONE else sides[source],
                None if destination == NONE else sides[destination],
            )
            services_given = None if services_row == NONE else columns.services[services_row]
            label = len(policy.rules) * _GAP
            policy.rules.append(self._link(Rule(policy, data, label, ends, services_given)))
        if self.owners.is_empty:
            return
        seen: dict[Side, int] = {}
        for row, side in enumerate(sides):
            seen.setdefault(side, row)
        count_all({row: side for side, row in seen.items()}, columns.blocks, self.owners)
        for policy in policies:
            for each in policy.rules:
                each.nodes = self.concerned(each)
                for name in each.nodes:
                    self.nodes[name].add_at_load(each)


def _has(side: Side | None, family: Family) -> bool:
    return side is None or side.has(family)


def _families(side: Side) -> tuple[bool, bool]:
    return side.has(4), side.has(6)


def _count(side: Side, family: Family, node: str, by: int) -> bool:
    """Count own addresses of a node in a side; return whether it came in or went out."""
    counts = side.nodes.setdefault(family, {})
    before = counts.get(node, 0)
    after = counts[node] = before + by
    assert after >= 0, "what goes has come"
    if not after:
        del counts[node]
    return not before or not after


def _labels_between(low: int | None, high: int | None, count: int) -> list[int] | None:
    """Return so many labels between two neighbours, evenly spread; None if there is no room."""
    if high is None:
        start = 0 if low is None else low + _GAP
        return [start + place * _GAP for place in range(count)]
    if low is None:
        return [high - (count - place) * _GAP for place in range(count)]
    step = (high - low) // (count + 1)
    return [low + (place + 1) * step for place in range(count)] if step else None
