"""From what stands to what is wanted, as one batch for the kernel.  Pure.

A batch is one kernel transaction: a packet meets the old table or the new one, never a mixture, and
a batch that fails leaves the old.  Objects that stay are kept, for a counter's count and the ended
connections live in them.
"""

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from dsn.dataplane import bytecode
from dsn.dataplane import nfnetlink as nl
from dsn.dataplane.difference import members_difference, tier_splices
from dsn.dataplane.listing import Listing
from dsn.dataplane.ruleset import (
    FAMILIES,
    KEY_TYPES,
    RULE_COUNTER,
    Layout,
    NumberSet,
    SetContent,
    Table,
    address_set,
    all_set_attributes,
    chain_attributes,
    own_set,
    port_sets,
    rule_expressions,
    set_attributes,
    tier_chain,
)
from shared.algebra.cidrs import BITS, Family
from shared.policy.nodeconfig import TIERS, NodeConfiguration

_HOOKS: Final = {"input": 1, "forward": 2, "output": 3}
_FLAGS: Final = {"interval": 0x4, "timeout": 0x10}
_COUNTER: Final = 1
# NFTNL_UDATA_SET_KEYBYTEORDER: big-endian; without it nft shows keys back to front.
_KEY_ORDER: Final = bytes([0, 4, 2, 0, 0, 0])
# What an attribute's length can say, less the elements' own header.
_MOST_BYTES: Final = 0xFFFF - 4

Interval = tuple[bytes, bytes | None]
"""Keys in the network's order: the first, and the one behind the last (None: there is none)."""

Groups = Mapping[str, Sequence[tuple[int, ...]]]
"""By chain, the handles of the nft rules that each of its rules is."""


@dataclass(frozen=True, slots=True)
class Touched:
    """What a batch has written: names of sets and chains that have to be read back."""

    made: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    chains: frozenset[str] = frozenset()


@dataclass(slots=True)
class Change:
    messages: list[nl.Message] = field(default_factory=list)
    touched: Touched = field(default_factory=Touched)


@dataclass(frozen=True, slots=True)
class Replacement:
    """The commands, and what they leave: sets' intervals and chains' rules, as they were given."""

    messages: list[nl.Message]
    intervals: Mapping[str, Sequence[Interval]]
    chains: Mapping[str, Sequence[tuple[bytecode.Step, ...]]]


def replace(table: str, have: Listing | None, want: Table) -> Replacement:
    """Return what makes `table` hold `want` exactly, whatever stands there now.

    What is wanted and stands there in the right form keeps its content's identity: counters their
    counts, ended connections their time.  A table with objects of kinds that we never make is
    made anew.
    """
    batch = _Batch(table)
    if have is not None and have.foreign:
        batch.table(nl.NEW_TABLE)
        batch.table(nl.DELETE_TABLE)
        have = None
    batch.table(nl.NEW_TABLE)
    wanted_sets = all_set_attributes(want)
    if have is not None:
        _take_away(batch, have, want, wanted_sets)
    for name in sorted(want.counters):
        batch.counter(name)
    for name, attributes in wanted_sets.items():
        if have is None or name not in have.sets or have.sets[name].attributes != attributes:
            batch.set(name, attributes)
    for name in want.chains:
        batch.chain(name)
    intervals = {
        name: [*_intervals(content.family, content.cidrs)] for name, content in want.sets.items()
    }
    intervals |= {name: [*number_intervals(numbers)] for name, numbers in want.numbers.items()}
    for name, runs in intervals.items():
        batch.elements(nl.NEW_ELEMENTS, name, runs)
    chains = {
        name: [bytecode.assemble(expressions) for expressions in rules]
        for name, rules in want.chains.items()
    }
    for name, each in chains.items():
        for steps in each:
            batch.rule(name, steps)
    return Replacement(batch.messages, intervals, chains)


