"""`shadowed_rule`: no packet reaches a rule, since those that come before decide all of them.

Facts: the `rule`, its `tier`, `by` which rules (`byOthers`: also by other tenants'), whether they
decide `alike`, `otherwise` or `both`, and where one is decided otherwise an `example`.
"""

from collections.abc import Iterator, Sequence

from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.rules import name_of, told
from shared.policy.shadows.findings import Finding as RuleFinding
from shared.policy.shadows.findings import Shadowed


def shadowed_rule(found: Sequence[RuleFinding]) -> Iterator[Finding]:
    for each in found:
        if isinstance(each, Shadowed):
            yield Finding(
                "shadowed_rule",
                name_of(each.rule),
                each.rule.rule,
                urgency="deferrable" if each.decided == "alike" else "normal",
                facts={**told(each.rule, each.by, each.example), "decided": each.decided},
            )
