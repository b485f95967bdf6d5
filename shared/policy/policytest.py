"""Run PolicyTests: a flow stands for every packet it can mean, and each must be decided so.

All addresses of its ends, all its ports and, unless one is given, all source ports are held
against the rules as sets; nothing is sampled.
"""

from dataclasses import dataclass
from typing import Final

from shared.algebra.boxes import Box, boxes, subtract
from shared.algebra.cidrs import AddressSet
from shared.algebra.intervals import from_ranges
from shared.errors import Invalid
from shared.ids import COMMON, SITE, Key
from shared.model.policytest import End, ExpectedFlow, PolicyTest
from shared.policy.compile import SitePlanner
from shared.policy.flows import parse_service
from shared.policy.inputs import Document
from shared.policy.nodeconfig import Packet
from shared.policy.partition import Part, partition
from shared.policy.plan import Plan
from shared.policy.resolve import View, host_addresses
from shared.policy.verdict import Decision

_ACCEPTED: Final = {"allow": {"allow"}, "deny": {"deny", "reject"}, "reject": {"reject"}}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict that packets of a flow get, with an example and what decides that one."""

    decision: Decision
    example: Packet


@dataclass(frozen=True, slots=True)
class FlowResult:
    """Whether one flow of a test holds; if not, why, and the outcomes that tell."""

    index: int
    flow: ExpectedFlow
    reason: str | None
    outcomes: tuple[Outcome, ...] = ()

    @property
    def holds(self) -> bool:
        return self.reason is None


def run_test(test: Document, planner: SitePlanner, *, staged: bool = False) -> list[FlowResult]:
    """Run a PolicyTest on its site's planner.

    NotFound (`unknown_site`, `unknown_node`) if there is no such site or node.
    """
    spec = test.spec
    assert isinstance(spec, PolicyTest), "the document is a PolicyTest"
    view = planner.view(spec.node, staged=staged)
    plan = planner.plan(spec.node, staged=staged)
    runner = _Runner(test.key.tenant, planner, view, plan)
    return [runner.run(index, flow) for index, flow in enumerate(spec.flows)]


class _Runner:
    def __init__(self, tenant: str, planner: SitePlanner, view: View, plan: Plan) -> None:
        self._tenant = tenant
        self._planner = planner
        self._view = view
        self._plan = plan

    def run(self, index: int, flow: ExpectedFlow) -> FlowResult:
        try:
            packets = self._packets(flow)
        except Invalid as exc:
            return FlowResult(index, flow, exc.message)
        accepted = _ACCEPTED[flow.expect]
        outcomes: dict[str, Outcome] = {}
        for part in partition(self._plan, packets):
            outcomes.setdefault(part.decision.verdict, _outcome(part))
            good = {verdict for verdict in outcomes if verdict in accepted}
            if good and len(good) < len(outcomes):
                break
        met = [outcome for verdict, outcome in outcomes.items() if verdict in accepted]
        if len(met) == len(outcomes):
            return FlowResult(index, flow, None, tuple(outcomes.values()))
        got = " and ".join(sorted(outcomes))
        reason = f"expected {flow.expect}, but some packets get {got}"
        if not met and len(outcomes) == 1:
            reason = f"expected {flow.expect}, but every packet gets {got}"
        return FlowResult(index, flow, reason, tuple(outcomes.values()))

    def _packets(self, flow: ExpectedFlow) -> list[Box]:
        """Return disjoint boxes of all that a flow means; Invalid if that is nothing."""
        source = self._end("from", flow.from_)
        destination = self._end("to", flow.to)
        if not (source.v4 and destination.v4) and not (source.v6 and destination.v6):
            raise Invalid(
                "`from` and `to` have no address family in common, so that no packet is tested"
            )
        matches = parse_service(
            flow.service, self._view, self._tenant, source_port=flow.source_port
        )
        disjoint: list[Box] = []
        for box in boxes(source, destination, matches):
            parts = [box]
            for other in disjoint:
                parts = subtract(parts, other)
            disjoint += parts
        return disjoint

    def _end(self, side: str, end: End) -> AddressSet:
        found = self._addresses(end)
        if not found:
            raise Invalid(f"`{side}` stands for no address here, so that no packet is tested")
        return found

    def _addresses(self, end: End) -> AddressSet:
        if end.network is not None:
            name, used = self._view.network(self._tenant, end.network)
            if not self._view.declares(name):
                raise Invalid(f"there is no network {end.network} here")
            if used is None:
                raise Invalid(f"network {end.network} has no subnets here")
            return self._view.network_addresses(name, used.effective)
        if end.networks is not None:
            found = self._view.networks(self._tenant, end.networks)
            return AddressSet().union(*(self._view.network_addresses(*each) for each in found))
        if end.workload is not None:
            return host_addresses((self._workload(end.workload),))
        if end.workloads is not None:
            return self._planner.workloads.select(self._tenant, end.workloads)
        assert end.address is not None, "an end is named in exactly one way"
        value = int(end.address)
        single = from_ranges([(value, value)])
        return AddressSet(v4=single) if end.address.version == 4 else AddressSet(v6=single)

    def _workload(self, name: str) -> Document:
        for tenant in (self._tenant, COMMON):
            found = self._planner.inputs.local.get(Key("Workload", tenant, SITE, name))
            if found is not None:
                return found
        raise Invalid(f"there is no workload {name} at this site")


def _outcome(part: Part) -> Outcome:
    source, destination, protocol, source_port, port = part.box.example()
    packet = Packet(part.box.family, source, destination, protocol, source_port, port)
    return Outcome(part.decision, packet)
