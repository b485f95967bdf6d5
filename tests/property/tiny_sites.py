"""Sites so small that every packet can be looked at, and a slow reading of what they decide.

The reading shares nothing with the planner: a rule is the set of packets that it matches, written
down one by one, and a verdict is the first rule's that holds it, tier after tier.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any, Final, NamedTuple

from shared.policy.inputs import SiteInputs
from shared.policy.nodeconfig import Packet as PlannerPacket
from tests.property.choices import Choices
from tests.unit.shared.policy.building import document, network, override, service, site
from tests.unit.shared.policy.building import world as inputs_of


class Packet(NamedTuple):
    """One packet of the tiny universe; addresses are the last byte of 10.0.0.0/28."""

    source: int
    destination: int
    protocol: str
    port: int


ADDRESSES: Final = range(7)
NETWORKS: Final[Mapping[str, tuple[str, ...]]] = {
    "A": ("10.0.0.0/31",),
    "B": ("10.0.0.2/31",),
    "C": ("10.0.0.0/30",),
    "D": ("10.0.0.1/32", "10.0.0.4/31"),
}
SERVICES: Final[Mapping[str, tuple[str, tuple[int, int]]]] = {
    "one": ("tcp", (1, 1)),
    "two": ("tcp", (2, 3)),
    "dns": ("udp", (1, 1)),
}
PROTOCOLS: Final = (*(("tcp", port) for port in range(5)), ("udp", 0), ("udp", 1), ("icmp", 0))
PACKETS: Final = frozenset(
    Packet(source, destination, protocol, port)
    for source, destination in product(ADDRESSES, ADDRESSES)
    for protocol, port in PROTOCOLS
)

_NUMBERS: Final = {"tcp": 6, "udp": 17, "icmp": 1}
_FIRST: Final = int(ip_address("10.0.0.0"))

Verdicts = Mapping[Packet, str]
Rule = Mapping[str, Any]


def as_planned(packet: Packet) -> PlannerPacket:
    return PlannerPacket(
        4,
        _FIRST + packet.source,
        _FIRST + packet.destination,
        _NUMBERS[packet.protocol],
        0,
        packet.port,
    )


@dataclass(frozen=True)
class Tiny:
    """A site's policies by name: `mandatory` and `default` are upstream's, `local` its own.

    `exceptions` are specs that stand for upstream's policies, by their names.
    """

    default_action: str = "deny"
    mandatory: Mapping[str, Rule] = field(default_factory=dict)
    default: Mapping[str, Rule] = field(default_factory=dict)
    local: Mapping[str, Rule] = field(default_factory=dict)
    exceptions: Mapping[str, Rule] = field(default_factory=dict)
    base: Mapping[str, Rule] = field(default_factory=dict)
    """What an exception was based on, by its target's name."""

    def inputs(self) -> SiteInputs:
        federation = [
            *(network(name) for name in NETWORKS),
            *(
                service(name, {"protocol": protocol, "ports": [f"{first}-{last}"]})
                for name, (protocol, (first, last)) in SERVICES.items()
            ),
            *(
                document("SecurityPolicy", name, {**spec, "enforcement": "mandatory"})
                for name, spec in self.mandatory.items()
            ),
            *(document("SecurityPolicy", name, spec) for name, spec in self.default.items()),
        ]
        own = [
            *(network(name, *subnets) for name, subnets in NETWORKS.items()),
            *(document("SecurityPolicy", name, spec) for name, spec in self.local.items()),
            *(
                override(
                    f"for-{name}",
                    "SecurityPolicy",
                    name,
                    spec,
                    **(
                        {"basedOn": {"revision": 1, "spec": self.base[name]}}
                        if name in self.base
                        else {}
                    ),
                )
                for name, spec in self.exceptions.items()
            ),
        ]
        at = site(defaultAction=self.default_action)
        return inputs_of(federation, own, at=at)

    def verdicts(self) -> Verdicts:
        return self.walked(("mandatory", "local", "default"))[0]

    def walked(
        self, tiers: Sequence[str]
    ) -> tuple[dict[Packet, str], dict[Packet, tuple[str, str, str] | None]]:
        """Return each packet's verdict, and who decided: tier, policy and rule."""
        verdicts = {}
        deciders: dict[Packet, tuple[str, str, str] | None] = {}
        matches = {
            tier: [
                (name, rule, matching(rule))
                for name, spec in self._in_order(tier)
                for rule in spec["rules"]
            ]
            for tier in tiers
        }
        for packet in PACKETS:
            verdicts[packet], deciders[packet] = self.default_action, None
            for tier in tiers:
                first = next(
                    ((name, rule) for name, rule, held in matches[tier] if packet in held), None
                )
                if first is not None and first[1]["action"] != "pass":
                    verdicts[packet] = first[1]["action"]
                    deciders[packet] = (tier, first[0], first[1]["name"])
                    break
        return verdicts, deciders

    def _in_order(self, tier: str) -> Iterable[tuple[str, Rule]]:
        of_tier: Mapping[str, Rule] = getattr(self, tier)
        specs = {
            name: spec if tier == "local" else self.exceptions.get(name, spec)
            for name, spec in of_tier.items()
        }
        return sorted(specs.items(), key=lambda each: (each[1].get("priority", 500), each[0]))


