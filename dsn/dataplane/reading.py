"""Ask the kernel what stands in our table: the whole of it, or one set, one chain.

What it answers becomes a Listing, the same as what nft would list.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from dsn.dataplane import bytecode
from dsn.dataplane import nfnetlink as nl
from dsn.dataplane.contract import Count
from dsn.dataplane.elements import Elements, Runs
from dsn.dataplane.listing import ListedChain, ListedSet, Listing, rule_of
from dsn.dataplane.ruleset import (
    ENDED_SIZE,
    FAMILIES,
    KEY_TYPES,
    Expressions,
    Layout,
    answering_chains,
    base_chains,
    ended_attributes,
    own_chain,
)
from shared.algebra.intervals import Intervals

_HOOKS: Final = {0: "prerouting", 1: "input", 2: "forward", 3: "output", 4: "postrouting"}
_INTERVAL, _TIMEOUT, _MAP = 0x4, 0x10, 0x8
_SET_FLAGS: Final = {
    0x2: "constant",
    _INTERVAL: "interval",
    _TIMEOUT: "timeout",
    0x20: "dynamic",
}
_IGNORED_FLAGS: Final = 0x80  # a concatenation, which the type says
_COUNTER: Final = 1


class RawRule(NamedTuple):
    """A rule as the kernel lists it: its handle, and its expressions' bytes."""

    handle: int
    expressions: bytes


@dataclass(frozen=True, slots=True)
class RawSet:
    """`elements` is None if it holds anything but intervals; a key has so many bits."""

    attributes: Mapping[str, Any]
    bits: int
    elements: Elements | None


@dataclass(frozen=True, slots=True)
class RawChain:
    attributes: Mapping[str, Any]
    rules: Sequence[RawRule]


@dataclass(frozen=True, slots=True)
class RawTable:
    """A table as the kernel lists it; `foreign` names what we never make."""

    counters: Mapping[str, Count]
    sets: Mapping[str, RawSet]
    chains: Mapping[str, RawChain]
    foreign: tuple[str, ...]


class Translation:
    """What the kernel's expressions say, for one layout.

    The chains that are no tiers hold one of a few rules; these are known by their steps.
    """

    def __init__(self, layout: Layout) -> None:
        chains = [*base_chains(layout).values(), *answering_chains().values()]
        chains += [own_chain(family, default) for family in FAMILIES for default in _DEFAULTS]
        self._fixed = {
            bytecode.assemble(expressions): expressions for rules in chains for expressions in rules
        }
        self._known: dict[bytes, tuple[Expressions, str]] = {}

    def expressions(self, data: bytes) -> Expressions:
        """Return a rule's statements; one that nobody knows, if it is none of ours."""
        return self._look_up(data)[0]

    def rule_of(self, data: bytes) -> str:
        """Return the id of our rule that a rule's statements count for; empty if it is none."""
        return self._look_up(data)[1]

    def _look_up(self, data: bytes) -> tuple[Expressions, str]:
        found = self._known.get(data)
        if found is None:
            expressions = self._translate(data)
            found = self._known[data] = expressions, rule_of(expressions)
        return found

    def forget(self) -> None:
        """Forget what was translated: before a whole table is read anew."""
        self._known.clear()

    def _translate(self, data: bytes) -> Expressions:
        try:
            steps = bytecode.unpack(data)
            fixed = self._fixed.get(steps)
            return fixed if fixed is not None else bytecode.disassemble(steps)
        except bytecode.Strange as exc:
            return [{"strange": str(exc)}]


_DEFAULTS: Final = ("allow", "deny")


def read_rules(netfilter: nl.Netfilter, table: str, chain: str) -> list[RawRule]:
    """Return a chain's rules in order; none if there is no such chain."""
    found = netfilter.dump(nl.GET_RULE, nl.text(1, table) + nl.text(2, chain))
    return [rule for _, rule in _rules(found)]


def read_elements(netfilter: nl.Netfilter, table: str, name: str) -> bytes:
    """Return the elements of a set as the kernel lists them, one behind the other."""
    found = netfilter.dump(nl.GET_ELEMENTS, nl.text(1, table) + nl.text(2, name))
    return b"".join(part for each in found for kind, part in nl.pairs(each) if kind == 3)


def read_table(netfilter: nl.Netfilter, table: str) -> RawTable | None:
    """Return the whole table; None without one.

    Somebody may write meanwhile: compare generations before and after.
    """
    named = nl.text(1, table)
    found = netfilter.get(nl.GET_TABLE, named)
    if found is None:
        return None
    flags = nl.number_of(nl.attributes_of(found).get(2, b""))
    foreign = [f"table flags {flags}"] if flags else []
    sets = {}
    for each in netfilter.dump(nl.GET_SET, named):
        parts = nl.attributes_of(each)
        name = nl.text_of(parts[2])
        if nl.number_of(parts.get(3, b"")) & _MAP:
            foreign.append(f"map {name}")
            continue
        attributes = set_attributes(parts)
        has_runs = attributes.get("flags") == ["interval"]
        elements = Elements.of(read_elements(netfilter, table, name)) if has_runs else None
        sets[name] = RawSet(attributes, nl.number_of(parts[5]) * 8, elements)
    rules: dict[str, list[RawRule]] = {}
    chains = {}
    for each in netfilter.dump(nl.GET_CHAIN):
        parts = nl.attributes_of(each)
        if nl.text_of(parts[1]) == table:
            name = nl.text_of(parts[3])
            rules[name] = []
            chains[name] = RawChain(_chain_attributes(parts), rules[name])
    for chain, rule in _rules(netfilter.dump(nl.GET_RULE, named)):
        if chain in rules:
            rules[chain].append(rule)
    counters = {}
    for name, kind, count in _objects(netfilter, named):
        if kind == _COUNTER:
            counters[name] = count
        else:
            foreign.append(f"object {name}")
    for each in netfilter.dump(nl.GET_FLOW_TABLE):
        parts = nl.attributes_of(each)
        if nl.text_of(parts[1]) == table:
            foreign.append(f"flowtable {nl.text_of(parts[2])}")
    return RawTable(counters, sets, chains, tuple(foreign))


