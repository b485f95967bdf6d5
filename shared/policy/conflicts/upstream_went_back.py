"""`upstream_went_back`: an inherited object came back older than the site had it already.

As it does when the FSM's store was restored from a backup.  What came counts, since it may be an
emergency block; what was known is kept, so that a person can keep it by an Override.  Whoever has
an exception to the object, or what was known again, has no conflict.  Facts: the `scope`, the
`generation` that came and the one `before`.
"""

from collections.abc import Iterator

from shared.ids import Key
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding, Proposal
from shared.policy.conflicts.remarks import Remarks, WentBack
from shared.policy.definitions import INHERITED_KINDS, name_of
from shared.policy.inputs import Document
from shared.policy.merging import exempted


def upstream_went_back(planner: SitePlanner, remarks: Remarks) -> Iterator[Finding]:
    now = planner.inputs.now
    for key, noted in sorted(remarks.went_back.items(), key=lambda each: each[0]):
        document = planner.inputs.federation.get(key)
        if document is None or key.kind not in INHERITED_KINDS:
            continue
        exempt = planner.definitions.exemptions(name_of(key)).values()
        ends = [each.terms.expires_at for found in exempt for each in found]
        if any(end is None or end > now for end in ends):
            continue
        if document.spec.to_json() != noted.known:
            yield _finding(key, document, noted)


def _finding(key: Key, document: Document, noted: WentBack) -> Finding:
    known, current = exempted(noted.known), exempted(document.spec.to_json())
    return Finding(
        "upstream_went_back",
        name_of(key),
        key.scope,
        urgency="immediate",
        base=known,
        inherited=current,
        facts={"scope": key.scope, "before": noted.before, "generation": noted.generation},
        proposals=(Proposal("acceptGlobal", current), Proposal("keepLocal", known)),
    )
