"""`name_taken`: an inherited policy arrived that bears the name of one of the site's own.

A mandatory one is in force and the local one is suspended, also where it stands for a group or a
node.  A default one that arrived later is replaced by the local one, which nobody may have wanted;
whoever has written the local one since knew of it, and then it is no conflict.  Facts: the `scope`
of the local one, and what `counts`: inherited or local.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import ValidationError

from shared.model.kinds import KINDS
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import JSON, Finding, Proposal
from shared.policy.conflicts.exceptions import inherited, without_targets
from shared.policy.conflicts.remarks import Remarks
from shared.policy.definitions import INHERITED_KINDS, Name, name_of
from shared.policy.inherit import LeftOut
from shared.policy.inputs import Document, is_inherited_scope
from shared.policy.merging import RULES, exempted, merge


def name_taken(planner: SitePlanner, remarks: Remarks) -> Iterator[Finding]:
    inheritance = planner.inheritance()
    chains = sorted({planner.chain(), *planner.distinct_nodes()})
    for kind in sorted(INHERITED_KINDS - {"Network", "Service"}):
        for name in sorted(planner.definitions.names(kind)):
            found: dict[str, Finding] = {}
            for chain in chains:
                for each in inheritance.choose(name, chain).left_out:
                    for finding in (
                        _suspended(name, each, planner),
                        _late(name, each, planner, remarks),
                    ):
                        if finding is not None:
                            found.setdefault(finding.subject, finding)
            yield from found.values()


def _suspended(name: Name, each: LeftOut, planner: SitePlanner) -> Finding | None:
    if each.why != "suspended":
        return None
    by = inherited(name, planner)
    current = without_targets(by) if by is not None else {}
    proposals = _proposals(name, exempted(each.document.spec.to_json()), current)
    return _finding(each.document, current, "inherited", proposals)


def _late(name: Name, each: LeftOut, planner: SitePlanner, remarks: Remarks) -> Finding | None:
    """Return the conflict of a default policy that a local one replaces without knowing it."""
    if each.why != "replaced" or each.by is None:
        return None
    # An exception stands in its place as well, and knows it.
    if each.by.key.kind != name.kind or is_inherited_scope(each.by.key.scope):
        return None
    there_before = remarks.arrived.get(each.document.key, {})
    if there_before.get(each.by.key.scope, 0) != each.by.revision:
        return None
    by = inherited(name, planner)
    if by is None or by.key != each.document.key:
        return None
    current = without_targets(by)
    own = each.by.spec.to_json()
    proposals = (Proposal("acceptGlobal", current), Proposal("keepLocal", own))
    return _finding(each.by, current, "local", proposals)


def _finding(
    local: Document,
    current: JSON,
    counts: Literal["inherited", "local"],
    proposals: Iterable[Proposal],
) -> Finding:
    return Finding(
        "name_taken",
        name_of(local.key),
        local.key.scope,
        urgency="immediate" if counts == "inherited" else "normal",
        local=local.spec.to_json(),
        inherited=current,
        facts={"scope": local.key.scope, "counts": counts},
        proposals=(*proposals, Proposal("askFederation")),
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
