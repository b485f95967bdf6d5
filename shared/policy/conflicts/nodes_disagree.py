"""`nodes_disagree`: a flow between workloads of two nodes is allowed at one end and denied at the
other, since what is defined for a node or a group gives the two nodes different views.

Exact, over packets between workloads of admitted nodes.  One conflict for each view that judges
some of them otherwise than the site's own, where the node at the other end doesn't do likewise;
views that the site's own agrees with have none.  It is about the node or group that comes first on
the view's chain.  Facts: all the view's own `scopes`; and of the first such view the `example` of a
flow, and its `ends`, source first: node, verdict, and the rule that gives it.  Rules, and flows of
workloads, that aren't all of `common` are not told (`byOthers`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from shared.algebra.cidrs import AddressSet, Family
from shared.algebra.packets import PacketSet, Universe
from shared.ids import COMMON
from shared.model.inventory import Workload
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding, Proposal
from shared.policy.definitions import Name
from shared.policy.flows import packet_json
from shared.policy.impact.difference import Differ
from shared.policy.inputs import Document
from shared.policy.nodeconfig import Packet
from shared.policy.resolve import host_addresses
from shared.policy.verdict import FlowJudge

_NARROW: Final = {"node": "Node", "group": "NodeGroup"}


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """The admitted nodes that see alike: their own scopes, nearest first, and their workloads'
    addresses; `apart` is what they judge otherwise than the site of flows with an end there.
    """

    scopes: tuple[str, ...]
    nodes: Sequence[str]
    addresses: AddressSet
    apart: PacketSet

    @property
    def label(self) -> str:
        return " ".join(self.scopes)


def nodes_disagree(planner: SitePlanner) -> Iterator[Finding]:
    """Yield the conflicts; TooLarge (`packets_too_intricate`)."""
    seen = _seen(planner)
    if len(seen) < 2:
        return
    universe = Universe()
    views = list(_views(planner, seen, universe))
    for view in views:
        if not view.apart:
            continue
        for other in views:
            if other is view:
                continue
            packets = (view.apart - other.apart) & _between(universe, view, other)
            if (example := packets.example()) is not None:
                yield _finding(planner, view, other, example)
                break


def _seen(planner: SitePlanner) -> list[tuple[tuple[str, ...], Sequence[str]]]:
    """Return the scopes of each view that admitted nodes with workloads see with, and the nodes."""
    admitted = _admitted(planner)
    hosted = _hosted(planner)
    found: list[tuple[tuple[str, ...], Sequence[str]]] = []
    for chain, names in planner.distinct_nodes().items():
        scopes = tuple(scope for scope in chain if scope.partition("/")[0] in _NARROW)
        nodes = [name for name in names if name in admitted and name in hosted]
        if nodes:
            found.append((scopes, nodes))
    return sorted(found)


def _views(
    planner: SitePlanner, seen: Sequence[tuple[tuple[str, ...], Sequence[str]]], universe: Universe
) -> Iterator[_View]:
    differ = Differ(universe)
    own = planner.plan()
    hosted = _hosted(planner)
    for scopes, nodes in seen:
        addresses = AddressSet().union(*(hosted[name] for name in nodes))
        apart = universe.nothing
        if scopes:
            difference = differ.difference(own, planner.plan(nodes[0]))
            ends = universe.matching([addresses], None, None)
            ends |= universe.matching(None, [addresses], None)
            apart = (difference.allowed | difference.denied) & ends
        yield _View(scopes, nodes, addresses, apart)


def _admitted(planner: SitePlanner) -> set[str]:
    nodes = planner.places.nodes
    return {name for name, node in nodes.items() if node.admission == "admitted"}


def _hosted(planner: SitePlanner) -> Mapping[str, AddressSet]:
    """Return the addresses of the workloads of each node that has some."""
    found: dict[str, list[Document]] = {}
    for document in planner.workloads.documents:
        node = cast("Workload", document.spec).node
        if node is not None:
            found.setdefault(node, []).append(document)
    return {node: host_addresses(each) for node, each in found.items()}


def _between(universe: Universe, one: _View, other: _View) -> PacketSet:
    there = universe.matching([one.addresses], [other.addresses], None)
    return there | universe.matching([other.addresses], [one.addresses], None)


def _finding(planner: SitePlanner, view: _View, other: _View, packet: Packet) -> Finding:
    level, _, name = view.scopes[0].partition("/")
    goes = view.addresses.contains(packet.family, packet.source)
    goes &= other.addresses.contains(packet.family, packet.destination)
    ends = [_end(planner, view, packet, at_source=goes)]
    ends.insert(1 if goes else 0, _end(planner, other, packet, at_source=not goes))
    tenants = {each.pop("tenant") for each in ends} | _tenants(planner, packet)
    is_told = tenants <= {COMMON}
    if not is_told:
        for each in ends:
            each.pop("rule")
    return Finding(
        "nodes_disagree",
        Name(_NARROW[level], COMMON, name),
        view.label,
        facts={
            "scopes": list(view.scopes),
            "ends": ends,
            "example": packet_json(packet) if is_told else None,
            "byOthers": not is_told,
        },
        proposals=(Proposal("keepLocal"),),
    )


def _end(planner: SitePlanner, view: _View, packet: Packet, *, at_source: bool) -> dict[str, Any]:
    address = packet.source if at_source else packet.destination
    hosted = _hosted(planner)
    node = next(each for each in view.nodes if hosted[each].contains(packet.family, address))
    decision = FlowJudge(planner.plan(node)).judge(packet)
    rule = decision.rule
    told = None
    if rule is not None:
        told = {"tier": rule.tier, "policy": rule.policy, "rule": rule.rule, "action": rule.action}
    return {
        "node": node,
        "verdict": decision.verdict,
        "rule": told,
        "tenant": COMMON if rule is None else rule.tenant,
    }


def _tenants(planner: SitePlanner, packet: Packet) -> set[str]:
    """Return whose workloads have an address of a packet."""
    family: Family = packet.family
    return {
        document.key.tenant
        for document in planner.workloads.documents
        for addresses in [host_addresses([document])]
        if addresses.contains(family, packet.source)
        or addresses.contains(family, packet.destination)
    }
