"""What became of each policy at this site: realised, or why not.  Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sdsp.nodes.publication import Published
from sdsp.nodes.states import NodeState
from shared.ids import Key

PolicyState = Literal["realised", "partial", "pending", "failed", "suspended", "held"]

# A report lists so many failing nodes at most; the count says how many there are.
FAILING_LISTED = 100


@dataclass(frozen=True, slots=True)
class UnresolvedReference:
    rule: str
    side: str
    reference: str
    fails_open: bool
    """The rule would have denied: while it isn't installed, traffic passes that must not."""


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """One policy at this site.

    `total` nodes have rules of it; `realised` of them enforce their newest configuration, the
    `failing` ones refused it or drift.
    """

    key: Key
    state: PolicyState
    total: int = 0
    realised: int = 0
    pending: int = 0
    failing: Mapping[str, str] = field(default_factory=dict)
    unresolved: Sequence[UnresolvedReference] = ()


def policy_statuses(
    policies: Sequence[Key],
    *,
    published: Mapping[str, Published],
    states: Mapping[str, NodeState],
    unresolved: Mapping[tuple[str, str], Sequence[UnresolvedReference]],
    suspended: frozenset[Key] = frozenset(),
    held: frozenset[Key] = frozenset(),
) -> list[PolicyStatus]:
    """Return each policy's status; `unresolved` goes by (tenant, policy)."""
    nodes_of = _nodes_by_policy(published)
    return [
        _status(
            key,
            nodes=nodes_of.get((key.tenant, key.name), ()),
            published=published,
            states=states,
            unresolved=unresolved.get((key.tenant, key.name), ()),
            is_suspended=key in suspended,
            is_held=key in held,
        )
        for key in policies
    ]


def _nodes_by_policy(published: Mapping[str, Published]) -> dict[tuple[str, str], list[str]]:
    nodes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, each in published.items():
        for policy in {(rule.tenant, rule.policy) for rule in each.configuration.rules}:
            nodes[policy].append(name)
    return nodes


def _status(
    key: Key,
    *,
    nodes: Sequence[str],
    published: Mapping[str, Published],
    states: Mapping[str, NodeState],
    unresolved: Sequence[UnresolvedReference],
    is_suspended: bool,
    is_held: bool,
) -> PolicyStatus:
    if is_suspended:
        return PolicyStatus(key, "suspended")
    realised, failing = 0, {}
    for name in nodes:
        state = states.get(name, NodeState())
        if state.enforces(published[name].hash):
            realised += 1
        elif state.outcome == "nack":
            failing[name] = state.code or "refused"
        elif state.is_drifting:
            failing[name] = "drift"
    pending = len(nodes) - realised - len(failing)
    return PolicyStatus(
        key,
        _state(failing=bool(failing), pending=bool(pending), unresolved=unresolved, held=is_held),
        total=len(nodes),
        realised=realised,
        pending=pending,
        failing=failing,
        unresolved=unresolved,
    )


def _state(
    *, failing: bool, pending: bool, unresolved: Sequence[UnresolvedReference], held: bool
) -> PolicyState:
    if failing:
        return "failed"
    # An uninstalled deny fails open, whatever the nodes say: never realised.
    if any(each.fails_open for each in unresolved):
        return "partial"
    if pending:
        return "pending"
    return "held" if held else "realised"
