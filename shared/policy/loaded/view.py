"""One chain's policies in force, resolved: made at once, then changed bit by bit.

A change is noted first (`network_changed`, `policy_changed`, …) and carried through by settle():
from peers to sides, from sides to the nodes whose addresses lie in them, from those to the rules
that each node has.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import orjson

from shared.algebra.cidrs import BITS, Family, prefix_text
from shared.ids import COMMON
from shared.model.policy import Peer as PeerSpec
from shared.model.selectors import Selector
from shared.policy.compile import policy_order
from shared.policy.definitions import Name
from shared.policy.inherit import Inheritance
from shared.policy.loaded.bulk import count_all, settle_all
from shared.policy.loaded.cells import (
    FAMILIES,
    Meaning,
    Members,
    Peer,
    Policy,
    Rule,
    Services,
    Side,
    Window,
    pairs,
)
from shared.policy.loaded.nodes import LoadedNode
from shared.policy.loaded.owners import Owners
from shared.policy.loaded.selecting import NetworkLabels, SelectorIndex
from shared.policy.loaded.source import JSON, LoadedDefinitions, Source
from shared.policy.loaded.stabbing import PrefixIndex
from shared.policy.loaded.traffic import node_services
from shared.policy.loaded.workloads import Host, WorkloadTable, hosts_of, selects_workload
from shared.policy.nodeconfig import NodeService
from shared.policy.nodeplan import touches_within
from shared.policy.resolve import peer_text, selector_terms
from shared.policy.scopes import Chain

POLICY: Final = "SecurityPolicy"
_GAP: Final = 1 << 20  # between the labels of neighbours in a policy


class LoadedView:
    """What one chain makes of policy."""

    def __init__(
        self,
        chain: Chain,
        *,
        definitions: LoadedDefinitions,
        inheritance: Inheritance,
        workloads: WorkloadTable,
        nodes: Mapping[LoadedNode, Counter[Host]],
    ) -> None:
        """`nodes` are those that see with this view, and how many workloads have each of their
        own addresses.
        """
        self.chain: Final = chain
        self.inheritance = inheritance
        self.policies: Final[dict[Name, Policy]] = {}
        self.sides: Final[dict[frozenset[Peer], Side]] = {}
        self.owners: Final = Owners()
        self.nodes: Final[dict[str, LoadedNode]] = {}
        self.changed: Final[dict[Side, Members]] = {}
        """Sides whose members changed; whoever has taken the nodes' steps clears it."""
        self._scopes: Final = frozenset(chain)
        self._definitions = definitions
        self._workloads = workloads
        self._meanings: Final[dict[Name, Meaning | None]] = {}
        self._labels: NetworkLabels | None = None
        self._peers: Final[dict[tuple[str, str], Peer]] = {}
        self._services: Final[dict[tuple[str, str], Services]] = {}
        self._bounds: Final[dict[str, Side]] = {}
        self._naming: Final[dict[str, dict[str, Peer]]] = {}
        """The peers that name a network, by tenant and name; `_peers` are the others."""
        self._services_naming: Final[dict[str, dict[Services, None]]] = {}
        self._network_selectors: Final = SelectorIndex()
        self._workload_selectors: Final = SelectorIndex()
        self._open_rules: Final[dict[Rule, None]] = {}
        """Rules with a side that is any."""
        self._covering: PrefixIndex | None = None
        """Made when an own address changes for the first time."""
        self._fresh: list[Side] = []
        self._windows: dict[Side, list[Window]] = {}
        self._dirty: dict[Rule, None] = {}
        self._idle: dict[Side | Services, None] = {}
        for node, hosts in nodes.items():
            self.nodes[node.name] = node
            for (family, address), count in hosts.items():
                for _ in range(count):
                    self.owners.add(node.name, family, address)
        self._load()

    def join(self, node: LoadedNode, hosts: Counter[Host]) -> None:
        """Take a node in that has no rules yet; `hosts` as at the beginning."""
        self.nodes[node.name] = node
        for host in [each for each in node.hosts if each not in hosts]:
            node.change_hosts(*host, present=False)
        for host, count in hosts.items():
            for _ in range(count):
                self.host_came(node, host)

    @property
    def ordered(self) -> list[Policy]:
        """The policies in force, in order of evaluation."""
        return sorted(self.policies.values(), key=lambda each: each.order)

    @property
    def installed(self) -> Iterator[Rule]:
        """The installed rules in order."""
        for policy in self.ordered:
            for rule in policy.rules:
                if rule.is_installed:
                    yield rule

    # Changes, noted.

    def network_changed(self, name: Name) -> None:
        """Note that a definition of a network, or an override of it, came, went or changed."""
        old = self._meanings.pop(name, None)
        new = self._meaning(name)
        if old is not None and new is not None and old.says(new):
            self._meanings[name] = new = old
        if self._labels is not None:
            self._labels.put(name, None if new is None else new.labels)
        for tenant in self._naming if name.tenant == COMMON else (name.tenant,):
            peer = self._naming.get(tenant, {}).get(name.name)
            if peer is not None:
                self._look_up(peer)
        # A tenant's own declaration decides whether its selectors see the common one.
        twin = Name(name.kind, COMMON, name.name)
        meant = self._meaning(twin) if name.tenant != COMMON else None
        labels = [each.labels for each in (old, new, meant) if each is not None]
        for peer in self._network_selectors.candidates(*labels):
            self._reselect(peer, name)
            if meant is not None and peer.tenant == name.tenant:
                self._reselect(peer, twin)
        bound = self._bounds.get(name.tenant)
        if bound is not None:
            self._take(bound.peers[0], name, new)

    def service_changed(self, name: Name) -> None:
        """Note that a definition of a service, or an override of it, came, went or changed."""
        for services in [*self._services_naming.get(name.name, ())]:
            if name.tenant not in (COMMON, services.tenant):
                continue
            matches = self._matches(services)
            if matches == services.matches:
                continue
            services.matches = matches
            for rule in [*services.rules]:
                self._replace(rule)

    def policy_changed(self, name: Name) -> None:
        """Note that a policy, or an override of it, came, went, changed or applies no more."""
        old = self.policies.pop(name, None)
        new = self._policy(name)
        if new is None:
            for rule in old.rules if old is not None else ():
                self._withdraw(rule)
            return
        policy, rules = new
        self.policies[name] = policy
        if old is not None and (old.tier, old.origin, old.order) == (
            policy.tier,
            policy.origin,
            policy.order,
        ):
            self._edit(policy, old, rules)
            return
        for rule in old.rules if old is not None else ():
            self._withdraw(rule)
        policy.rules = [self._rule(policy, data, place * _GAP) for place, data in enumerate(rules)]
        self._dirty.update(dict.fromkeys(policy.rules))

    def workload_changed(self, before: Source | None, after: Source | None) -> None:
        """Note that a workload came, went, or has other labels or addresses."""
        versions = [each for each in (before, after) if each is not None]
        old, new = hosts_of(before), hosts_of(after)
        for peer in self._workload_selectors.candidates(*(each.labels for each in versions)):
            gone = old if before is not None and selects_workload(peer, before) else []
            come = new if after is not None and selects_workload(peer, after) else []
            self._change_hosts(peer, gone, come)
        # A workload keeps its tenant: another tenant makes another workload.
        bound = self._bounds.get(versions[0].key.tenant)
        if bound is not None:
            self._change_hosts(bound.peers[1], old, new)

    # Changes, carried through: sides, then own addresses, then rules.

    def settle_sides(self) -> None:
        """Let the sides follow their peers; before own addresses and policies change."""
        windows, self._windows = self._windows, {}
        for side, where in windows.items():
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
            for side in self._covering_sides(host):
                _count(side, family, node.name, -1)
            for _ in range(self.owners.of[family][address][node.name]):
                self.owners.remove(node.name, family, address)
        del self.nodes[node.name]

    def settle(self) -> None:
        """Give every rule that was concerned to the nodes that have it now."""
        self.settle_sides()
        for side in self._fresh:
            self._count_nodes(side)
        self._fresh = []
        for rule in self._dirty:
            self._place(rule)
        self._dirty = {}
        for part in self._idle:
            if not part.rules:
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
        for node in self.nodes.values():
            if side in node.sets:
                node.set_changed(side, grown)
            if side.tenant_bound is not None:
                node.inside.pop(side.tenant_bound, None)

    def _own_changed(self, node: LoadedNode, host: Host, by: int, *, first: bool) -> None:
        """Count an own address of a node; `first` if it is the family's first, or was its last."""
        for side in self._covering_sides(host):
            _count(side, host[0], node.name, by)
            # An address in a bound matters only with one in a side.
            if side.tenant_bound is None:
                self._dirty.update(side.rules)
        for rule in self._open_rules:
            if first or rule.policy.bound is not None:
                self._dirty[rule] = None

    def _covering_sides(self, host: Host) -> Iterable[Side]:
        if self._covering is None:
            self._covering = PrefixIndex()
            for peer in self._every_peer():
                self._cover(peer)
            for bound in self._bounds.values():
                for part in bound.peers:
                    self._cover(part)
        found: dict[Side, None] = {}
        for peer in self._covering.covering(*host):
            found.update(peer.sides)
        return found

    def _cover(self, peer: Peer) -> None:
        if self._covering is not None:
            for cidr in peer.cidrs():
                self._covering.put(cidr, peer)

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

    def _edit(self, policy: Policy, old: Policy, rules: list[JSON]) -> None:
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

    def _rule(self, policy: Policy, data: JSON, label: int) -> Rule:
        tenant = policy.name.tenant
        ends = (self._side(tenant, data["from"]), self._side(tenant, data["to"]))
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

    def _drop(self, part: Side | Services) -> None:
        """Forget what no rule uses any more.  Bounds stay: there is one for a tenant."""
        if isinstance(part, Services):
            del self._services[part.tenant, part.key]
            for name in set(part.names):
                naming = self._services_naming[name]
                del naming[part]
                if not naming:
                    del self._services_naming[name]
            return
        if part.tenant_bound is not None:
            return
        del self.sides[_asked(part.peers)]
        for peer in part.peers:
            del peer.sides[part]
            if not peer.sides:
                self._drop_peer(peer)

    def _drop_peer(self, peer: Peer) -> None:
        if peer.kind == "network":
            del self._naming[peer.tenant][peer.name]
        else:
            del self._peers[peer.tenant, peer.text]
        if peer.kind == "networks":
            self._network_selectors.discard(peer)
        elif peer.kind == "workloads":
            self._workload_selectors.discard(peer)
        if self._covering is not None:
            for cidr in peer.cidrs():
                self._covering.discard(cidr, peer)

    # What policies name.

    def _policy(self, name: Name) -> tuple[Policy, list[JSON]] | None:
        """Return a policy as it is in force, without its rules, and those as they are stored."""
        choice = self.inheritance.choose(name, self.chain)
        effective = choice.effective
        if effective is None:
            return None
        bound = None if name.tenant == COMMON else self._bound(name.tenant)
        order = policy_order(self.chain, name, choice.tier, effective)
        policy = Policy(name, choice.tier, effective.origin, order, bound)
        return policy, self._definitions.rules(name, effective)

    def _side(self, tenant: str, given: Any) -> Side | None:
        """Return the side that a list of peers is; None for any."""
        if given == "any":
            return None
        named = self._naming.setdefault(tenant, {})
        peers = [named.get(each.get("network")) or self._peer(tenant, each) for each in given]
        asked = _asked(peers)
        side = self.sides.get(asked)
        if side is None:
            side = self.sides[asked] = Side(peers if len(peers) == len(asked) else [*asked])
            self._fresh.append(side)
            for peer in side.peers:
                peer.sides[side] = None
        return side

    def _peer(self, tenant: str, given: JSON) -> Peer:
        if "network" in given:
            return self._network_peer(tenant, given["network"])
        text = peer_text(PeerSpec.model_validate(given))
        peer = self._peers.get((tenant, text))
        if peer is not None:
            return peer
        if "cidr" in given:
            peer = Peer(tenant, text, "cidr")
            peer.fixed = given["cidr"]
        elif "networks" in given:
            peer = Peer(tenant, text, "networks")
            peer.selector = Selector.model_validate(given["networks"])
            self._network_selectors.put(peer)
            self._select_networks(peer)
        else:
            peer = Peer(tenant, text, "workloads")
            peer.selector = Selector.model_validate(given["workloads"])
            self._workload_selectors.put(peer)
            self._select_workloads(peer)
        self._peers[tenant, text] = peer
        self._cover(peer)
        return peer

    def _network_peer(self, tenant: str, network: str) -> Peer:
        peer = self._naming[tenant][network] = Peer(tenant, f"network:{network}", "network")
        peer.name = network
        name = self._lookup("Network", tenant, network)
        meaning = self._meaning(name)
        if meaning is not None:
            peer.members[name] = meaning
        self._cover(peer)
        return peer

    def _every_peer(self) -> Iterator[Peer]:
        yield from self._peers.values()
        for named in self._naming.values():
            yield from named.values()

    def _bound(self, tenant: str) -> Side:
        """Return a tenant's own addresses, as this view sees them."""
        if tenant not in self._bounds:
            networks, workloads = Peer(tenant, "", "networks"), Peer(tenant, "", "workloads")
            for name in self._definitions.names("Network"):
                if name.tenant == tenant and (meaning := self._meaning(name)) is not None:
                    networks.members[name] = meaning
            for source in self._workloads.of_tenant(tenant):
                for host in hosts_of(source):
                    workloads.hosts[host] = workloads.hosts.get(host, 0) + 1
            bound = self._bounds[tenant] = Side([networks, workloads], tenant)
            self._fresh.append(bound)
            for peer in bound.peers:
                peer.sides[bound] = None
                self._cover(peer)
        return self._bounds[tenant]

    def _services_of(self, tenant: str, given: Any) -> Services | None:
        if given == "any":
            return None
        key = given[0].get("service") if len(given) == 1 else None
        if key is None:
            # A name has no bracket in it.
            key = orjson.dumps(given).decode()
        services = self._services.get((tenant, key))
        if services is None:
            services = self._services[tenant, key] = Services(tenant, key, given)
            services.matches = self._matches(services)
            for name in services.names:
                self._services_naming.setdefault(name, {})[services] = None
        return services

    def _matches(self, services: Services) -> tuple[NodeService, ...] | None:
        entries: list[JSON] = []
        for each in services.entries:
            if "service" not in each:
                entries.append(each)
            else:
                name = self._lookup("Service", services.tenant, each["service"])
                entries += self._definition(name, "entries")[0]
        return node_services(entries)

    def _lookup(self, kind: str, tenant: str, name: str) -> Name:
        """Return which name a policy of this tenant means: its own if the chain declares it."""
        own = Name(kind, tenant, name)
        if tenant == COMMON or self._declares(own):
            return own
        return Name(kind, COMMON, name)

    def _declares(self, name: Name) -> bool:
        return any(scope in self._scopes for scope in self._definitions.sources(name))

    def _definition(self, name: Name, field: str) -> tuple[Sequence[Any], Mapping[str, str]]:
        """Return what a name means here (its subnets or entries) and its labels; empty if
        unresolved.
        """
        if not self._definitions.has_exemptions(name):
            return self._nearest(name, field)
        found = self.inheritance.definition(name, self.chain)
        if found is None:
            return (), {}
        return found.spec.to_json().get(field, ()), found.document.labels

    def _nearest(self, name: Name, field: str) -> tuple[Sequence[Any], Mapping[str, str]]:
        """Return the same where there is no override, without reading any spec: what
        Inheritance.definition() gives then.
        """
        nearest: Source | None = None
        by_scope = self._definitions.sources(name)
        for scope in self.chain if len(by_scope) > 1 else by_scope:
            source = by_scope.get(scope)
            if source is None or scope not in self._scopes or not source.data.get(field):
                continue
            # The farthest sealed one counts, else the nearest.
            if nearest is None or source.is_sealed:
                nearest = source
        return (nearest.data[field], nearest.labels) if nearest is not None else ((), {})

    def _meaning(self, name: Name) -> Meaning | None:
        if name not in self._meanings:
            subnets, labels = self._definition(name, "subnets")
            self._meanings[name] = Meaning(subnets, labels) if subnets else None
        return self._meanings[name]

    def _select_networks(self, peer: Peer) -> None:
        for name in self._network_labels.select(selector_terms(cast("Selector", peer.selector))):
            if self._sees(peer.tenant, name):
                meaning = self._meaning(name)
                assert meaning is not None, "only what means something is indexed"
                peer.members[name] = meaning

    def _select_workloads(self, peer: Peer) -> None:
        for source in self._workloads.select(peer.tenant, cast("Selector", peer.selector)):
            for host in hosts_of(source):
                peer.hosts[host] = peer.hosts.get(host, 0) + 1

    def _sees(self, tenant: str, name: Name) -> bool:
        """Return whether selectors of a tenant's policies see a network."""
        if tenant in (COMMON, name.tenant):
            return True
        own = Name("Network", tenant, name.name)
        return name.tenant == COMMON and not self._declares(own)

    @property
    def _network_labels(self) -> NetworkLabels:
        if self._labels is None:
            self._labels = NetworkLabels()
            for name in self._definitions.names("Network"):
                if (meaning := self._meaning(name)) is not None:
                    self._labels.put(name, meaning.labels)
        return self._labels

    # Peers follow what they name.

    def _look_up(self, peer: Peer) -> None:
        """Let a peer that names a network take what that is now."""
        name = self._lookup("Network", peer.tenant, peer.name)
        for other in [each for each in peer.members if each != name]:
            self._take(peer, other, None)
        self._take(peer, name, self._meaning(name))

    def _reselect(self, peer: Peer, name: Name) -> None:
        """Let a peer that selects networks take a network in or leave it out."""
        meaning = self._meaning(name)
        selector = cast("Selector", peer.selector)
        if meaning and not (self._sees(peer.tenant, name) and selector.matches(meaning.labels)):
            meaning = None
        self._take(peer, name, meaning)

    def _take(self, peer: Peer, name: Name, meaning: Meaning | None) -> None:
        before = peer.members.get(name)
        if before is meaning:
            return
        windows = peer.change_member(name, meaning)
        if self._covering is not None:
            for cidr in before.subnets if before is not None else ():
                self._covering.discard(cidr, peer)
            for cidr in meaning.subnets if meaning is not None else ():
                self._covering.put(cidr, peer)
        self._spread(peer, windows)

    def _change_hosts(self, peer: Peer, gone: Sequence[Host], come: Sequence[Host]) -> None:
        if gone == come:
            return
        windows = peer.change_hosts(gone, come)
        if self._covering is not None:
            for window in windows:
                cidr = prefix_text(window.family, window.start, BITS[window.family])
                if (window.family, window.start) in peer.hosts:
                    self._covering.put(cidr, peer)
                else:
                    self._covering.discard(cidr, peer)
        self._spread(peer, windows)

    def _spread(self, peer: Peer, windows: list[Window]) -> None:
        if windows:
            for side in peer.sides:
                self._windows.setdefault(side, []).extend(windows)

    # The beginning.

    def _load(self) -> None:
        placed = [
            found
            for name in self._definitions.names(POLICY)
            if (found := self._policy(name)) is not None
        ]
        placed.sort(key=lambda each: each[0].order)
        for policy, rules in placed:
            self.policies[policy.name] = policy
            policy.rules = [
                self._rule(policy, data, place * _GAP) for place, data in enumerate(rules)
            ]
        runs = settle_all(self._fresh)
        if self.owners.is_empty:
            self._fresh = []
            return
        count_all(self._fresh, runs, self.owners)
        self._fresh = []
        for policy, _ in placed:
            for rule in policy.rules:
                rule.nodes = self.concerned(rule)
                for name in rule.nodes:
                    self.nodes[name].add_at_load(rule)


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


def _asked(peers: Sequence[Peer]) -> frozenset[Peer]:
    """Return what sides have in common that are one."""
    return frozenset(peers)


def _labels_between(low: int | None, high: int | None, count: int) -> list[int] | None:
    """Return so many labels between two neighbours, evenly spread; None if there is no room."""
    if high is None:
        start = 0 if low is None else low + _GAP
        return [start + place * _GAP for place in range(count)]
    if low is None:
        return [high - (count - place) * _GAP for place in range(count)]
    step = (high - low) // (count + 1)
    return [low + (place + 1) * step for place in range(count)] if step else None
