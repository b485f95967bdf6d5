"""Where a flow to a virtual address goes: the backends that may answer, and which one will.

The node of the client leads it there, before any rule looks.  By hash the backend is certain, for
it follows from the client's address alone; at random it may be any.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, cast

from shared.algebra.cidrs import Family, format_address, parse_address
from shared.model.inventory import Workload
from shared.policy.balancers import SERVICE, Balancers, NodeBalancer
from shared.policy.balancing import KIND, node_balancers
from shared.policy.compile import SitePlanner
from shared.policy.definitions import Name
from shared.policy.inputs import Document
from shared.policy.nodeconfig import Packet
from shared.policy.scopes import Chain
from shared.policy.spreading import seed_of, slot_of, slots_of
from shared.policy.verdict import Decision

_WIDTH: Final[dict[Family, int]] = {4: 4, 6: 16}

UNSERVED: Final = Decision("reject", "site", None)
"""What becomes of a flow to a virtual address without backends."""


@dataclass(frozen=True, slots=True)
class Led:
    """A flow to a virtual address: by which balancer, and as it may go on.

    `chosen` is the one of `packets` that it will be; None if that is left to chance, or if there
    are none.
    """

    node: str
    balancer: NodeBalancer
    document: Document
    packets: tuple[Packet, ...]
    chosen: Packet | None

    @property
    def likely(self) -> tuple[Packet, ...]:
        """What the flow may become: the chosen one, or any."""
        return self.packets if self.chosen is None else (self.chosen,)

    def to_json(self) -> dict[str, Any]:
        """Return what is told of it, without what becomes of each."""
        return {
            "balancer": self.balancer.name,
            "tenant": self.balancer.tenant,
            "node": self.node,
            "algorithm": self.balancer.algorithm,
            "chosen": None if self.chosen is None else backend_json(self.chosen),
        }


class Leading:
    """Leads the flows of a site's clients; what it has worked out it remembers."""

    def __init__(self, planner: SitePlanner) -> None:
        self._planner = planner
        self._found: dict[Chain, tuple[Balancers, Mapping[Name, Document]]] = {}

    @cached_property
    def _nodes(self) -> Mapping[tuple[Family, int], list[str]]:
        """The admitted nodes that balance, by their own workloads' addresses.  Of several that
        have one, which is wrong and may be, the first is asked.
        """
        planner = self._planner
        if not (planner.has_requirements and planner.has_balancers):
            return {}
        runs = {
            name
            for name, node in planner.places.nodes.items()
            if node.admission == "admitted"
            and SERVICE in planner.requirements(name).runs(node.services)
        }
        found: dict[tuple[Family, int], list[str]] = {}
        for document in planner.workloads.documents:
            workload = cast("Workload", document.spec)
            if workload.node is not None and workload.node in runs:
                for address in workload.addresses:
                    key: tuple[Family, int] = (4 if address.version == 4 else 6, int(address))
                    found.setdefault(key, []).append(workload.node)
        return found

    def lead(self, packet: Packet, node: str | None) -> Led | None:
        """Return where a flow is led, as a node sees it (None: the client's own); None if it goes
        where it is sent.
        """
        clients = self._nodes.get((packet.family, packet.source), ())
        if not clients or (node is not None and node not in clients):
            return None
        client = node or clients[0]
        balancers, documents = self._of(client)
        address = format_address(packet.family, packet.destination)
        for each in balancers:
            if each.serves(address, packet.protocol, packet.port):
                document = documents[Name(KIND, each.tenant, each.name)]
                return _led(client, each, document, packet)
        return None

    def _of(self, node: str) -> tuple[Balancers, Mapping[Name, Document]]:
        chain = self._planner.chain(node)
        if chain not in self._found:
            planned = self._planner.balancers(node)
            documents = {each.name: each.effective.source for each in planned}
            self._found[chain] = node_balancers(planned), documents
        return self._found[chain]


def backend_json(packet: Packet) -> dict[str, Any]:
    """Return the end that a flow is led to."""
    return {"to": format_address(packet.family, packet.destination), "port": packet.port}


def worst(verdicts: tuple[Decision, ...]) -> Decision:
    """Return what is told of a flow that may be decided in several ways: the first that isn't
    allowed.
    """
    return next((each for each in verdicts if each.verdict != "allow"), verdicts[0])


def _led(node: str, balancer: NodeBalancer, document: Document, packet: Packet) -> Led:
    packets = {each: _to(packet, balancer, each) for each in balancer.backends}
    chosen = None
    if balancer.algorithm == "hash" and packets:
        source = packet.source.to_bytes(_WIDTH[packet.family], "big")
        slot = slot_of(source, seed_of(balancer.id))
        chosen = packets[slots_of("hash", balancer.backends)[slot]]
    return Led(node, balancer, document, tuple(packets.values()), chosen)


def _to(packet: Packet, balancer: NodeBalancer, backend: str) -> Packet:
    _, destination = parse_address(backend)
    port = packet.port if balancer.target is None else balancer.target
    return packet._replace(destination=destination, port=port)
