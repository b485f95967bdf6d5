"""From what was compiled and what nodes say to the status of each policy, for people and the FSM.

What goes up carries names, codes and counts, never specs, addresses or an error's own text.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sdsp.compile.compiler import Compilation
from sdsp.nodes.publication import Published
from sdsp.nodes.states import NodeState
from sdsp.status import FAILING_LISTED, PolicyStatus, UnresolvedReference, policy_statuses
from sdsp.upstream.removals import record_name
from shared.ids import Key
from shared.policy.inputs import is_inherited_scope
from shared.policy.plan import Plan, PlannedPolicy

JSON = Mapping[str, Any]


def realisation(
    compilation: Compilation,
    *,
    published: Mapping[str, Published],
    states: Mapping[str, NodeState],
    held: frozenset[Key],
) -> list[PolicyStatus]:
    """Return the status of every policy that some view of the site has, in order of evaluation."""
    plans = list(_plans(compilation))
    policies: dict[Key, None] = {}
    unresolved: dict[tuple[str, str], dict[UnresolvedReference, None]] = defaultdict(dict)
    for plan in plans:
        for policy in plan.policies:
            policies[policy.effective.document.key] = None
            for reference in _unresolved(policy):
                unresolved[policy.tenant, policy.name][reference] = None
    suspended = {document.key: None for plan in plans for document in plan.suspended}
    return policy_statuses(
        [*policies, *(key for key in suspended if key not in policies)],
        published=published,
        states=states,
        unresolved={name: tuple(found) for name, found in unresolved.items()},
        suspended=frozenset(suspended),
        held=held,
    )


def for_people(statuses: Iterable[PolicyStatus]) -> list[dict[str, Any]]:
    """Return the statuses as the site's own API shows them."""
    return [_to_json(each) for each in statuses]


def for_upstream(
    statuses: Iterable[PolicyStatus], inherited: Mapping[str, JSON]
) -> list[dict[str, Any]]:
    """Return the inherited policies' statuses, with the FSM's own revisions and generations.

    `inherited` holds those, by record_name().  Local policies are the site's own affair.
    """
    return [
        {**_to_json(each), **_versions(inherited.get(record_name(each.key), {}))}
        for each in statuses
        if is_inherited_scope(each.key.scope)
    ]


def _plans(compilation: Compilation) -> Iterable[Plan]:
    yield compilation.plan
    for nodes in compilation.planner.distinct_nodes().values():
        yield compilation.planner.plan(nodes[0])


def _unresolved(policy: PlannedPolicy) -> Iterable[UnresolvedReference]:
    for rule in policy.rules:
        for missing in rule.missing:
            yield UnresolvedReference(
                rule.rule,
                missing.side,
                missing.reference,
                fails_open=rule.action in ("deny", "reject") and rule.empty is not None,
            )


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


def _versions(record: JSON) -> dict[str, Any]:
    return {"revision": record.get("revision"), "generation": record.get("generation")}
