"""What one node is told to enforce: the contract between a site's planner and its nodes.

A configuration holds only what touches the traffic of the node's own workloads.  Rules name
address sets instead of listing addresses, and a set's id depends on what it stands for (the
peers of a rule's side), not on its members: so a workload that moves changes members of a few
sets and no rule.

The hash covers everything that a data plane enforces and can be asked back, and nothing else.
A node computes it from what it *reads back* from its kernel; another hash is drift.

Judgement (first match wins, tier by tier, `pass` ends a tier) is defined here once, for the
in-memory data plane, for ending connections that are now denied, and as the yardstick of the
kernel's answer.  An agent imports this module and no planner.
"""

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Self

from shared.algebra.boxes import Packet as Packet  # noqa: PLC0414 - part of the contract
from shared.algebra.cidrs import AddressSet, Family, parse_cidrs
from shared.errors import Invalid
from shared.policy.balancers import (
    FIREWALL,
    Balancers,
    balancer_from_json,
    balancer_to_json,
    balancers_total,
)
from shared.policy.balancers import SERVICE as LOAD_BALANCER
from shared.policy.nodehash import MODULUS, content_hash, counted_hash, total

TIERS: Final = ("mandatory", "local", "default")
Tier = Literal["mandatory", "local", "default"]
NodeAction = Literal["allow", "deny", "reject", "pass"]
Verdict = Literal["allow", "deny", "reject"]

PORT_PROTOCOLS: Final = frozenset({6, 17, 132})
"""tcp, udp and sctp: the protocols whose packets have ports."""

_RULE_FIELDS: Final = {
    *("id", "tier", "tenant", "policy", "rule", "origin", "action", "log"),
    *("source", "destination", "within", "services"),
}


@dataclass(frozen=True, slots=True)
class NodeService:
    """One protocol with its ports; None is any port.

    Ports are inclusive ranges in order, neither touching nor overlapping.
    """

    protocol: int
    ports: tuple[tuple[int, int], ...] | None = None
    source_ports: tuple[tuple[int, int], ...] | None = None

    def matches(self, packet: Packet) -> bool:
        return (
            packet.protocol == self.protocol
            and _in_ranges(self.ports, packet.port)
            and _in_ranges(self.source_ports, packet.source_port)
        )


@dataclass(frozen=True, slots=True)
class NodeRule:
    """One rule as a node enforces it.

    `source`, `destination` and `within` are ids of sets in the configuration; None is any
    address (of `within`: no restriction).  With `within`, one end at least must lie there.
    `services` None is any protocol.  `id` (16 hex digits) identifies the rule by its
    provenance, across generations; counters and logs carry it.
    """

    id: str
    tier: Tier
    tenant: str
    policy: str
    rule: str
    origin: str
    action: NodeAction
    log: bool = False
    source: str | None = None
    destination: str | None = None
    services: tuple[NodeService, ...] | None = None
    within: str | None = None

    @property
    def enforced(self) -> str:
        """What of it a data plane enforces and can be asked back for, as one line of text."""
        services = "any"
        if self.services is not None:
            services = ",".join(
                f"{each.protocol}:{_ports_text(each.source_ports)}:{_ports_text(each.ports)}"
                for each in self.services
            )
        return (
            f"{self.id} {self.tier} {self.action} {'log' if self.log else '-'} {self.source} "
            f"{self.destination} {self.within} {services}"
        )


@dataclass(frozen=True, slots=True)
class NodeConfiguration:
    """All that a node enforces: an immutable value.

    `addresses` are the node's own workloads' (minimal CIDRs): traffic with no end there is
    never touched.  `sets` maps an id (`s` and 16 hex digits) to minimal CIDRs, both families.
    `rules` stand in order of evaluation: tier by tier, within a tier first match wins.
    `staged` is what the node would enforce if staged policies were: nothing of it is, but where it
    decides otherwise is counted (shared.policy.nodestaged); None if it is the same.
    `balancers` are None where the node doesn't run that service.
    """

    node: str
    default_action: Literal["allow", "deny"]
    addresses: tuple[str, ...] = ()
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rules: tuple[NodeRule, ...] = ()
    staged: "NodeConfiguration | None" = None
    balancers: Balancers | None = None
    # Not an argument, lest dataclasses.replace() carries it over to what has other rules.
    _total: int | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def services(self) -> tuple[str, ...]:
        """The network services that a node with this configuration runs."""
        return (FIREWALL,) if self.balancers is None else (FIREWALL, LOAD_BALANCER)

    def total(self) -> int:
        """Return the sum of the terms of sets and rules."""
        if self._total is None:
            object.__setattr__(self, "_total", total(self.sets, self.rules))
        assert self._total is not None, "it has just been worked out"
        return self._total

    def with_total(self, known: int) -> Self:
        """Return this, knowing the sum of its terms from whoever kept it."""
        object.__setattr__(self, "_total", known)
        return self

    def hash(self) -> str:
        """Return the SHA-256 (hex) of what is enforced, and of what is counted."""
        everything = (self.total() + balancers_total(self.balancers)) % MODULUS
        enforced = content_hash(self.default_action, self.addresses, everything)
        return counted_hash(enforced, self.staged.hash() if self.staged else None)