def change(
    table: str,
    have: NodeConfiguration,
    want: NodeConfiguration,
    *,
    groups: Groups,
    port_sets_there: Iterable[str],
    layout: Layout,
) -> Change:
    """Return what turns `have`, which stands in the kernel exactly, into `want`.

    Both have the same default action.  Only what differs: members one by one, rules one by one.
    """
    batch = _Batch(table)
    gone = have.sets.keys() - want.sets.keys()
    new = want.sets.keys() - have.sets.keys()
    ports = _port_change(have, want, port_sets_there)
    splices = {tier: tier_splices(have, want, tier) for tier in TIERS}
    chains = frozenset(
        tier_chain(tier, family) for tier in TIERS for family in FAMILIES if splices[tier]
    )
    # First what makes room, then what is referred to, then what refers to it.
    for tier, edits in splices.items():
        for family in FAMILIES:
            name = tier_chain(tier, family)
            for at, count, _ in edits:
                for handle in (each for group in groups[name][at : at + count] for each in group):
                    batch.delete_rule(name, handle)
    before, after = ({rule.id for rule in each.rules} for each in (have, want))
    for number in before - after:
        batch.delete(nl.DELETE_OBJECT, RULE_COUNTER + number, nl.number(3, _COUNTER))
    removed = {address_set(name, family) for name in gone for family in FAMILIES} | ports.gone
    for name in sorted(removed):
        batch.delete(nl.DELETE_SET, name)
    for number in sorted(after - before):
        batch.counter(RULE_COUNTER + number)
    made = set(ports.new)
    for name, numbers in ports.new.items():
        batch.set(name, {"type": numbers.type, "flags": ["interval"]})
        batch.elements(nl.NEW_ELEMENTS, name, number_intervals(numbers))
    for name in sorted(new):
        for family in FAMILIES:
            made.add(address_set(name, family))
            batch.set(address_set(name, family), set_attributes(SetContent(family, ())))
    touched = set(made)
    for names, old, now in _member_changes(have, want):
        touched |= _change_members(batch, names, old, now)
    for tier, edits in splices.items():
        for family in FAMILIES:
            name = tier_chain(tier, family)
            for at, count, inserted in edits:
                # In front of what stands behind: that stays, or it would be part of the edit.
                rest = groups[name][at + count : at + count + 1]
                for rule in inserted:
                    for expressions in rule_expressions(rule, family, layout.log_group):
                        steps = bytecode.assemble(expressions)
                        batch.rule(name, steps, before=rest[0][0] if rest else None)
    return Change(
        batch.messages,
        Touched(frozenset(made), frozenset(removed), frozenset(touched), chains),
    )


def remove(table: str) -> list[nl.Message]:
    """Return what takes the table away, whether there is one or not."""
    batch = _Batch(table)
    batch.table(nl.NEW_TABLE)
    batch.table(nl.DELETE_TABLE)
    return batch.messages


def remember(table: str, name: str, keys: Iterable[bytes], seconds: int) -> list[nl.Message]:
    """Return what adds keys to a set of ended connections, for so long."""
    batch = _Batch(table)
    limit = nl.attribute(4, (seconds * 1000).to_bytes(8, "big"))
    batch.keys(nl.NEW_ELEMENTS, name, keys, limit)
    return batch.messages


def forget(table: str, name: str, keys: Iterable[bytes]) -> list[nl.Message]:
    """Return what takes keys out of a set of ended connections."""
    batch = _Batch(table)
    batch.keys(nl.DELETE_ELEMENTS, name, keys)
    return batch.messages


def interval(family: Family, cidr: str) -> Interval:
    """Return a CIDR as keys of a set."""
    address, _, length = cidr.partition("/")
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    start = socket.inet_pton(kind, address)
    end = int.from_bytes(start, "big") + (1 << (BITS[family] - int(length)))
    return start, None if end >> BITS[family] else end.to_bytes(len(start), "big")


def number_intervals(numbers: NumberSet) -> Iterator[Interval]:
    """Yield the ranges of a set of numbers as keys."""
    _, width = KEY_TYPES[numbers.type]
    for first, last in numbers.ranges:
        end = last + 1
        yield (
            first.to_bytes(width, "big"),
            None if end >> (8 * width) else end.to_bytes(width, "big"),
        )


def _take_away(
    batch: "_Batch", have: Listing, want: Table, wanted_sets: Mapping[str, Mapping[str, Any]]
) -> None:
    for name in have.chains:
        batch.flush_chain(name)
    for name, chain in have.chains.items():
        if name not in want.chains or chain.attributes != chain_attributes(name):
            batch.delete_chain(name)
    for name, each in have.sets.items():
        if each.attributes != wanted_sets.get(name):
            batch.delete(nl.DELETE_SET, name)
        elif name in want.sets or name in want.numbers:
            batch.delete(nl.DELETE_ELEMENTS, name)
    for name in have.counters.keys() - want.counters:
        batch.delete(nl.DELETE_OBJECT, name, nl.number(3, _COUNTER))


@dataclass(frozen=True, slots=True)
class _PortChange:
    new: Mapping[str, NumberSet]
    gone: set[str]


def _port_change(
    have: NodeConfiguration, want: NodeConfiguration, there: Iterable[str]
) -> _PortChange:
    if have.rules == want.rules:
        return _PortChange({}, set())
    wanted = dict(each for rule in want.rules for each in port_sets(rule))
    standing = set(there)
    new = {name: numbers for name, numbers in wanted.items() if name not in standing}
    return _PortChange(new, standing - wanted.keys())


def _member_changes(
    have: NodeConfiguration, want: NodeConfiguration
) -> Iterator[tuple[Mapping[Family, str], tuple[str, ...], tuple[str, ...]]]:
    if have.addresses != want.addresses:
        yield {family: own_set(family) for family in FAMILIES}, have.addresses, want.addresses
    for name, cidrs in want.sets.items():
        before = have.sets.get(name, ())
        if before is not cidrs and before != cidrs:
            yield {family: address_set(name, family) for family in FAMILIES}, before, cidrs