def matching(rule: Rule) -> frozenset[Packet]:
    """Return every packet that a rule matches."""
    sources, destinations = _ends(rule["from"]), _ends(rule["to"])
    services = {
        (protocol, port)
        for protocol, port in PROTOCOLS
        if _is_served(rule.get("services", "any"), protocol, port)
    }
    return frozenset(
        each
        for each in PACKETS
        if each.source in sources
        and each.destination in destinations
        and (each.protocol, each.port) in services
    )


def _ends(peers: Any) -> set[int]:
    if peers == "any":
        return set(ADDRESSES)
    found = set()
    for peer in peers:
        cidrs = NETWORKS[peer["network"]] if "network" in peer else (peer["cidr"],)
        for each in map(ip_network, cidrs):
            found |= {number for number in ADDRESSES if ip_address(_FIRST + number) in each}
    return found


def _is_served(services: Any, protocol: str, port: int) -> bool:
    if services == "any":
        return True
    for each in services:
        if "service" in each:
            name, (first, last) = SERVICES[each["service"]]
            if name == protocol and first <= port <= last:
                return True
        elif each["protocol"] in (protocol, "any", _NUMBERS[protocol]):
            ranges = [str(given).split("-") for given in each.get("ports", ())]
            if not ranges or any(int(one[0]) <= port <= int(one[-1]) for one in ranges):
                return True
    return False


# Worlds.

_ACTIONS: Final = ("allow", "allow", "deny", "deny", "reject", "pass")


def some_policy(choose: Choices, prefix: str, *, most: int = 3) -> dict[str, Any]:
    rules = [some_rule(choose, f"{prefix}{count}") for count in range(choose.number(1, most))]
    return {"rules": rules}


def some_rule(choose: Choices, name: str, *, cidr: bool = False) -> dict[str, Any]:
    rule = {
        "name": name,
        "from": _some_peers(choose, cidr=cidr),
        "to": _some_peers(choose, cidr=cidr),
        "action": choose.pick(_ACTIONS),
    }
    services = _some_services(choose)
    return rule if services == "any" else {**rule, "services": services}


def edited(choose: Choices, spec: Rule, prefix: str) -> dict[str, Any]:
    """Return a policy in which one thing or two are another."""
    rules = [dict(each) for each in spec["rules"]]
    for count in range(choose.number(1, 2)):
        what = choose.number(0, 5)
        rule = choose.pick(rules) if rules else None
        if rule is None or what == 0:
            at = choose.number(0, len(rules))
            rules.insert(at, some_rule(choose, f"{prefix}{count}", cidr=True))
        elif what == 1:
            rules.remove(rule)
        elif what == 2:
            rule["action"] = choose.pick(_ACTIONS)
        elif what == 3:
            rule["services"] = _some_services(choose)
        else:
            rule[choose.pick(("from", "to"))] = _some_peers(choose, cidr=True)
    return {**spec, "rules": rules}


def _some_peers(choose: Choices, *, cidr: bool) -> Any:
    if choose.chance(25):
        return "any"
    peers: list[Any] = [{"network": name} for name in NETWORKS if choose.chance(40)] or [
        {"network": choose.pick(tuple(NETWORKS))}
    ]
    if cidr and choose.chance(20):
        peers.append({"cidr": f"10.0.0.{choose.number(0, 6)}/32"})
    return peers


def _some_services(choose: Choices) -> Any:
    if choose.chance(30):
        return "any"
    found: list[Any] = [{"service": name} for name in SERVICES if choose.chance(40)]
    if not found or choose.chance(20):
        first = choose.number(0, 4)
        found.append({"protocol": "tcp", "ports": [f"{first}-{choose.number(first, 4)}"]})
    return found


def tiny_site(choose: Choices) -> Tiny:
    """Return a site with policies in each tier, no two sides of which have parted."""
    mandatory = {name: some_policy(choose, name) for name in ("m1", "m3") if choose.chance(70)}
    return Tiny(
        choose.pick(("allow", "deny")),
        mandatory,
        {name: some_policy(choose, name) for name in ("d1",) if choose.chance(60)},
        {name: some_policy(choose, name) for name in ("l1", "l2") if choose.chance(70)},
        {name: some_policy(choose, f"x{name}") for name in mandatory if choose.chance(25)},
    )
