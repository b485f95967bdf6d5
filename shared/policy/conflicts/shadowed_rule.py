"""`shadowed_rule`: no packet reaches a rule, since those that come before decide all of them.

Facts: the `rule`, its `tier`, `by` which rules, whether they decide `alike`, `otherwise` or `both`,
and where one is decided otherwise an `example`.
"""

from collections.abc import Iterator, Sequence

from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.rules import example_of, name_of, rule_of
from shared.policy.shadows.findings import Finding as RuleFinding
from shared.policy.shadows.findings import Shadowed


def shadowed_rule(found: Sequence[RuleFinding]) -> Iterator[Finding]:
    for each in found:
        if isinstance(each, Shadowed):
            yield Finding(
                "shadowed_rule",
                name_of(each.rule),
                each.rule.rule,
                others=frozenset(rule.tenant for rule in each.by),
                urgency="deferrable" if each.decided == "alike" else "normal",
                facts={
                    **rule_of(each.rule),
                    "by": [rule_of(rule) for rule in each.by],
                    "decided": each.decided,
                    "example": example_of(each.example),
                },
            )