def _change_members(
    batch: "_Batch", names: Mapping[Family, str], old: tuple[str, ...], new: tuple[str, ...]
) -> set[str]:
    gone, come = members_difference(old, new)
    touched = set()
    for kind, cidrs in ((nl.DELETE_ELEMENTS, gone), (nl.NEW_ELEMENTS, come)):
        for family in FAMILIES:
            own = [each for each in cidrs if (":" in each) == (family == 6)]
            if own:
                touched.add(names[family])
                batch.elements(kind, names[family], _intervals(family, own))
    return touched


def _intervals(family: Family, cidrs: Iterable[str]) -> Iterator[Interval]:
    return (interval(family, each) for each in cidrs)


class _Batch:
    """Collects commands about one table."""

    def __init__(self, table: str) -> None:
        self.messages: list[nl.Message] = []
        self._table = nl.text(1, table)

    def table(self, kind: int) -> None:
        flags = nl.CREATE if kind == nl.NEW_TABLE else 0
        self._add(kind, flags, nl.number(2, 0) if flags else b"")

    def chain(self, name: str) -> None:
        attributes = chain_attributes(name)
        content = nl.text(3, name)
        if attributes:
            hook = nl.number(1, _HOOKS[attributes["hook"]]) + nl.number(2, attributes["prio"])
            content += nl.nested(4, hook) + nl.number(5, 1) + nl.text(7, attributes["type"])
        self._add(nl.NEW_CHAIN, nl.CREATE, content)

    def flush_chain(self, name: str) -> None:
        self._add(nl.DELETE_RULE, 0, nl.text(2, name))

    def delete_chain(self, name: str) -> None:
        self._add(nl.DELETE_CHAIN, 0, nl.text(3, name))

    def set(self, name: str, attributes: Mapping[str, Any]) -> None:
        kind = attributes["type"]
        number, width = KEY_TYPES[kind if isinstance(kind, str) else ".".join(kind)]
        flags = sum(_FLAGS[each] for each in attributes["flags"])
        content = nl.text(2, name) + nl.number(3, flags) + nl.number(4, number)
        content += nl.number(5, width) + nl.number(10, len(self.messages) + 1)
        if "size" in attributes:
            content += nl.nested(9, nl.number(1, attributes["size"]))
        else:
            content += nl.attribute(13, _KEY_ORDER)
        self._add(nl.NEW_SET, nl.CREATE, content)

    def elements(self, kind: int, name: str, given: Iterable[Interval]) -> None:
        """Add or delete runs; an end is an element of its own, marked as one."""
        parts: list[bytes] = []
        for start, end in given:
            parts.append(_element(start))
            if end is not None:
                parts.append(_element(end, _END))
        self._lots(kind, name, parts)

    def keys(self, kind: int, name: str, keys: Iterable[bytes], more: bytes = b"") -> None:
        self._lots(kind, name, [_element(key, more) for key in keys])

    def counter(self, name: str) -> None:
        self._add(nl.NEW_OBJECT, nl.CREATE, nl.text(2, name) + _NEW_COUNTER)

    def delete(self, kind: int, name: str, more: bytes = b"") -> None:
        self._add(kind, 0, nl.text(2, name) + more)

    def rule(self, chain: str, steps: Sequence[bytecode.Step], before: int | None = None) -> None:
        content = nl.text(2, chain) + nl.nested(4, bytecode.pack(steps))
        if before is None:
            self._add(nl.NEW_RULE, nl.CREATE | nl.APPEND, content)
        else:
            content += nl.attribute(6, before.to_bytes(8, "big"))
            self._add(nl.NEW_RULE, nl.CREATE, content)

    def delete_rule(self, chain: str, handle: int) -> None:
        self._add(nl.DELETE_RULE, 0, nl.text(2, chain) + nl.attribute(3, handle.to_bytes(8, "big")))

    def _lots(self, kind: int, name: str, parts: Sequence[bytes]) -> None:
        if not parts:
            return
        lot = _MOST_BYTES // max(len(part) for part in parts)
        waiting = iter(parts)
        while content := b"".join(islice(waiting, lot)):
            flags = nl.CREATE if kind == nl.NEW_ELEMENTS else 0
            self._add(kind, flags, nl.text(2, name) + nl.nested(3, content))

    def _add(self, kind: int, flags: int, content: bytes) -> None:
        self.messages.append(nl.Message(kind, flags, self._table + content))


_END: Final = nl.number(3, 1)
_NEW_COUNTER: Final = nl.number(3, _COUNTER) + nl.nested(4, b"")


def _element(key: bytes, more: bytes = b"") -> bytes:
    return _element_head(len(key), len(more)) + key + bytes(-len(key) % 4) + more


@lru_cache
def _element_head(width: int, more: int) -> bytes:
    """Return what stands before a key: lengths and types of the element, its key, its value."""
    padded = (width + 3) & ~3
    empty = nl.nested(1, nl.nested(1, nl.attribute(1, bytes(width))) + bytes(more))
    return empty[: len(empty) - padded - more]
