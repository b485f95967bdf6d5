"""How a conflict tells rules and packets."""

from collections.abc import Sequence
from typing import Any

from shared.algebra.cidrs import format_address
from shared.algebra.ports import PORT_PROTOCOLS
from shared.model.traffic import protocol_text
from shared.policy.compile import POLICY
from shared.policy.definitions import Name
from shared.policy.nodeconfig import Packet
from shared.policy.shadows.rules import RuleName


def name_of(rule: RuleName) -> Name:
    return Name(POLICY, rule.tenant, rule.policy)


def rule_of(rule: RuleName) -> dict[str, Any]:
    return {
        "tier": rule.tier,
        "tenant": rule.tenant,
        "policy": rule.policy,
        "rule": rule.rule,
        "action": rule.action,
    }


def told(rule: RuleName, by: Sequence[RuleName], example: Packet | None) -> dict[str, Any]:
    """Return what a conflict tells of a rule, of those that come before it, and of a packet.

    Of other tenants' rules it says only that there are some (`byOthers`), and then it has no
    example: a packet that they decide may have an address of theirs.
    """
    own = [rule_of(each) for each in by if each.tenant == rule.tenant]
    others = len(own) < len(by)
    return {
        **rule_of(rule),
        "by": own,
        "byOthers": others,
        "example": None if others else example_of(example),
    }


def example_of(packet: Packet | None) -> dict[str, Any] | None:
    """Return a packet as commands show one; those of a protocol without ports have none."""
    if packet is None:
        return None
    found: dict[str, Any] = {
        "from": format_address(packet.family, packet.source),
        "to": format_address(packet.family, packet.destination),
        "protocol": protocol_text(packet.protocol),
    }
    if packet.protocol in PORT_PROTOCOLS:
        found |= {"port": packet.port, "sourcePort": packet.source_port}
    return found
