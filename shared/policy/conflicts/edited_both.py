"""`edited_both`: an exception's base is older than the inherited object is now.

Facts: `override`, its `reason`, what `runs` until it is decided, and the fields of each side's own
edits (`localFields`, `globalFields`); the conflict's `fields` are those in which both overlap.
"""

from collections.abc import Iterator

from shared.model.override import Urgency
from shared.policy.compile import POLICY, SitePlanner
from shared.policy.conflicts.contract import Finding, Proposal
from shared.policy.conflicts.exceptions import (
    exceptions,
    facts_of,
    subject_of,
    without_targets,
)
from shared.policy.definitions import target_of
from shared.policy.exceptions import Parted, base_of, combine


def edited_both(planner: SitePlanner) -> Iterator[Finding]:
    for exemption, target in exceptions(planner):
        if target is None or exemption.terms.based_on is None:
            continue
        parted = combine(exemption, target).parted
        if parted is None:
            continue
        local = exemption.spec.to_json()
        current = without_targets(target)
        proposals = [Proposal("acceptGlobal", current), Proposal("keepLocal", local)]
        if parted.is_clean:
            proposals.append(Proposal("merge", parted.merge.spec))
        elif target.key.kind == POLICY:
            proposals.append(Proposal("narrow"))
        proposals.append(Proposal("askFederation"))
        yield Finding(
            "edited_both",
            target_of(exemption.terms),
            subject_of(exemption),
            # An exception holds the version that it was based on: whoever sees it has seen that.
            tenant=exemption.document.key.tenant,
            urgency=_urgency(parted),
            base=base_of(exemption, target),
            local=local,
            inherited=current,
            fields=parted.merge.overlaps,
            facts={
                **facts_of(exemption),
                "runs": parted.runs,
                "localFields": list(parted.merge.local),
                "globalFields": list(parted.merge.inherited),
            },
            proposals=tuple(proposals),
        )


def _urgency(parted: Parted) -> Urgency:
    """Where the merge runs and is clean, nothing is held up; where it isn't, the site's side of a
    mandatory object counts against the federation's until somebody decides.
    """
    if parted.wanted != "merge":
        return "normal"
    return "deferrable" if parted.is_clean else "immediate"
