"""`contradicts_mandatory`: mandatory rules decide packets of a local rule the other way.

Facts: the `rule`, its `tier`, `by` which mandatory rules (`byOthers`: also by other tenants'),
whether its `extent` is `whole` or `part`, and an `example`.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from shared.policy.conflicts.contract import Finding, Proposal
from shared.policy.conflicts.rules import name_of, told
from shared.policy.shadows.findings import Contradiction
from shared.policy.shadows.findings import Finding as RuleFinding

WAYS: Final = (Proposal("acceptGlobal"), Proposal("keepLocal"), Proposal("narrow"))


def contradicts_mandatory(found: Sequence[RuleFinding]) -> Iterator[Finding]:
    for each in found:
        if isinstance(each, Contradiction):
            yield Finding(
                "contradicts_mandatory",
                name_of(each.rule),
                each.rule.rule,
                facts={**told(each.rule, each.by, each.example), "extent": each.extent},
                proposals=WAYS,
            )
