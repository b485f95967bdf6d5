"""Small configurations for the agent's tests."""

from dsn.enforce.assignment import Assignment, Version
from shared.policy.nodeconfig import NodeConfiguration, NodeRule, NodeService

NODE = "node-1"
SET = "s0000000000000001"


def make_rule(number: int, action: str = "allow", port: int = 80) -> NodeRule:
    return NodeRule(
        id=f"{number:016x}",
        tier="local",
        tenant="common",
        policy="policy",
        rule=f"rule-{number}",
        origin="local",
        action=action,  # type: ignore[arg-type] - tests also give wrong ones
        destination=SET,
        services=(NodeService(6, ((port, port),)),),
    )


def make_configuration(*rules: NodeRule, node: str = NODE) -> NodeConfiguration:
    return NodeConfiguration(node, "deny", ("10.1.0.0/24",), {SET: ("10.1.0.0/24",)}, rules)


def make_assignment(
    generation: int, *rules: NodeRule, incarnation: str = "first", node: str = NODE
) -> Assignment:
    configuration = make_configuration(*rules, node=node)
    return Assignment(Version(incarnation, generation, configuration.hash()), configuration)
