"""A set of packets, split by the rule that decides them: exact, no packet is sampled."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shared.algebra.boxes import Box, boxes
from shared.policy.plan import TIERS, Plan, PlannedRule
from shared.policy.verdict import Decision


@dataclass(frozen=True, slots=True)
class Part:
    """Packets that are all decided alike."""

    box: Box
    decision: Decision


def rule_boxes(rule: PlannedRule) -> Iterator[Box]:
    """Yield boxes that make up what a rule matches; they may overlap."""
    return boxes(
        None if rule.source is None else rule.source.addresses,
        None if rule.destination is None else rule.destination.addresses,
        rule.services.matches,
        rule.within,
    )


def partition(plan: Plan, packets: Iterable[Box]) -> Iterator[Part]:
    """Yield disjoint parts that make up `packets` (disjoint boxes), in order of evaluation.

    Lazy: who has seen enough can stop.
    """
    rest = list(packets)
    for tier in TIERS:
        passed: list[Box] = []
        for rule in plan.rules:
            if rule.tier == tier and rest:
                matched, rest = _split(rest, rule)
                if rule.action == "pass":
                    passed += matched
                else:
                    for box in matched:
                        yield Part(box, Decision(rule.action, tier, rule))
        rest += passed
    for box in rest:
        yield Part(box, Decision(plan.default_action, "site", None))


def _split(packets: list[Box], rule: PlannedRule) -> tuple[list[Box], list[Box]]:
    """Return what of `packets` a rule matches and what it leaves."""
    matched: list[Box] = []
    for shape in rule_boxes(rule):
        left: list[Box] = []
        for box in packets:
            if (common := box.intersection(shape)) is None:
                left.append(box)
            else:
                matched.append(common)
                left += box.difference(shape)
        packets = left
    return matched, packets