def listing_of(raw: RawTable, translation: Translation) -> Listing:
    """Return the table as nft would list it."""
    sets = {
        name: ListedSet(
            each.attributes,
            None if each.elements is None else to_intervals(each.elements.runs, each.bits),
        )
        for name, each in raw.sets.items()
    }
    chains = {
        name: ListedChain(
            each.attributes, [translation.expressions(rule.expressions) for rule in each.rules]
        )
        for name, each in raw.chains.items()
    }
    return Listing(raw.counters, sets, chains, raw.foreign)


def read_counters(netfilter: nl.Netfilter, table: str) -> dict[str, Count]:
    """Return the counters of a table; none if there is no such table."""
    found = _objects(netfilter, nl.text(1, table) + nl.number(3, _COUNTER))
    return {name: count for name, kind, count in found if kind == _COUNTER}


def read_keys(netfilter: nl.Netfilter, table: str, name: str) -> list[bytes]:
    """Return the keys of a set that is none of intervals."""
    return [
        nl.attributes_of(nl.attributes_of(element)[1])[1]
        for each in netfilter.dump(nl.GET_ELEMENTS, nl.text(1, table) + nl.text(2, name))
        for kind, elements in nl.pairs(each)
        if kind == 3
        for _, element in nl.pairs(elements)
    ]


def to_intervals(runs: Runs, bits: int) -> Intervals:
    """Return runs of keys as integers."""
    result: list[int] = []
    for start, end in runs:
        result += (int.from_bytes(start, "big"), 1 << bits if end is None else nl.number_of(end))
    return tuple(result)


def _rules(found: list[bytes]) -> Iterator[tuple[str, RawRule]]:
    for each in found:
        parts = nl.attributes_of(each)
        yield nl.text_of(parts[2]), RawRule(nl.number_of(parts[3]), parts.get(4, b""))


def _objects(netfilter: nl.Netfilter, which: bytes) -> Iterator[tuple[str, int, Count]]:
    for each in netfilter.dump(nl.GET_OBJECT, which):
        parts = nl.attributes_of(each)
        kind = nl.number_of(parts[3])
        data = nl.attributes_of(parts[4]) if kind == _COUNTER else {}
        count = Count(nl.number_of(data.get(2, b"")), nl.number_of(data.get(1, b"")))
        yield nl.text_of(parts[2]), kind, count


def set_attributes(parts: Mapping[int, bytes]) -> dict[str, Any]:
    """Return what a set is made with, as nft lists it."""
    kind, width = nl.number_of(parts[4]), nl.number_of(parts[5])
    flags = nl.number_of(parts.get(3, b"")) & ~_IGNORED_FLAGS
    size = nl.number_of(nl.attributes_of(parts.get(9, b"")).get(1, b""))
    for family in FAMILIES:
        made = ended_attributes(family)
        if (kind, width) == KEY_TYPES[_key_type(made)] and (flags, size) == (_TIMEOUT, ENDED_SIZE):
            return made
    names = {key: name for name, key in KEY_TYPES.items()}
    named = names.get((kind, width), f"type {kind} of {width} bytes")
    listed = [name for bit, name in _SET_FLAGS.items() if flags & bit]
    if rest := flags & ~sum(_SET_FLAGS):
        listed.append(f"flags {rest}")
    result: dict[str, Any] = {"type": named}
    if flags & _TIMEOUT:
        result["size"] = size
    return {**result, "flags": listed} if listed else result


def _key_type(attributes: Mapping[str, Any]) -> str:
    kind = attributes["type"]
    return kind if isinstance(kind, str) else ".".join(kind)


def _chain_attributes(parts: Mapping[int, bytes]) -> dict[str, Any]:
    """Return what a chain is made with, as nft lists it: a hook for a base chain, else nothing."""
    if 4 not in parts:
        return {}
    hook = nl.attributes_of(parts[4])
    result: dict[str, Any] = {
        "type": nl.text_of(parts[7]),
        "hook": _HOOKS.get(nl.number_of(hook[1]), "another"),
        "prio": int.from_bytes(hook[2], "big", signed=True),
        "policy": "accept" if nl.number_of(parts.get(5, b"\1")) else "drop",
    }
    if hook.keys() - {1, 2}:
        result["dev"] = True
    return result
