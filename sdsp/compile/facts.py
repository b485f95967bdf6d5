"""What a compiled site says of each policy, whatever its nodes make of it.  Pure.

Worked out once for each compilation, in its thread: a status that is asked for every second must
not walk through thousands of policies every time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from shared.ids import Key
from shared.policy.compile import POLICY, SitePlanner
from shared.policy.inputs import Document
from shared.policy.plan import PlannedPolicy

Idle = Literal["suspended", "replaced", "staged"]
"""Why a policy that the site has is in force in none of its views."""

_IDLE: Final[Mapping[str, Idle]] = {
    "suspended": "suspended",
    "replaced": "replaced",
    "staged": "staged",
}

_Missing = dict[tuple[str, str, str], bool]
"""By rule, side and reference: whether it lets pass what must not."""


@dataclass(frozen=True, slots=True)
class UnresolvedReference:
    rule: str
    side: str
    reference: str
    fails_open: bool
    """The rule would have denied: while it isn't installed, traffic passes that must not."""


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """One policy; `revision` is the site's own store's, `idle` None if it is in force."""

    key: Key
    revision: int | None = None
    idle: Idle | None = None
    unresolved: Sequence[UnresolvedReference] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


def policy_facts(planner: SitePlanner) -> tuple[PolicyFacts, ...]:
    """Return the facts of every policy that some view of the site has, in order of evaluation.

    An uninstalled deny fails open where somebody enforces: in the views of admitted nodes, and in
    the site's own as long as there are none.
    """
    in_force: dict[Document, _Missing] = {}
    idle: dict[Document, Idle] = {}
    for plan, enforces in planner.enforced_plans():
        for policy in plan.policies:
            missing = in_force.setdefault(policy.effective.document, {})
            for place, fails_open in _missing(policy):
                missing[place] = missing.get(place, False) or (fails_open and enforces)
        for each in plan.left_out:
            if each.document.key.kind == POLICY and (why := _IDLE.get(each.why)) is not None:
                idle.setdefault(each.document, why)
    running = [
        PolicyFacts(
            document.key,
            document.revision,
            unresolved=tuple(UnresolvedReference(*place, fails) for place, fails in found.items()),
            labels=document.labels,
        )
        for document, found in in_force.items()
    ]
    resting = [
        PolicyFacts(document.key, document.revision, why, labels=document.labels)
        for document, why in idle.items()
        if document not in in_force
    ]
    return (*running, *resting)


def _missing(policy: PlannedPolicy) -> Iterator[tuple[tuple[str, str, str], bool]]:
    for rule in policy.rules:
        fails_open = rule.action in ("deny", "reject") and rule.empty is not None
        for each in rule.missing:
            yield (rule.rule, each.side, each.reference), fails_open
