"""What becomes of observed flows at a site, at both of their ends.

A flow from or to a workload is judged at the workload's node, as that node sees policy; one
between two nodes passes only if both allow.  What has no end at an admitted node is judged as the
site itself sees it.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared.algebra.cidrs import Family
from shared.model.inventory import Workload
from shared.policy.column_judge import ColumnJudge
from shared.policy.compile import SitePlanner
from shared.policy.flow_columns import UNKNOWN, FlowColumns, Observed
from shared.policy.plan import Plan
from shared.policy.scopes import Chain

_NOWHERE: Final = -1
_SITE: Final = 0


@dataclass(frozen=True, slots=True)
class Outcomes:
    """For each flow whether it is allowed, and by which rule of which plan: of two that judge it
    the one that denies, else that of the source.
    """

    allowed: npt.NDArray[np.bool_]
    plans: tuple[Plan, ...]
    by_plan: npt.NDArray[np.int32]
    by_rule: npt.NDArray[np.int64]

    def decision(self, place: int) -> dict[str, Any]:
        """Return what decides a flow, as answers show it."""
        plan = self.plans[self.by_plan[place]]
        found = int(self.by_rule[place])
        if found < 0:
            return {
                "verdict": plan.default_action,
                "tier": "site",
                "policy": None,
                "tenant": None,
                "rule": None,
            }
        rule = plan.rules[found]
        return {
            "verdict": rule.action,
            "tier": rule.tier,
            "policy": rule.policy,
            "tenant": rule.tenant,
            "rule": rule.rule,
        }


def outcomes(
    planner: SitePlanner, observed: Observed, *, node: str | None = None, staged: bool = False
) -> Outcomes:
    """Return what becomes of flows at a site; with `node` as that node alone sees them."""
    known: dict[tuple[str | None, bool], Outcomes] = observed.judged.setdefault(planner, {})
    if (node, staged) not in known:
        known[node, staged] = _outcomes(planner, observed.flows, node, staged=staged)
    return known[node, staged]


def _outcomes(
    planner: SitePlanner, flows: FlowColumns, node: str | None, *, staged: bool
) -> Outcomes:
    if node is not None:
        plans = [planner.plan(node, staged=staged)]
        views = np.zeros((2, len(flows)), dtype=np.int32)
    else:
        plans, owners = _views(planner, flows, staged=staged)
        views = np.stack((owners[flows.source], owners[flows.destination]))
        views[0, (views == _NOWHERE).all(axis=0)] = _SITE
    allowed = np.ones(len(flows), dtype=bool)
    by_plan = np.full(len(flows), _NOWHERE, dtype=np.int32)
    by_rule = np.full(len(flows), _NOWHERE, dtype=np.int64)
    for end in views:
        for number, plan in enumerate(plans):
            # Whatever one end denies needs no other; and one view judges both ends alike.
            asked = np.flatnonzero((end == number) & allowed & (by_plan != number))
            if len(asked):
                judge = ColumnJudge(plan)
                decided = judge.decide(flows, asked)
                passes = judge.allows[decided]
                first = by_plan[asked] == _NOWHERE
                told = first | ~passes
                by_plan[asked[told]] = number
                by_rule[asked[told]] = decided[told]
                allowed[asked] = passes
    return Outcomes(allowed, tuple(plans), by_plan, by_rule)


def _views(
    planner: SitePlanner, flows: FlowColumns, *, staged: bool
) -> tuple[list[Plan], npt.NDArray[np.int32]]:
    """Return the plans that judge, the site's own first, and for each address of the flows which
    of them does; _NOWHERE for addresses that no admitted node has.
    """
    plans = [planner.plan(staged=staged)]
    known: dict[Chain, int] = {planner.chain(): _SITE}
    numbers: dict[str, int] = {}
    for name, node in planner.places.nodes.items():
        if node.admission == "admitted":
            chain = planner.chain(name)
            if chain not in known:
                known[chain] = len(plans)
                plans.append(planner.plan(name, staged=staged))
            numbers[name] = known[chain]
    owners = np.full(len(flows.v4) + len(flows.v6), _NOWHERE, dtype=np.int32)
    hosts: dict[Family, list[int]] = {4: [], 6: []}
    judged_by: dict[Family, list[int]] = {4: [], 6: []}
    for document in planner.workloads.documents:
        spec = document.spec
        if isinstance(spec, Workload) and spec.node in numbers:
            for address in spec.addresses:
                family: Family = 4 if address.version == 4 else 6
                hosts[family].append(int(address))
                judged_by[family].append(numbers[spec.node])
    for family, addresses in hosts.items():
        codes = flows.codes(family, addresses)
        there = codes != UNKNOWN
        owners[codes[there]] = np.array(judged_by[family], dtype=np.int32)[there]
    return plans, owners
