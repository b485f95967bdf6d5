"""Balancers of the simulated data plane: it leads connections as the kernel would."""

from collections import OrderedDict
from collections.abc import Callable
from random import Random

from dsn.dataplane.balance.ending import leads
from dsn.dataplane.balance.table import packed
from shared.algebra.boxes import Packet
from shared.algebra.cidrs import AddressSet, format_address, parse_cidrs
from shared.policy.balancers import NodeBalancer
from shared.policy.nodeconfig import NodeConfiguration
from shared.policy.spreading import SLOTS, seed_of, slot_of, slots_of


class Unserved(Exception):
    """A packet is for a virtual address that has no backend."""


class Translations:
    """Which connections go elsewhere than they asked, and where new ones go."""

    def __init__(self, *, most: int, random: Random) -> None:
        """`most` connections are remembered, the longest unheard of is forgotten first."""
        self._most = most
        self._random = random
        self._balancers: tuple[NodeBalancer, ...] = ()
        self._own = AddressSet()
        self._led: OrderedDict[Packet, Packet] = OrderedDict()

    def stand(self, configuration: NodeConfiguration | None) -> None:
        """Lead new connections as this configuration says."""
        self._balancers = (configuration.balancers if configuration else None) or ()
        self._own = parse_cidrs(configuration.addresses if configuration else ())

    def lead(self, packet: Packet, is_open: Callable[[Packet], bool]) -> Packet:
        """Return a packet as it goes on; Unserved.  `is_open` knows tracked connections."""
        known = self._led.get(packet)
        if known is not None and is_open(known):
            self._led.move_to_end(packet)
            return known
        if is_open(packet) or not self._own.contains(packet.family, packet.source):
            return packet
        address = format_address(packet.family, packet.destination)
        for balancer in self._balancers:
            if balancer.serves(address, packet.protocol, packet.port):
                return self._choose(balancer, packet)
        return packet

    def remember(self, packet: Packet, to: Packet) -> None:
        """Note that a connection was opened."""
        self._led[packet] = to
        self._led.move_to_end(packet)
        if len(self._led) > self._most:
            self._led.popitem(last=False)

    def end_misled(self, configuration: NodeConfiguration) -> list[Packet]:
        """Forget the connections whose backend is none any more; return them as they went on."""
        now = configuration.balancers or ()
        gone = [
            (packet, to)
            for packet, to in self._led.items()
            if not leads(now, (*_asked(packet),), (_destination(to), to.port))
        ]
        for packet, _ in gone:
            del self._led[packet]
        return [to for _, to in gone]

    def clear(self) -> None:
        """Lead nothing any more."""
        self.stand(None)
        self._led.clear()

    def _choose(self, balancer: NodeBalancer, packet: Packet) -> Packet:
        slots = slots_of(balancer.algorithm, balancer.backends)
        if not slots:
            raise Unserved
        slot = self._random.randrange(SLOTS)
        if balancer.algorithm == "hash":
            source = packed(format_address(packet.family, packet.source))
            slot = slot_of(source, seed_of(balancer.id))
        return packet._replace(
            destination=int.from_bytes(packed(slots[slot]), "big"),
            port=packet.port if balancer.target is None else balancer.target,
        )


def _asked(packet: Packet) -> tuple[str, int, int]:
    return _destination(packet), packet.protocol, packet.port


def _destination(packet: Packet) -> str:
    return format_address(packet.family, packet.destination)
