"""`name_taken`: a mandatory policy arrived that bears the name of one of the site's own.

The inherited one is in force and the local one is suspended, also where it stands for a group or a
node.  Facts: the `scope` of the local one.
"""

from collections.abc import Iterator

from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding, Proposal
from shared.policy.conflicts.exceptions import without_targets
from shared.policy.definitions import INHERITED_KINDS, Name
from shared.policy.inherit import LeftOut


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
                        yield _finding(name, each)


def _finding(name: Name, suspended: LeftOut) -> Finding:
    local = suspended.document
    current = without_targets(suspended.by) if suspended.by is not None else {}
    own = local.spec.to_json()
    return Finding(
        "name_taken",
        name,
        local.key.scope,
        urgency="immediate",
        local=own,
        inherited=current,
        facts={"scope": local.key.scope},
        proposals=(Proposal("acceptGlobal", current),),
    )
