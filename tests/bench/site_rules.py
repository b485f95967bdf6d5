"""A workload's rules as a site resolves them, by the planner that the product runs."""

from datetime import UTC, datetime
from typing import Any, Final

from shared.cli.bench.workload import NAME, sources
from shared.ids import COMMON, FEDERATION, Key
from shared.model.kinds import KINDS
from shared.policy.compile import plan
from shared.policy.inputs import Document, Documents, SiteInputs
from shared.policy.shadows.rules import ResolvedRule, resolved_rules

_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


def site_rules(workload: dict[str, Any], *, mandatory: int = 0) -> list[ResolvedRule]:
    """Return the resolved rules, in order.

    They stand in policies of a hundred.  The first `mandatory` of those are mandatory ones of the
    federation, the others the site's own.
    """
    federation: list[Document] = []
    local: list[Document] = []
    left = mandatory
    for source in sources(workload):
        key, data = source.key, source.data
        if key.kind == "SecurityPolicy" and left:
            left -= 1
            key = Key(key.kind, COMMON, FEDERATION, key.name)
            data = {**data, "enforcement": "mandatory"}
        spec = KINDS[key.kind].spec.model_validate(data)
        document = Document(key, spec, source.labels)
        (federation if key.scope == FEDERATION else local).append(document)
    inputs = SiteInputs(NAME, Documents(federation), Documents(local), _NOW)
    return resolved_rules(plan(inputs))
