"""Which tracked connections a configuration denies.  Pure.

From one configuration to the next only those are judged whose verdict may have changed: the rules
that match a packet, and their order, are the same, unless a changed rule matches it or one of its
ends has come into a set or left one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dsn.dataplane.difference import members_difference, tier_splices
from dsn.dataplane.netlink import Direction, Entry
from shared.algebra.cidrs import AddressSet, Family, parse_cidrs
from shared.policy.nodeconfig import PORT_PROTOCOLS, TIERS, Judge, NodeConfiguration, Packet


class Affected:
    """Which packets may be judged otherwise by `after` than by `before`."""

    def __init__(
        self, before: NodeConfiguration, had: Judge, after: NodeConfiguration, have: Judge
    ) -> None:
        self._all = before.default_action != after.default_action
        changed = [members_difference(before.addresses, after.addresses)]
        for name in before.sets.keys() | after.sets.keys():
            old, new = before.sets.get(name, ()), after.sets.get(name, ())
            if old is not new and old != new:
                changed.append(members_difference(old, new))
        self._moved: AddressSet = parse_cidrs(
            {cidr for delta in changed for each in delta for cidr in each}
        )
        self._rules = []
        for tier in TIERS:
            for at, count, inserted in tier_splices(before, after, tier):
                old_rules = [rule for rule in before.rules if rule.tier == tier]
                self._rules += [(had, rule) for rule in old_rules[at : at + count]]
                self._rules += [(have, rule) for rule in inserted]

    def may_be(self, packet: Packet) -> bool:
        return (
            self._all
            or self._moved.contains(packet.family, packet.source)
            or self._moved.contains(packet.family, packet.destination)
            or any(judge.matches(rule, packet) for judge, rule in self._rules)
        )


def denied_entries(
    entries: Iterable[Entry], judge: Judge, affected: Affected | None = None
) -> list[Entry]:
    """Return the connections to end: own ones whose first packet would now be denied.

    With `affected` all were allowed before, so only those are judged.

    An entry that is part of another connection is allowed by that one, so the other's verdict
    counts.  Under address translation the rules saw neither end as the entry's original has it,
    but the destination already translated and the source not yet.
    """
    entries = list(entries)
    by_original = {(entry.family, entry.original): entry for entry in entries}
    roots = ((entry, _root(entry, by_original)) for entry in entries)
    return [
        entry
        for entry, packet in roots
        if (affected is None or affected.may_be(packet)) and _is_denied(packet, judge)
    ]


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
