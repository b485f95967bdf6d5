"""The impact of going from one version of a site's policy to another.

Every view counts: the site's own, and that of each node that both versions have.  Views that
resolve to the same rules are compared once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from shared.algebra.cidrs import AddressSet
from shared.algebra.packet_boxes import PacketBox, Range
from shared.algebra.packets import PacketSet, Universe
from shared.model.traffic import protocol_text
from shared.policy.compile import SitePlanner
from shared.policy.definitions import Name
from shared.policy.flow_columns import Observed
from shared.policy.flows import packet_json
from shared.policy.impact.dependents import (
    DEPENDENTS,
    Dependent,
    changed_objects,
    dependents,
)
from shared.policy.impact.difference import Differ, Difference
from shared.policy.impact.flows import FlowImpact, flow_impact, no_impact
from shared.policy.inputs import Document
from shared.policy.loaded.garbage import collection_paused
from shared.policy.resolve import host_addresses
from shared.policy.scopes import Chain


@dataclass(frozen=True, slots=True)
class Impact:
    """What changes at a site: in the view asked for, and which names and nodes any view touches.

    `changes` says whether any view changes, that of the site or of a node.  `flows` is None where
    none are recorded.
    """

    site: str
    node: str | None
    allowed: PacketSet
    denied: PacketSet
    networks: tuple[Name, ...]
    workloads: tuple[Name, ...]
    nodes: tuple[str, ...]
    changes: bool
    dependents: tuple[Dependent, ...] = ()
    flows: FlowImpact | None = None

    def to_json(self, *, max_boxes: int, max_dependents: int = DEPENDENTS) -> dict[str, Any]:
        """Return the answer of `hanse compare`."""
        return {
            "site": self.site,
            "node": self.node,
            "newlyAllowed": packets_json(self.allowed, max_boxes=max_boxes),
            "newlyDenied": packets_json(self.denied, max_boxes=max_boxes),
            "networks": sorted({each.name for each in self.networks}),
            "workloads": sorted({each.name for each in self.workloads}),
            "nodes": list(self.nodes),
            "dependents": [each.to_json() for each in self.dependents[:max_dependents]],
            "moreDependents": max(0, len(self.dependents) - max_dependents),
            "flows": None if self.flows is None else self.flows.to_json(),
        }


def site_impact(
    before: SitePlanner,
    after: SitePlanner,
    *,
    node: str | None = None,
    staged: bool = False,
    observed: Observed | None = None,
    tests: Iterable[Document] = (),
) -> Impact:
    """Return the impact on a site, of the site's view or a node's.

    `observed` are flows of the past, judged at the nodes of their ends, or with `node` there
    alone.  `tests` may depend on what changes; the others are among the documents.

    NotFound (`unknown_site`, `unknown_node`) if a version doesn't have it; TooLarge
    (`packets_too_intricate`) if the memory for sets of packets doesn't do.
    """
    found = _Comparison(before, after, staged=staged).impact(node)
    changed = changed_objects(before.inputs, after.inputs)
    flows = None
    if observed is not None and not found.changes and _same_places(before, after):
        flows = no_impact(observed)
    elif observed is not None:
        flows = flow_impact(before, after, observed, node=node, staged=staged)
    return replace(
        found,
        dependents=tuple(dependents(changed, after.inputs, before.inputs, tests=tests)),
        flows=flows,
    )


def _same_places(before: SitePlanner, after: SitePlanner) -> bool:
    """Return whether both versions have the same nodes and workloads: who judges which flow."""
    old, new = (
        {each.key: each.spec for each in planner.inputs.local.of_kind("Node", "Workload")}
        for planner in (before, after)
    )
    return old == new


class _Comparison:
    def __init__(self, before: SitePlanner, after: SitePlanner, *, staged: bool) -> None:
        self._before: Final = before
        self._after: Final = after
        self._staged: Final = staged
        self._differ: Final = Differ(Universe())
        self._differences: dict[tuple[Chain, Chain], Difference] = {}

    def impact(self, node: str | None) -> Impact:
        asked = self._difference(node)
        common = sorted(set(self._before.places.nodes) & set(self._after.places.nodes))
        changed = {each for each in common if self._difference(each)}
        touched = _Touched()
        views = {self._chains(each): each for each in [None, *sorted(changed)]}
        for each in views.values():
            difference = self._difference(each)
            if difference:
                touched.add(difference, self._networks(each))
        return Impact(
            site=self._after.inputs.site,
            node=node,
            allowed=asked.allowed,
            denied=asked.denied,
            networks=tuple(sorted(touched.networks)),
            workloads=tuple(sorted(touched.hit(self._workloads()))),
            nodes=tuple(sorted(changed)),
            changes=bool(changed) or bool(self._difference(None)),
        )

    def _chains(self, node: str | None) -> tuple[Chain, Chain]:
        return self._before.chain(node), self._after.chain(node)

    def _difference(self, node: str | None) -> Difference:
        chains = self._chains(node)
        if chains not in self._differences:
            self._differences[chains] = self._differ.difference(
                self._before.plan(node, staged=self._staged),
                self._after.plan(node, staged=self._staged),
            )
        return self._differences[chains]

    def _networks(self, node: str | None) -> Iterator[tuple[Name, AddressSet]]:
        """Yield the networks that a view sees, before and after."""
        for planner in (self._before, self._after):
            view = planner.view(node, staged=self._staged)
            for name in planner.definitions.names("Network"):
                if (found := view.definition(name)) is not None:
                    yield name, view.network_addresses(name, found)

    def _workloads(self) -> Iterator[tuple[Name, AddressSet]]:
        for planner in (self._before, self._after):
            for each in planner.workloads.documents:
                yield Name("Workload", each.key.tenant, each.key.name), host_addresses([each])


class _Touched:
    """Collects what has an address in a changed box."""

    def __init__(self) -> None:
        self.networks: set[Name] = set()
        self._addresses = AddressSet()

    def add(self, difference: Difference, networks: Iterable[tuple[Name, AddressSet]]) -> None:
        changed = difference.allowed | difference.denied
        addresses = changed.sources().union(changed.destinations())
        self.networks |= {name for name, subnets in networks if subnets.overlaps(addresses)}
        self._addresses = self._addresses.union(addresses)

    def hit(self, named: Iterable[tuple[Name, AddressSet]]) -> set[Name]:
        return {name for name, addresses in named if addresses.overlaps(self._addresses)}


def packets_json(packets: PacketSet, *, max_boxes: int) -> dict[str, Any]:
    """Return a set of packets as answers show it."""
    with collection_paused():
        boxes, truncated = packets.boxes(max_boxes)
        example = packets.example()
        return {
            "packets": str(packets.count()),
            "example": None if example is None else packet_json(example),
            "boxes": [box_json(each) for each in boxes],
            "truncated": truncated,
        }


def box_json(box: PacketBox) -> dict[str, Any]:
    return {
        "from": box.source_text,
        "to": box.destination_text,
        "protocol": "any" if box.protocol is None else protocol_text(box.protocol),
        "ports": _ports_text(box.ports),
        "sourcePorts": _ports_text(box.source_ports),
    }


def _ports_text(ports: Range | None) -> str:
    if ports is None:
        return "any"
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"
