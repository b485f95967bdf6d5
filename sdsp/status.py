"""What became of each policy at this site: realised, or why not.  Pure."""

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sdsp.compile.facts import Idle, PolicyFacts, UnresolvedReference
from sdsp.compile.nodes import PolicyNames, Published
from sdsp.nodes.states import NodeState
from shared.ids import Key

PolicyState = Literal["realised", "partial", "pending", "failed", "held"] | Idle

# A report lists so many failing nodes at most; the count says how many there are.
FAILING_LISTED = 100

_Name = tuple[str, str]
"""A policy's tenant and name, as rules carry them."""


@dataclass(frozen=True, slots=True)
class NodeStanding:
    """A node, the configuration that it should enforce, and of which policies the one that it
    does enforce has rules, if known.
    """

    wanted: Published
    state: NodeState
    enforced: PolicyNames | None = None

    @property
    def has_realised(self) -> bool:
        return self.state.enforces(self.wanted.hash)

    @property
    def failure(self) -> str | None:
        if self.has_realised:
            return None
        if self.state.outcome == "nack":
            return self.state.code or "refused"
        return "drift" if self.state.is_drifting else None


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """One policy at this site.

    `total` nodes have rules of it, or may still have; `realised` of them enforce their newest
    configuration, the `failing` ones refused it or drift.  What was counted among some nodes only
    has the state of all.
    """

    facts: PolicyFacts
    state: PolicyState
    total: int = 0
    realised: int = 0
    pending: int = 0
    failing: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return self.facts.key

    @property
    def unresolved(self) -> Sequence[UnresolvedReference]:
        return self.facts.unresolved


def policy_statuses(
    policies: Sequence[PolicyFacts],
    nodes: Mapping[str, NodeStanding],
    *,
    held: frozenset[Key] = frozenset(),
    counted: Container[str] | None = None,
) -> list[PolicyStatus]:
    """Return what became of each policy at all `nodes`; only those `counted` are counted, and
    named if they fail.  None: all.
    """
    by_policy, by_any = _nodes_by_policy(nodes)
    return [
        _status(
            facts,
            nodes={
                name: nodes[name]
                for name in (*by_policy.get((facts.key.tenant, facts.key.name), ()), *by_any)
            },
            is_held=facts.key in held,
            counted=counted,
        )
        for facts in policies
    ]


def _nodes_by_policy(
    nodes: Mapping[str, NodeStanding],
) -> tuple[Mapping[_Name, Sequence[str]], Sequence[str]]:
    """Return the nodes that have, or still have, rules of each policy; and those of which nobody
    knows what they still have: that may be rules of any.
    """
    found: dict[_Name, list[str]] = defaultdict(list)
    unknown: list[str] = []
    for name, node in nodes.items():
        policies = node.wanted.policies
        if not node.has_realised and node.state.hash not in (None, node.wanted.hash):
            if node.enforced is None:
                unknown.append(name)
                continue
            policies |= node.enforced
        for policy in policies:
            found[policy].append(name)
    return found, unknown


def _status(
    facts: PolicyFacts,
    *,
    nodes: Mapping[str, NodeStanding],
    is_held: bool,
    counted: Container[str] | None,
) -> PolicyStatus:
    if facts.idle is not None:
        return PolicyStatus(facts, facts.idle)
    realised = sum(1 for each in nodes.values() if each.has_realised)
    failing = {name: code for name, each in nodes.items() if (code := each.failure) is not None}
    pending = len(nodes) - realised - len(failing)
    state = _state(facts, failing=bool(failing), pending=bool(pending), held=is_held)
    if counted is not None:
        shown = [name for name in nodes if name in counted]
        realised = sum(1 for name in shown if nodes[name].has_realised)
        failing = {name: failing[name] for name in shown if name in failing}
        pending = len(shown) - realised - len(failing)
    return PolicyStatus(
        facts,
        state,
        total=realised + pending + len(failing),
        realised=realised,
        pending=pending,
        failing=failing,
    )


def _state(facts: PolicyFacts, *, failing: bool, pending: bool, held: bool) -> PolicyState:
    if failing:
        return "failed"
    # An uninstalled deny fails open, whatever the nodes say: never realised.
    if any(each.fails_open for each in facts.unresolved):
        return "partial"
    if pending:
        return "pending"
    return "held" if held else "realised"
