"""Which tracked connections a configuration denies.  Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from dsn.dataplane.netlink import Direction, Entry
from shared.algebra.cidrs import Family
from shared.policy.nodeconfig import PORT_PROTOCOLS, Judge, Packet


def denied_entries(entries: Iterable[Entry], judge: Judge) -> list[Entry]:
    """Return the connections to end: own ones whose first packet would now be denied.

    An entry that is part of another connection is allowed by that one, so the other's verdict
    counts.  Under address translation the rules saw neither end as the entry's original has it,
    but the destination already translated and the source not yet.
    """
    entries = list(entries)
    by_original = {(entry.family, entry.original): entry for entry in entries}
    return [entry for entry in entries if _is_denied(_root(entry, by_original), judge)]


def first_packet(entry: Entry) -> Packet:
    """Return a connection's first packet as the rules saw it."""
    return _packet(entry.family, seen_by_rules(entry))


def seen_by_rules(entry: Entry) -> Direction:
    """Return an entry's original direction: source as sent, destination as translated."""
    original, reply = entry.original, entry.reply
    return Direction(
        original.source, reply.source, original.protocol, original.source_port, reply.source_port
    )


@dataclass(frozen=True, slots=True)
class EndedKey:
    """An ended connection's ends, as its first packet had them."""

    family: Family
    direction: Direction

    def packet(self) -> Packet:
        return _packet(self.family, self.direction)


def _root(entry: Entry, by_original: dict[tuple[Family, Direction], Entry]) -> Packet:
    # A transfer of a transfer is not known to any protocol helper: one step is enough, but a
    # master that has been forgotten is judged by what the entry remembers of it.
    if entry.master is None:
        return first_packet(entry)
    master = by_original.get((entry.family, entry.master))
    return first_packet(master) if master else _packet(entry.family, entry.master)


def _is_denied(packet: Packet, judge: Judge) -> bool:
    judgement = judge.judge(packet)
    return judgement is not None and judgement.verdict != "allow"


def _packet(family: Family, direction: Direction) -> Packet:
    has_ports = direction.protocol in PORT_PROTOCOLS
    return Packet(
        family,
        direction.source,
        direction.destination,
        direction.protocol,
        direction.source_port if has_ports else 0,
        direction.port if has_ports else 0,
    )
