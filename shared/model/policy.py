"""Firewall rules over names and labels: the SecurityPolicy kind.

A policy says what must hold, not where.  Which addresses a name stands for depends on who asks
and is decided in shared.policy; nothing here knows of stores, sites or requests.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from shared.model.base import Flag, Integer, Name, Optional, Spec, Subnet
from shared.model.selectors import Selector
from shared.model.traffic import Entry, PortRange, Protocol

Enforcement = Literal["mandatory", "default"]
Action = Literal["allow", "deny", "reject", "pass"]


class Peer(Spec):
    """One side of a rule, named in exactly one way."""

    network: Optional[Name] = Field(None, description="A Network by name.")
    networks: Optional[Selector] = Field(None, description="Networks by their labels.")
    workloads: Optional[Selector] = Field(None, description="The site's workloads by labels.")
    cidr: Optional[Subnet] = Field(None, description="Addresses; only in a site's own policies.")

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError(
                "invalid_peer", "give exactly one of network, networks, workloads, cidr"
            )
        return self


class RuleService(Spec):
    """What a rule is about: a Service by name, or a protocol with ports; not both."""

    service: Optional[Name] = Field(None, description="A Service by name.")
    protocol: Optional[Protocol] = Field(None, description="A protocol, if no Service is named.")
    ports: tuple[PortRange, ...] = Field((), description="Destination ports; left out: any.")
    source_ports: tuple[PortRange, ...] = Field((), description="Source ports; left out: any.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.service is None) == (self.protocol is None):
            raise PydanticCustomError("invalid_service", "give exactly one of service and protocol")
        if self.service is not None:
            if self.model_fields_set != {"service"}:
                raise PydanticCustomError(
                    "invalid_service", "a named service brings its own ports; leave ports out"
                )
        else:
            self.entry()
        return self

    def entry(self) -> Entry:
        """Return the protocol and ports of one without a Service's name."""
        given = {"protocol", "ports", "source_ports"} & self.model_fields_set
        return Entry.model_validate(
            {to: getattr(self, field) for field, to in _ENTRY_FIELDS.items() if field in given}
        )


_ENTRY_FIELDS = {"protocol": "protocol", "ports": "ports", "source_ports": "sourcePorts"}


def _any_or_list(value: Any) -> str:
    return "any" if isinstance(value, str) else "list"


# Told apart by type, so that a fault in one form isn't reported for the other as well.
Peers = Annotated[
    Annotated[Literal["any"], Tag("any")]
    | Annotated[tuple[Peer, ...], Field(min_length=1), Tag("list")],
    Discriminator(_any_or_list),
]
RuleServices = Annotated[
    Annotated[Literal["any"], Tag("any")]
    | Annotated[tuple[RuleService, ...], Field(min_length=1), Tag("list")],
    Discriminator(_any_or_list),
]


class Rule(Spec):
    """Which traffic, and what becomes of it."""

    name: Name = Field(description="Unique in the policy.")
    from_: Peers = Field(alias="from", description="any, or a list of at least one peer.")
    to: Peers = Field(description="any, or a list of at least one peer.")
    services: RuleServices = Field("any", description="any, or a list of at least one.")
    action: Action = Field(
        description="reject is a deny that answers; pass ends its tier and goes on with the next."
    )
    log: Flag = Field(False, description="Whether nodes log what matches.")


class SecurityPolicy(Spec):
    """Firewall rules over names and labels, evaluated in four tiers."""

    enforcement: Optional[Enforcement] = Field(
        None, description="FSM only: mandatory or default (the default)."
    )
    priority: Integer = Field(
        500, ge=0, le=1000, description="Lower is evaluated first; 0-99 only in tenant common."
    )
    sites: Optional[Selector] = Field(
        None, description="FSM only: the sites it applies to; left out: every site."
    )
    stage: Literal["enforced", "staged"] = Field(
        "enforced", description='staged: counted as "would", never enforced.'
    )
    on_conflict: Optional[Literal["merge", "keepLocal", "applyGlobal"]] = Field(
        None,
        description="What runs until a conflict is decided; "
        "default: merge for mandatory policies, keepLocal otherwise.",
    )
    auto_merge: Flag = Field(False, description="Whether a clean merge is applied by itself.")
    rules: tuple[Rule, ...] = Field(description="First match wins.")

    @model_validator(mode="after")
    def _rule_names_differ(self) -> Self:
        # Merging two versions of a policy pairs their rules by name.
        seen: set[str] = set()
        for index, rule in enumerate(self.rules):
            if rule.name in seen:
                raise PydanticCustomError(
                    "duplicate_rule",
                    "another rule is named {name} already; rule names are unique in a policy",
                    {"name": rule.name, "at": ("rules", index, "name")},
                )
            seen.add(rule.name)
        return self
