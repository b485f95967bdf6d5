"""`name_taken`: a mandatory policy arrived that bears the name of one of the site's own.

The inherited one is in force and the local one is suspended, also where it stands for a group or a
node.  Facts: the `scope` of the local one.
"""

from collections.abc import Iterator

from pydantic import ValidationError

from shared.model.kinds import KINDS
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import JSON, Finding, Proposal
from shared.policy.conflicts.exceptions import inherited, without_targets
from shared.policy.definitions import INHERITED_KINDS, Name
from shared.policy.inherit import LeftOut
from shared.policy.inputs import Document
from shared.policy.merging import RULES, exempted, merge


def name_taken(planner: SitePlanner) -> Iterator[Finding]:
    inheritance = planner.inheritance()
    chains = {planner.chain(), *planner.distinct_nodes()}
    seen: set[tuple[Name, str]] = set()
    for kind in sorted(INHERITED_KINDS - {"Network", "Service"}):
        for name in sorted(planner.definitions.names(kind)):
            for chain in sorted(chains):
                for each in inheritance.choose(name, chain).left_out:
                    scope = each.document.key.scope
                    if each.why == "suspended" and (name, scope) not in seen:
                        seen.add((name, scope))
                        yield _finding(name, each, inherited(name, planner))


def _finding(name: Name, suspended: LeftOut, by: Document | None) -> Finding:
    local = suspended.document
    current = without_targets(by) if by is not None else {}
    own = local.spec.to_json()
    return Finding(
        "name_taken",
        name,
        local.key.scope,
        urgency="immediate",
        local=own,
        inherited=current,
        facts={"scope": local.key.scope},
        proposals=tuple(_proposals(name, exempted(own), current)),
    )


def _proposals(name: Name, own: JSON, current: JSON) -> Iterator[Proposal]:
    yield Proposal("acceptGlobal", current)
    yield Proposal("keepLocal", own)
    # They have no version that they began with, but rules of other names don't overlap.
    merged = merge({RULES: []} if RULES in current else {}, own, current)
    if merged.is_clean and merged.spec not in (own, current):
        try:
            KINDS[name.kind].spec.model_validate(merged.spec)
        except ValidationError:
            return
        yield Proposal("merge", merged.spec)
