"""What a site, or one of its nodes, makes of policy: ordered rules, and where each came from.

A plan is a value.  It keeps the documents behind it, so that an answer can name the file and
line, or the revision, of every rule and name.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from shared.algebra.cidrs import AddressSet
from shared.algebra.ports import PortMatch, ports_text
from shared.model.policy import Action
from shared.model.traffic import protocol_text
from shared.policy.inherit import Effective, LeftOut, Tier
from shared.policy.inputs import Document
from shared.policy.resolve import Addresses, Missing, NameUsed, Services, Side
from shared.policy.scopes import Chain

TIERS: Final[tuple[Tier, ...]] = ("mandatory", "local", "default")


@dataclass(frozen=True, slots=True, eq=False)
class PlannedRule:
    """One rule, resolved.  `source` and `destination` None are any; `index` is its place in the
    spec of `document`, which gave it; `within` bounds rules of tenants (one end must lie there).
    """

    tier: Tier
    tenant: str
    policy: str
    rule: str
    index: int
    action: Action
    log: bool
    origin: str
    source: Addresses | None
    destination: Addresses | None
    services: Services
    within: AddressSet | None
    document: Document

    @property
    def revision(self) -> int | None:
        return self.document.revision

    @property
    def empty(self) -> Side | None:
        """The first list that ended up empty.  Such a rule is not installed."""
        if self.source is not None and not self.source.addresses:
            return "from"
        if self.destination is not None and not self.destination.addresses:
            return "to"
        if self.services.matches == ():
            return "services"
        return None

    @property
    def names(self) -> Iterator[NameUsed]:
        """What the references of `from`, `to` and services resolved to, each once."""
        seen = set()
        for part in (self.source, self.destination, self.services):
            for name in part.names if part is not None else ():
                if (place := (name.reference, name.tenant)) not in seen:
                    seen.add(place)
                    yield name

    @property
    def missing(self) -> Iterator[Missing]:
        """The references that are unresolved, each once a side."""
        seen = set()
        for part in (self.source, self.destination, self.services):
            for each in part.missing if part is not None else ():
                if (place := (each.side, each.reference)) not in seen:
                    seen.add(place)
                    yield each

    def path(self, missing: Missing) -> str:
        """Return the path of an unresolved reference in its document."""
        root = "spec" if self.document.key.kind == "SecurityPolicy" else "spec.spec"
        kind = missing.reference.partition(":")[0]
        return f"{root}.rules[{self.index}].{missing.side}[{missing.index}].{kind}"


@dataclass(frozen=True, slots=True, eq=False)
class PlannedPolicy:
    """One policy in force, with all of its rules, those not installed too."""

    tier: Tier
    tenant: str
    name: str
    priority: int
    effective: Effective
    rules: tuple[PlannedRule, ...]

    @property
    def is_partial(self) -> bool:
        """Whether an unresolved name keeps a deny or reject from being installed: it fails open."""
        return any(
            rule.action in ("deny", "reject") and rule.empty is not None and any(rule.missing)
            for rule in self.rules
        )


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A name that a rule uses and that means nothing in this view."""

    rule: PlannedRule
    missing: Missing

    def to_json(self) -> dict[str, Any]:
        return {
            "policy": self.rule.policy,
            "tenant": self.rule.tenant,
            "rule": self.rule.rule,
            "side": self.missing.side,
            "reference": self.missing.reference,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A view's policies in order of evaluation, and what was left out of it."""

    site: str
    node: str | None
    chain: Chain
    default_action: Literal["allow", "deny"]
    policies: tuple[PlannedPolicy, ...]
    left_out: tuple[LeftOut, ...] = ()
    rules: tuple[PlannedRule, ...] = field(init=False)
    """The installed rules; a rule's position is its place here, from 1."""

    def __post_init__(self) -> None:
        installed = tuple(
            rule for policy in self.policies for rule in policy.rules if rule.empty is None
        )
        object.__setattr__(self, "rules", installed)

    @property
    def unresolved(self) -> Iterator[Unresolved]:
        """The unresolved names, in the order of policies, rules, from, to and services."""
        for policy in self.policies:
            for rule in policy.rules:
                for missing in rule.missing:
                    yield Unresolved(rule, missing)

    @property
    def suspended(self) -> Iterator[Document]:
        """Local policies that are out of force since a mandatory one of their name arrived."""
        for each in self.left_out:
            if each.why == "suspended":
                yield each.document

    def to_json(self) -> dict[str, Any]:
        """Return the answer of `hanse resolve`."""
        return {
            "site": self.site,
            "node": self.node,
            "defaultAction": self.default_action,
            "rules": [rule_json(rule, place) for place, rule in enumerate(self.rules, start=1)],
            "unresolved": [each.to_json() for each in self.unresolved],
            "suspended": [str(each.key) for each in self.suspended],
        }


def rule_json(rule: PlannedRule, position: int) -> dict[str, Any]:
    """Return a rule as `hanse resolve` shows it."""
    data: dict[str, Any] = {
        "position": position,
        "tier": rule.tier,
        "policy": rule.policy,
        "tenant": rule.tenant,
        "rule": rule.rule,
        "origin": rule.origin,
        "action": rule.action,
        "log": rule.log,
        "from": _addresses_json(rule.source),
        "to": _addresses_json(rule.destination),
        "services": services_json(rule.services.matches),
        "names": [name_json(name) for name in rule.names],
    }
    if rule.within is not None:
        data["within"] = list(rule.within.cidrs())
    if rule.revision is not None:
        data["revision"] = rule.revision
    return data


def services_json(matches: tuple[PortMatch, ...] | None) -> Any:
    """Return `any`, or an item for each protocol and set of source ports."""
    if matches is None:
        return "any"
    return [
        {
            "protocol": protocol_text(each.protocol),
            **({"ports": ports_text(each.ports)} if each.ports is not None else {}),
            **(
                {"sourcePorts": ports_text(each.source_ports)}
                if each.source_ports is not None
                else {}
            ),
        }
        for each in matches
    ]


def _addresses_json(side: Addresses | None) -> Any:
    return "any" if side is None else list(side.addresses.cidrs())


def name_json(name: NameUsed) -> dict[str, Any]:
    """Return what a reference resolved to as `hanse resolve` shows it."""
    data: dict[str, Any] = {
        "reference": name.reference,
        "tenant": name.tenant,
        "scope": name.scope,
    }
    if name.vlan is not None:
        data["vlan"] = name.vlan
    if (revision := name.effective.source.revision) is not None:
        data["revision"] = revision
    return data
