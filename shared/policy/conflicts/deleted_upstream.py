"""`deleted_upstream`: what an exception stands for is not inherited any more.

The exception has no effect then.  Facts: `override` and its `reason`.
"""

from collections.abc import Iterator

from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding, Proposal
from shared.policy.conflicts.exceptions import exceptions, facts_of, subject_of
from shared.policy.definitions import target_of
from shared.policy.merging import exempted


def deleted_upstream(planner: SitePlanner) -> Iterator[Finding]:
    for exemption, target in exceptions(planner):
        if target is not None:
            continue
        base = exemption.terms.based_on
        yield Finding(
            "deleted_upstream",
            target_of(exemption.terms),
            subject_of(exemption),
            # An exception holds the version that it was based on: whoever sees it has seen that.
            tenant=exemption.document.key.tenant,
            base=base.spec if base else {},
            local=exemption.spec.to_json(),
            facts=facts_of(exemption),
            proposals=(
                Proposal("acceptGlobal", {}),
                Proposal("keepLocal", exempted(exemption.spec.to_json())),
            ),
        )
