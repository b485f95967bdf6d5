"""What names, selectors and policies mean along one chain; kept until a definition changes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from shared.ids import COMMON
from shared.model.policy import Peer as PeerSpec
from shared.model.selectors import Selector
from shared.policy.compile import policy_order
from shared.policy.definitions import Name
from shared.policy.inherit import Inheritance, Tier
from shared.policy.loaded.peers import Meaning, Peer
from shared.policy.loaded.selecting import NetworkLabels
from shared.policy.loaded.source import JSON, LoadedDefinitions, Source
from shared.policy.loaded.traffic import matches_of
from shared.policy.loaded.workloads import WorkloadTable, hosts_of
from shared.policy.nodeconfig import NodeService
from shared.policy.resolve import peer_text, selector_terms
from shared.policy.scopes import Chain

POLICY: Final = "SecurityPolicy"
_UNDEFINED: Final[Mapping[str, Source]] = {}


class PolicyInForce(NamedTuple):
    """What a view makes of a policy's name: where it stands, and its rules as they are stored."""

    name: Name
    tier: Tier
    origin: str
    order: tuple[int, int, int, str, str]
    rules: Sequence[JSON]


class Names:
    """One chain's answers.  `inheritance` may be replaced when time or the site's labels move."""

    def __init__(
        self,
        chain: Chain,
        *,
        definitions: LoadedDefinitions,
        inheritance: Inheritance,
        workloads: WorkloadTable,
    ) -> None:
        self.chain: Final = chain
        self.inheritance = inheritance
        self._scopes: Final = frozenset(chain)
        self._definitions = definitions
        self._workloads = workloads
        self._meanings: Final[dict[Name, Meaning | None]] = {}
        self._labels: NetworkLabels | None = None
        """Made when networks are selected by labels for the first time."""

    def policies(self) -> list[PolicyInForce]:
        """Return the policies in force, in order of evaluation."""
        found = [self.policy(name) for name in self._definitions.names(POLICY)]
        return sorted(
            [policy for policy in found if policy is not None], key=lambda each: each.order
        )

    def policy(self, name: Name) -> PolicyInForce | None:
        choice = self.inheritance.choose(name, self.chain)
        effective = choice.effective
        if effective is None:
            return None
        order = policy_order(self.chain, name, choice.tier, effective)
        rules = self._definitions.rules(name, effective)
        return PolicyInForce(name, choice.tier, effective.origin, order, rules)

    def lookup(self, kind: str, tenant: str, name: str) -> Name:
        """Return which name a policy of this tenant means: its own if the chain declares it."""
        own = Name(kind, tenant, name)
        if tenant == COMMON or self.declares(own):
            return own
        return Name(kind, COMMON, name)

    def declares(self, name: Name) -> bool:
        return any(scope in self._scopes for scope in self._definitions.sources(name))

    def meaning(self, name: Name) -> Meaning | None:
        """Return what a network means here; None if it is unresolved."""
        if name not in self._meanings:
            self._meanings[name] = self._meaning(name)
        return self._meanings[name]

    @property
    def meanings(self) -> Mapping[Name, Meaning | None]:
        """What networks mean that somebody has asked for, now."""
        return self._meanings

    def _meaning(self, name: Name) -> Meaning | None:
        subnets, labels = self._definition(name, "subnets")
        if not subnets:
            return None
        vlan: int | None
        if self._definitions.has_exemptions(name):
            found = self.inheritance.definition(name, self.chain)
            assert found is not None, "it has subnets"
            vlan = found.spec.to_json().get("vlan")
        else:
            source = self.nearest(self._definitions.sources(name), "subnets")
            assert source is not None, "it has subnets"
            vlan = source.data.get("vlan")
        return Meaning(subnets, labels, vlan)

    def subnets(self, tenant: str, networks: Sequence[str]) -> list[Sequence[str]]:
        """Return what many networks mean that policies of a tenant name, without keeping it."""
        if tenant != COMMON or "Network" in self._definitions.exempted_kinds:
            meanings = [self.meaning(self.lookup("Network", tenant, each)) for each in networks]
            return [() if meaning is None else meaning.subnets for meaning in meanings]
        common = self._definitions.of_tenant("Network", COMMON)
        found: list[Sequence[str]] = []
        for network in networks:
            by_scope = common.get(network, _UNDEFINED)
            if len(by_scope) == 1:
                # Nearly all: no other definition to choose from.
                ((scope, source),) = by_scope.items()
                found.append(source.data.get("subnets", ()) if scope in self._scopes else ())
            else:
                nearest = self.nearest(by_scope, "subnets")
                found.append(nearest.data["subnets"] if nearest is not None else ())
        return found

    def refresh(self, name: Name) -> tuple[Meaning | None, Meaning | None]:
        """Return what a network meant and means, after its definitions changed; the same object
        if that is the same.
        """
        old = self._meanings.pop(name, None)
        new = self.meaning(name)
        if old is not None and new is not None and old.says(new):
            self._meanings[name] = new = old
        if self._labels is not None:
            self._labels.put(name, None if new is None else new.labels)
        return old, new

    def matches(self, tenant: str, entries: Iterable[JSON]) -> tuple[NodeService, ...] | None:
        """Return what a rule's services match in a policy of a tenant; None is any."""
        found: list[JSON] = []
        for each in entries:
            if "service" not in each:
                found.append(each)
            else:
                name = self.lookup("Service", tenant, each["service"])
                found += self._definition(name, "entries")[0]
        return matches_of(found)

    def unresolved_services(self, tenant: str, services: Iterable[str]) -> list[str]:
        """Return which of these a policy of a tenant names without a meaning, each once."""
        return [
            each
            for each in dict.fromkeys(services)
            if not self._definition(self.lookup("Service", tenant, each), "entries")[0]
        ]

    def sees(self, tenant: str, name: Name) -> bool:
        """Return whether selectors of a tenant's policies see a network."""
        if tenant in (COMMON, name.tenant):
            return True
        own = Name("Network", tenant, name.name)
        return name.tenant == COMMON and not self.declares(own)

    def selected(self, peer: Peer, name: Name) -> Meaning | None:
        """Return what a network means if a selecting peer takes it in, else None."""
        assert peer.selector is not None, "it selects"
        meaning = self.meaning(name)
        if meaning is None or not peer.selector.matches(meaning.labels):
            return None
        return meaning if self.sees(peer.tenant, name) else None

    # Peers, with what they stand for now.

    def named_peer(self, tenant: str, network: str) -> Peer:
        peer = Peer(tenant, f"network:{network}", "network")
        peer.name = network
        name = self.lookup("Network", tenant, network)
        meaning = self.meaning(name)
        if meaning is not None:
            peer.members[name] = meaning
        return peer

    def other_peer(self, tenant: str, text: str, given: JSON) -> Peer:
        """Return a peer that isn't a network's name; `text` is other_text() of what is given."""
        if "cidr" in given:
            peer = Peer(tenant, text, "cidr")
            peer.fixed = given["cidr"]
        elif "networks" in given:
            peer = Peer(tenant, text, "networks")
            peer.selector = Selector.model_validate(given["networks"])
            for name in self._network_labels.select(selector_terms(peer.selector)):
                if (meaning := self.selected(peer, name)) is not None:
                    peer.members[name] = meaning
        else:
            peer = Peer(tenant, text, "workloads")
            peer.selector = Selector.model_validate(given["workloads"])
            _add_hosts(peer, self._workloads.select(tenant, peer.selector))
        return peer

    def bound_peers(self, tenant: str) -> tuple[Peer, Peer]:
        """Return a tenant's own addresses: those of its networks, those of its workloads."""
        networks, workloads = Peer(tenant, "", "networks"), Peer(tenant, "", "workloads")
        for name in self._definitions.names("Network"):
            if name.tenant == tenant and (meaning := self.meaning(name)) is not None:
                networks.members[name] = meaning
        _add_hosts(workloads, self._workloads.of_tenant(tenant))
        return networks, workloads

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
        source = self.nearest(self._definitions.sources(name), field)
        return (source.data[field], source.labels) if source is not None else ((), {})

    def nearest(self, by_scope: Mapping[str, Source], field: str) -> Source | None:
        """Return of a name's definitions the one that counts, if no override exempts it."""
        nearest: Source | None = None
        for scope in self.chain if len(by_scope) > 1 else by_scope:
            source = by_scope.get(scope)
            if source is None or scope not in self._scopes or not source.data.get(field):
                continue
            # The farthest sealed one counts, else the nearest.
            if nearest is None or source.is_sealed:
                nearest = source
        return nearest

    @property
    def _network_labels(self) -> NetworkLabels:
        if self._labels is None:
            self._labels = NetworkLabels()
            for name in self._definitions.names("Network"):
                if (meaning := self.meaning(name)) is not None:
                    self._labels.put(name, meaning.labels)
        return self._labels


def other_text(given: JSON) -> str:
    """Return what a peer asks for that isn't a network's name; no name looks like it."""
    return peer_text(PeerSpec.model_validate(given))


def _add_hosts(peer: Peer, workloads: Iterable[Source]) -> None:
    for source in workloads:
        for host in hosts_of(source):
            peer.hosts[host] = peer.hosts.get(host, 0) + 1