def rule_id(tier: str, tenant: str, policy: str, rule: str, origin: str) -> str:
    """Return the id under which a rule is counted and logged."""
    provenance = f"{tier}\0{tenant}\0{policy}\0{rule}\0{origin}"
    return hashlib.sha256(provenance.encode()).hexdigest()[:16]


class Judgement(NamedTuple):
    """The verdict on a packet, and the rule that gave it (None: the site's default action).

    `passed` are the rules before it that matched and ended their tier.
    """

    verdict: Verdict
    rule: NodeRule | None
    passed: tuple[NodeRule, ...] = ()

    @property
    def met(self) -> tuple[NodeRule, ...]:
        """All rules that had a say, in order."""
        return self.passed if self.rule is None else (*self.passed, self.rule)


class Judge:
    """Judges packets by one configuration; parses a set once, when it is first asked for."""

    def __init__(self, configuration: NodeConfiguration) -> None:
        self._default: Verdict = configuration.default_action
        self._own = parse_cidrs(configuration.addresses)
        self._cidrs = configuration.sets
        self._sets: dict[str, AddressSet] = {}
        self._tiers = [
            [rule for rule in configuration.rules if rule.tier == tier] for tier in TIERS
        ]

    def after(self, configuration: NodeConfiguration) -> "Judge":
        """Return the judge of the next configuration; the sets that stay aren't parsed again."""
        judge = Judge(configuration)
        judge._sets = {
            name: parsed
            for name, parsed in self._sets.items()
            if configuration.sets.get(name) is self._cidrs[name]
        }
        return judge

    def concerns(self, packet: Packet) -> bool:
        """Return whether an end of the packet is one of the node's own workloads."""
        return self._own.contains(packet.family, packet.source) or self._own.contains(
            packet.family, packet.destination
        )

    def judge(self, packet: Packet) -> Judgement | None:
        """Return the verdict; None for traffic that the node never touches."""
        if not self.concerns(packet):
            return None
        passed: tuple[NodeRule, ...] = ()
        for tier in self._tiers:
            for rule in tier:
                if self.matches(rule, packet):
                    if rule.action == "pass":
                        passed += (rule,)
                        break
                    return Judgement(rule.action, rule, passed)
        return Judgement(self._default, None, passed)

    def matches(self, rule: NodeRule, packet: Packet) -> bool:
        """Return whether a rule of the configuration matches a packet."""
        family = packet.family
        return (
            (rule.services is None or any(each.matches(packet) for each in rule.services))
            and self._holds(rule.source, family, packet.source)
            and self._holds(rule.destination, family, packet.destination)
            and (
                rule.within is None
                or self._holds(rule.within, family, packet.source)
                or self._holds(rule.within, family, packet.destination)
            )
        )

    def _holds(self, name: str | None, family: Family, address: int) -> bool:
        if name is None:
            return True
        found = self._sets.get(name)
        if found is None:
            found = self._sets[name] = parse_cidrs(self._cidrs[name])
        return found.contains(family, address)


def to_json(configuration: NodeConfiguration) -> dict[str, Any]:
    """Return the wire form: plain lists, objects and text, absent where any or default."""
    staged = configuration.staged
    return {
        "node": configuration.node,
        "defaultAction": configuration.default_action,
        "addresses": list(configuration.addresses),
        "sets": {name: list(cidrs) for name, cidrs in configuration.sets.items()},
        "rules": [rule_to_json(rule) for rule in configuration.rules],
        **({"staged": to_json(staged)} if staged is not None else {}),
        **(
            {"balancers": [balancer_to_json(each) for each in configuration.balancers]}
            if configuration.balancers is not None
            else {}
        ),
    }


