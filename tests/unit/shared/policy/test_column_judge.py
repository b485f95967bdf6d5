"""Many flows judged at once, where rules meet on every bit: the verdict of each by itself."""

import json
from collections.abc import Iterator
from ipaddress import IPv4Address
from random import Random
from typing import Any

import numpy as np
import pytest

from shared.policy.column_judge import ColumnJudge
from shared.policy.compile import SitePlanner
from shared.policy.flow_columns import FlowColumns
from shared.policy.plan import Plan
from shared.policy.verdict import judge
from shared.telemetry.flow_lines import FlowReader
from tests.unit.shared.policy.building import net, network, policy, rule, tenant, workload, world

ACTIONS = ("allow", "deny", "reject", "pass")


def columns(given: list[dict[str, Any]]) -> FlowColumns:
    reader = FlowReader("flows")
    reader.read("\n".join(map(json.dumps, given)).encode())
    assert reader.faults == []
    return reader.columns()


def flows(dice: Random, count: int, *, prefix: str) -> Iterator[dict[str, Any]]:
    for _ in range(count):
        source, destination = (f"{prefix}{dice.randrange(8)}" for _ in range(2))
        if dice.random() < 0.1:
            yield {"from": source, "to": destination, "protocol": "icmp"}
            continue
        yield {
            "from": source,
            "to": destination,
            "protocol": dice.choice(["tcp", "udp"]),
            "port": dice.choice([22, 80, 443, 5432]),
            "sourcePort": dice.choice([1000, 40000]),
        }


def dense(dice: Random, rules: int, **fields: Any) -> Plan:
    """Return a plan whose rules all speak of halves of a few addresses, in all tiers."""
    names = [f"N{number}" for number in range(6)]
    networks = [
        network(
            name,
            *{str(IPv4Address(0x0A000000 + dice.randrange(8))) for _ in range(4)},
            f"2001:db8::{dice.randrange(8):x}",
        )
        for name in names
    ]

    def one(number: int) -> dict[str, Any]:
        services: Any = "any"
        if dice.random() < 0.8:
            services = [{"protocol": "tcp", "ports": [dice.choice([22, 80, "100-6000"])], **fields}]
        return rule(
            f"r{number}",
            from_=net(dice.choice(names)),
            to=net(dice.choice(names)),
            services=services,
            action=dice.choice(ACTIONS),
        )

    def part(first: int) -> list[dict[str, Any]]:
        return [one(number) for number in range(first, first + rules // 3)]

    return SitePlanner(
        world(
            [
                *networks,
                policy("first", *part(0), enforcement="mandatory"),
                policy("last", *part(2000), enforcement="default"),
            ],
            [policy("mine", *part(1000))],
        )
    ).plan()


def assert_as_one_by_one(plan: Plan, given: list[dict[str, Any]]) -> None:
    read = columns(given)
    rules = {id(each): place for place, each in enumerate(plan.rules)}
    one_by_one = [judge(plan, read.packet(place)).decision for place in range(len(read))]
    for rows in (64, 4096):
        judged = ColumnJudge(plan, rows=rows)
        decided = judged.decide(read, np.arange(len(read)))
        for place, expected in enumerate(one_by_one):
            found = int(decided[place])
            assert found == (-1 if expected.rule is None else rules[id(expected.rule)])
            assert bool(judged.allows[found]) == (expected.verdict == "allow")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("prefix", ["10.0.0.", "2001:db8::"])
def test_rules_on_a_few_addresses_decide_as_one_by_one(seed: int, prefix: str) -> None:
    dice = Random(seed)
    plan = dense(dice, 240)
    # So many that flows are like each other, and so few that they aren't.
    for count in (700, 40):
        assert_as_one_by_one(plan, list(flows(dice, count, prefix=prefix)))


def test_source_ports_count_where_a_rule_asks_for_them() -> None:
    dice = Random(1)
    plan = dense(dice, 200, sourcePorts=["900-1100"])
    assert_as_one_by_one(plan, list(flows(dice, 200, prefix="10.0.0.")))


def test_a_tenant_s_rule_needs_one_end_in_its_own_addresses() -> None:
    inside = workload("w", "10.0.0.1", tenant="blue")
    for action in ("allow", "deny"):
        plan = SitePlanner(
            world(
                [tenant("blue"), policy("all", rule(action=action), tenant="blue", priority=200)],
                [inside, policy("rest", rule("others", action="reject"), priority=900)],
            )
        ).plan()
        assert_as_one_by_one(plan, list(flows(Random(2), 100, prefix="10.0.0.")))


def test_only_the_flows_that_are_asked_for_are_judged() -> None:
    read = columns(list(flows(Random(1), 30, prefix="10.0.0.")))
    plan = dense(Random(1), 90)
    judged = ColumnJudge(plan)
    everything = judged.decide(read, np.arange(len(read)))
    some = np.array([3, 29, 0])
    assert judged.decide(read, some).tolist() == everything[some].tolist()
    assert judged.decide(read, some[:0]).tolist() == []
    assert judged.decide(columns([]), some[:0]).tolist() == []


def test_without_rules_the_default_action_decides() -> None:
    read = columns(list(flows(Random(1), 5, prefix="10.0.0.")))
    judged = ColumnJudge(SitePlanner(world()).plan())
    decided = judged.decide(read, np.arange(len(read)))
    assert (decided.tolist(), judged.allows[decided].any()) == ([-1] * 5, False)
