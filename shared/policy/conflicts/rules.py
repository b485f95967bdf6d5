"""How a conflict tells rules and packets."""

from collections.abc import Sequence
from typing import Any

from shared.policy.compile import POLICY
from shared.policy.definitions import Name
from shared.policy.flows import packet_json
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
        "example": None if others or example is None else packet_json(example),
    }
