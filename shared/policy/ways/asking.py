"""`askFederation`: what a site may ask its federation to take over.

Nothing is written and nothing changes here before the answer has come.  Global policy holds
everywhere, so that what rests on this site alone, an address or a name of its own, can't be asked
for.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from shared.ids import FEDERATION, Key
from shared.model.base import Spec
from shared.model.kinds import KINDS
from shared.model.override import Conflict, Override
from shared.model.policy import SecurityPolicy
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.exceptions import inherited
from shared.policy.conflicts.outcome import local_key, target_name
from shared.policy.faults.fault import Fault
from shared.policy.faults.references import addresses, reserved_priority, unknown_names
from shared.policy.inputs import Document
from shared.policy.merging import exempted
from shared.policy.scopes import region_chain, region_parents
from shared.policy.ways.contract import Barred, Terms, Way

JSON = Mapping[str, Any]

NAME: Final = "askFederation"
TYPES: Final = frozenset({"edited_both", "name_taken"})
"""The types of conflicts in which there is a side of the site's, and one of the federation's."""

_TOLD: Final = 3


def asked_for(
    planner: SitePlanner, conflict: Conflict, proposal: JSON, terms: Terms
) -> Way | Barred:
    """Return the question that a conflict may be put as; Barred with why it can't."""
    del terms  # nothing is kept that could end
    name = proposal["name"]
    document = planner.inputs.local.get(local_key(conflict))
    target = inherited(target_name(conflict), planner)
    if document is None or target is None:
        return Barred(name, "what the conflict is about is gone")
    local = _said_by(document)
    hindrances = [each.message for each in _unfit(planner, Document(target.key, local))]
    if hindrances:
        more = len(hindrances) - _TOLD
        rest = [f"and {more} more"] if more > 0 else []
        return Barred(name, "; ".join([*hindrances[:_TOLD], *rest]))
    return Way(name, exempted(local.to_json()), asks=target)


def _said_by(document: Document) -> Spec:
    spec = document.spec
    if not isinstance(spec, Override):
        return spec
    return KINDS[spec.target.kind].spec.model_validate(spec.spec)


def _unfit(planner: SitePlanner, asked: Document) -> Iterator[Fault]:
    """Yield what keeps a site's spec from standing in the federation's object."""
    spec, key = asked.spec, asked.key
    if not isinstance(spec, SecurityPolicy):
        return
    federation = planner.inputs.federation
    region = None if key.scope == FEDERATION else key.scope.partition("/")[2]
    chain = region_chain(region, region_parents(federation))

    def declared(kind: str, tenant: str, name: str) -> bool:
        return any(Key(kind, tenant, scope, name) in federation for scope in chain)

    yield from addresses(asked, spec)
    yield from reserved_priority(asked, spec, key.tenant)
    yield from unknown_names(asked, spec, key.tenant, declared, hint="in the federation")