def from_json(data: Any) -> NodeConfiguration:
    """Return the configuration of a wire form.

    Invalid, with code `unsupported_field` if there is a field that this version doesn't know (what
    it asks for can't be enforced), else `malformed`, if it isn't of the form that to_json gives.
    """
    fields = {"node", "defaultAction", "addresses", "sets", "rules", "balancers"}
    _known(data, fields | {"staged"}, "the configuration")
    staged = data.get("staged")
    if staged is not None:
        _known(staged, fields, "what is staged")
    default = _one_of(data, "defaultAction", ("allow", "deny"))
    sets = _typed(data, "sets", dict)
    return NodeConfiguration(
        node=_typed(data, "node", str),
        default_action=default,
        addresses=_texts(data.get("addresses"), "addresses"),
        sets={name: _texts(cidrs, f"set {name}") for name, cidrs in sets.items()},
        rules=tuple(rule_from_json(rule) for rule in _typed(data, "rules", list)),
        staged=None if staged is None else from_json(staged),
        balancers=tuple(balancer_from_json(each) for each in _typed(data, "balancers", list))
        if "balancers" in data
        else None,
    )


def rule_to_json(rule: NodeRule) -> dict[str, Any]:
    data: dict[str, Any] = {
        "id": rule.id,
        "tier": rule.tier,
        "tenant": rule.tenant,
        "policy": rule.policy,
        "rule": rule.rule,
        "origin": rule.origin,
        "action": rule.action,
    }
    if rule.log:
        data["log"] = True
    for name in ("source", "destination", "within"):
        if (value := getattr(rule, name)) is not None:
            data[name] = value
    if rule.services is not None:
        data["services"] = [
            {
                "protocol": each.protocol,
                **({"ports": each.ports} if each.ports is not None else {}),
                **({"sourcePorts": each.source_ports} if each.source_ports is not None else {}),
            }
            for each in rule.services
        ]
    return data


def rule_from_json(data: Any) -> NodeRule:
    """Return the rule of a wire form; Invalid as from_json."""
    _known(data, _RULE_FIELDS, "a rule")
    services = _typed(data, "services", list) if "services" in data else None
    return NodeRule(
        id=_typed(data, "id", str),
        tier=_one_of(data, "tier", TIERS),
        tenant=_typed(data, "tenant", str),
        policy=_typed(data, "policy", str),
        rule=_typed(data, "rule", str),
        origin=_typed(data, "origin", str),
        action=_one_of(data, "action", ("allow", "deny", "reject", "pass")),
        log=_typed(data, "log", bool) if "log" in data else False,
        source=_typed(data, "source", str) if "source" in data else None,
        destination=_typed(data, "destination", str) if "destination" in data else None,
        within=_typed(data, "within", str) if "within" in data else None,
        services=None if services is None else tuple(_service(each) for each in services),
    )


def _ports_text(ranges: tuple[tuple[int, int], ...] | None) -> str:
    if ranges is None:
        return "*"
    return "+".join(f"{first}-{last}" for first, last in ranges)


def _in_ranges(ranges: tuple[tuple[int, int], ...] | None, value: int) -> bool:
    return ranges is None or any(first <= value <= last for first, last in ranges)


def _service(data: Any) -> NodeService:
    _known(data, {"protocol", "ports", "sourcePorts"}, "a service")
    return NodeService(
        _typed(data, "protocol", int), _ranges(data, "ports"), _ranges(data, "sourcePorts")
    )


def _ranges(data: Mapping[str, Any], name: str) -> tuple[tuple[int, int], ...] | None:
    if name not in data:
        return None
    ranges = []
    for pair in data[name] if isinstance(data[name], list | tuple) else [None]:
        if not isinstance(pair, list | tuple) or [type(each) for each in pair] != [int, int]:
            raise Invalid(f"{name} must be pairs of numbers", code="malformed")
        ranges.append((pair[0], pair[1]))
    return tuple(ranges)


def _known(data: Any, fields: AbstractSet[str], what: str) -> None:
    if not isinstance(data, Mapping):
        raise Invalid(f"{what} must be an object", code="malformed")
    if unknown := sorted(data.keys() - fields):
        raise Invalid(
            f"{what} has a field that this agent doesn't know: {unknown[0][:80]!r}",
            code="unsupported_field",
        )


def _typed(data: Mapping[str, Any], name: str, kind: type) -> Any:
    value = data.get(name)
    # Every bool is an int to isinstance.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Invalid(f"{name!r} is missing or no {kind.__name__}", code="malformed")
    return value


def _one_of(data: Mapping[str, Any], name: str, values: tuple[str, ...]) -> Any:
    value = _typed(data, name, str)
    if value not in values:
        # A later version's word is as little enforceable as a later version's field.
        raise Invalid(
            f"{name!r} is {value[:80]!r}, not one of {', '.join(values)}", code="unsupported_field"
        )
    return value


def _texts(values: Any, what: str) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(each, str) for each in values):
        raise Invalid(f"{what} must be a list of text", code="malformed")
    return tuple(values)
