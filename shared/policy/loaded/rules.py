"""Rules and policies in force, and the services that rules share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from shared.encoding import encode_to_keep
from shared.policy.definitions import Name
from shared.policy.inherit import Tier
from shared.policy.loaded.sides import Side
from shared.policy.loaded.source import JSON
from shared.policy.nodeconfig import NodeRule, NodeService, rule_id, rule_to_json


class Services:
    """A list of services, as policies of a tenant name it.

    `missing` are the names without a meaning; None as long as nobody has asked.
    """

    __slots__ = ("entries", "key", "matches", "missing", "names", "rules", "tenant")

    def __init__(self, tenant: str, key: str, entries: Sequence[JSON]) -> None:
        self.tenant = tenant
        self.key = key
        self.entries = entries
        self.names: tuple[str, ...] = tuple(
            [each["service"] for each in entries if "service" in each]
        )
        self.matches: tuple[NodeService, ...] | None = None
        self.missing: Sequence[str] | None = None
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
            self._wire = _RuleOnWire(rule, rule.enforced, encode_to_keep(rule_to_json(rule)))
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
