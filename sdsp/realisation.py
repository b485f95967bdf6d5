"""The status of each policy, as people read it and as the FSM does.

What goes up carries names, codes and counts, never specs, addresses or an error's own text.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sdsp.status import FAILING_LISTED, PolicyStatus
from sdsp.upstream.removals import record_name
from shared.ids import Revision
from shared.policy.inputs import is_inherited_scope

JSON = Mapping[str, Any]


def for_people(statuses: Iterable[PolicyStatus]) -> list[dict[str, Any]]:
    """Return the statuses as the site's own API shows them."""
    return [_to_json(each) for each in statuses]


def for_upstream(
    statuses: Iterable[PolicyStatus], inherited: Mapping[str, JSON], *, compiled: Revision
) -> list[dict[str, Any]]:
    """Return the inherited policies' statuses, with the FSM's own revisions and generations.

    `inherited` holds those, by record_name(), as of the latest that was taken over; what is newer
    than the compilation isn't at the nodes yet.  Local policies are the site's own affair.
    """
    found = []
    for each in statuses:
        if is_inherited_scope(each.key.scope):
            versions = inherited.get(record_name(each.key), {})
            said = {
                **_to_json(each),
                "revision": versions.get("revision"),
                "generation": versions.get("generation"),
            }
            if versions.get("local", 0) > compiled:
                said |= {"state": "pending", "failing": []}
            found.append(said)
    return found


def _to_json(status: PolicyStatus) -> dict[str, Any]:
    failing: Sequence[tuple[str, str]] = sorted(status.failing.items())[:FAILING_LISTED]
    return {
        "tenant": status.key.tenant,
        "name": status.key.name,
        "scope": status.key.scope,
        "state": status.state,
        "nodes": {
            "total": status.total,
            "realised": status.realised,
            "pending": status.pending,
            "failed": len(status.failing),
        },
        "failing": [{"node": node, "code": code} for node, code in failing],
        "unresolved": [
            {"rule": each.rule, "side": each.side, "reference": each.reference}
            for each in status.unresolved
        ],
    }
