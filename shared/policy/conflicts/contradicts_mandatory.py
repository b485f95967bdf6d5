"""`contradicts_mandatory`: mandatory rules decide packets of a local rule the other way.

Facts: the `rule`, its `tier`, `by` which mandatory rules, whether its `extent` is `whole` or
`part`, and an `example`.
"""

from collections.abc import Iterator, Sequence

from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.rules import example_of, name_of, rule_of
from shared.policy.shadows.findings import Contradiction
from shared.policy.shadows.findings import Finding as RuleFinding


def contradicts_mandatory(found: Sequence[RuleFinding]) -> Iterator[Finding]:
    for each in found:
        if isinstance(each, Contradiction):
            yield Finding(
                "contradicts_mandatory",
                name_of(each.rule),
                each.rule.rule,
                others=frozenset(rule.tenant for rule in each.by),
                facts={
                    **rule_of(each.rule),
                    "by": [rule_of(rule) for rule in each.by],
                    "extent": each.extent,
                    "example": example_of(each.example),
                },
            )
