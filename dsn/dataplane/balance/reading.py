"""Which balancers the kernel really enforces.

What is taken from the listing is described once more and compared with all that is listed: what
that wouldn't have put there is a fault.
"""

import socket
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dsn.dataplane import nfnetlink as nl
from dsn.dataplane import reading
from dsn.dataplane.balance.steps import unpack
from dsn.dataplane.balance.table import (
    FAMILIES,
    HOOKS,
    INTERVALS,
    MAP,
    BalanceTable,
    Content,
    Hook,
    SetForm,
    describe,
    own_set,
)
from dsn.dataplane.bytecode import Step, Strange
from dsn.dataplane.elements import Elements, Runs
from dsn.dataplane.expected import joined
from dsn.dataplane.writing import interval
from shared.algebra.cidrs import BITS, AddressSet
from shared.policy.balancers import Balancers, NodeBalancer


@dataclass(frozen=True, slots=True)
class Balanced:
    """What stands: balancers (None: there is no such table) and for which addresses."""

    balancers: Balancers | None = None
    own: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Listing:
    sets: Mapping[str, SetForm]
    runs: Mapping[str, Runs | None]
    content: Mapping[str, Content]
    chains: Mapping[str, tuple[Hook | None, list[tuple[Step, ...]]]]
    foreign: tuple[str, ...]


class Known:
    """Listings of maps that were taken apart before: most are what they were."""

    def __init__(self) -> None:
        self._parsed: dict[str, tuple[bytes, Content]] = {}

    def content(self, name: str, listed: bytes) -> Content:
        before = self._parsed.get(name)
        if before is None or before[0] != listed:
            before = self._parsed[name] = listed, dict(_items(listed))
        return before[1]

    def keep_only(self, names: Container[str]) -> None:
        for name in [each for each in self._parsed if each not in names]:
            del self._parsed[name]


def read_balanced(netfilter: nl.Netfilter, table: str, known: Known) -> Balanced:
    """Return what stands in the table.  Somebody may write meanwhile: compare generations."""
    found = _read(netfilter, table, known)
    if found is None:
        return Balanced()
    faults = list(found.foreign)
    own = AddressSet()
    for family in FAMILIES:
        runs = found.runs.get(own_set(family))
        if runs is None:
            faults.append(f"set {own_set(family)} is missing or holds what is no address")
            continue
        members = reading.to_intervals(runs, BITS[family])
        own = own.union(AddressSet(v4=members) if family == 4 else AddressSet(v6=members))
    balancers = []
    for family in FAMILIES:
        _, rules = found.chains.get(f"h_balance_{family}", (None, []))
        for steps in rules:
            try:
                balancers.append(_balancer(steps, found.content))
            except (Strange, KeyError, IndexError, ValueError, OSError):
                faults.append(f"chain h_balance_{family} holds a rule that is none of ours")
    ordered = tuple(sorted(balancers, key=lambda each: each.id))
    faults += _differences(found, describe(ordered, own.cidrs()))
    return Balanced(ordered, own.cidrs(), tuple(faults))


def _balancer(steps: Sequence[Step], content: Mapping[str, Content]) -> NodeBalancer:
    """Return what a rule of translation says.  What is overlooked here, the comparison finds."""
    values = [step[3] for step in steps if step[0] == "cmp"]
    family = socket.AF_INET if values[0] == bytes([socket.AF_INET]) else socket.AF_INET6
    (name,) = [step[2] for step in steps if step[0] == "map"]
    kinds = {step[0] for step in steps}
    targets = [int.from_bytes(step[2], "big") for step in steps if step[0] == "load"]
    held = {value for value in content[name].values() if value is not None}
    return NodeBalancer(
        id=name.removeprefix(MAP),
        tenant="",
        name="",
        address=socket.inet_ntop(family, values[1]),
        protocol=values[2][0],
        ports=(int.from_bytes(values[3], "big"), int.from_bytes(values[-1], "big")),
        target=targets[0] if targets else None,
        algorithm="hash" if "hash" in kinds else "random",
        backends=tuple(socket.inet_ntop(family, each) for each in sorted(held)),
    )


def _differences(found: _Listing, want: BalanceTable) -> Iterator[str]:
    for name in sorted(found.sets.keys() | want.sets.keys()):
        if found.sets.get(name) != want.sets.get(name):
            yield f"set {name} is missing or none of ours"
    for family in FAMILIES:
        runs = joined(interval(family, each) for each in want.own[family])
        if found.runs.get(own_set(family)) != runs:
            yield f"set {own_set(family)} holds other addresses"
    for name, content in sorted(want.content.items()):
        if found.content.get(name) != content:
            yield f"{'map' if name.startswith(MAP) else 'set'} {name} holds something else"
    for name in sorted(found.chains.keys() | want.chains.keys()):
        hook, rules = found.chains.get(name, (None, None))
        if rules is None:
            yield f"chain {name} is missing"
        elif name not in want.chains or hook != HOOKS.get(name):
            yield f"chain {name} is none of ours"
        elif rules != list(want.chains[name]):
            yield f"chain {name} holds other rules"


def _read(netfilter: nl.Netfilter, table: str, known: Known) -> _Listing | None:
    named = nl.text(1, table)
    there = netfilter.get(nl.GET_TABLE, named)
    if there is None:
        return None
    flags = nl.number_of(nl.attributes_of(there).get(2, b""))
    foreign = [f"table {table} has flags {flags}"] if flags else []
    sets, runs, content = {}, {}, {}
    for each in netfilter.dump(nl.GET_SET, named):
        parts = nl.attributes_of(each)
        name = nl.text_of(parts[2])
        sets[name] = _form(parts)
        listed = reading.read_elements(netfilter, table, name)
        if sets[name].flags & INTERVALS:
            elements = Elements.of(listed)
            runs[name] = elements.runs if elements else None
        else:
            content[name] = known.content(name, listed)
    known.keep_only(content)
    chains: dict[str, tuple[Hook | None, list[tuple[Step, ...]]]] = {}
    for each in netfilter.dump(nl.GET_CHAIN):
        parts = nl.attributes_of(each)
        if nl.text_of(parts[1]) == table:
            name = nl.text_of(parts[3])
            rules = reading.read_rules(netfilter, table, name)
            chains[name] = _hook(parts), [_steps(rule.expressions) for rule in rules]
    for kind, what in ((nl.GET_OBJECT, "object"), (nl.GET_FLOW_TABLE, "flowtable")):
        for each in netfilter.dump(kind):
            parts = nl.attributes_of(each)
            if nl.text_of(parts[1]) == table:
                foreign.append(f"{what} {nl.text_of(parts[2])} is none of ours")
    return _Listing(sets, runs, content, chains, tuple(foreign))


def _form(parts: Mapping[int, bytes]) -> SetForm:
    number = {kind: nl.number_of(parts.get(kind, b"")) for kind in (3, 4, 5, 6, 7)}
    # The kernel notes a concatenation by itself (0x80); the key's type says it.
    return SetForm(number[3] & ~0x80, number[4], number[5], number[6], number[7])


def _items(listed: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    for _, element in nl.pairs(listed):
        parts = nl.attributes_of(element)
        key = nl.attributes_of(parts[1])[1]
        yield key, nl.attributes_of(parts[2])[1] if 2 in parts else None


def _hook(parts: Mapping[int, bytes]) -> Hook | None:
    if 4 not in parts:
        return None
    hook = nl.attributes_of(parts[4])
    kind = nl.text_of(parts[7])
    # A policy other than accept, or a device, is none of ours.
    if nl.number_of(parts.get(5, b"\1")) != 1 or hook.keys() - {1, 2}:
        kind += " with more"
    priority = int.from_bytes(hook[2], "big", signed=True)
    return Hook(nl.number_of(hook[1]), priority, kind)


@lru_cache(1 << 12)
def _steps(data: bytes) -> tuple[Step, ...]:
    try:
        return unpack(data)
    except Strange as exc:
        return (("strange", str(exc)),)
