"""What stands in our table, as nft would list it, and which configuration that enforces.  Pure.

Reading back trusts nothing that was written: default action, own addresses, sets and rules are
taken from the matches and verdicts that stand in the kernel, then rendered again and compared with
all that stands there.  Whatever rendering would not have written is a fault.  Counts are no part of
it.
"""

import hashlib
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from dsn.dataplane.contract import Count, ReadBack
from dsn.dataplane.ruleset import (
    FAMILIES,
    PORT_SET,
    RULE_COUNTER,
    Expressions,
    Layout,
    Table,
    all_set_attributes,
    chain_attributes,
    ended_set,
    own_chain,
    own_set,
    render,
    tier_chain,
)
from shared.algebra import intervals
from shared.algebra.cidrs import BITS, AddressSet, Family
from shared.algebra.intervals import Intervals
from shared.policy.nodeconfig import (
    TIERS,
    NodeAction,
    NodeConfiguration,
    NodeRule,
    NodeService,
    Tier,
)

_SET_NAME: Final = re.compile(r"h_(s[0-9a-f]{16})_[46]")
_PROTOCOL: Final = {"tcp": 6, "udp": 17, "sctp": 132}
_FAMILY_OF: Final[dict[str, Family]] = {"ipv4_addr": 4, "ipv6_addr": 6}

Ports = Mapping[str, tuple[tuple[int, int], ...]]
"""Sets of ports by name."""


@dataclass(frozen=True, slots=True)
class ListedSet:
    """`runs` are the addresses or numbers in it; None, if it holds anything else."""

    attributes: Mapping[str, Any]
    runs: Intervals | None


@dataclass(frozen=True, slots=True)
class ListedChain:
    attributes: Mapping[str, Any]
    rules: list[Expressions] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Listing:
    """A table of ours as it stands in the kernel, unjudged.

    `foreign` names what we never make: other kinds of objects, or flags on the table.
    """

    counters: Mapping[str, Count]
    sets: Mapping[str, ListedSet]
    chains: Mapping[str, ListedChain]
    foreign: tuple[str, ...] = ()


class Strange(Exception):
    """A rule that is none of ours; the message says which."""


def parse_listing(objects: list[dict[str, Any]]) -> Listing:
    """Sort what nft lists of one table."""
    counters: dict[str, Count] = {}
    sets: dict[str, ListedSet] = {}
    chains: dict[str, ListedChain] = {}
    foreign: list[str] = []
    for each in objects:
        kind, content = next(iter(each.items()))
        if kind == "table":
            foreign += [f"table flags {content['flags']}"] if "flags" in content else []
        elif kind == "counter":
            counters[content["name"]] = Count(content["packets"], content["bytes"])
        elif kind == "set":
            attributes = _without(content, "elem")
            sets[content["name"]] = ListedSet(attributes, _runs(attributes, content))
        elif kind == "chain":
            chains[content["name"]] = ListedChain(_without(content))
        elif kind == "rule":
            chains[content["chain"]].rules.append(content["expr"])
        elif kind != "metainfo":
            foreign.append(f"{kind} {content.get('name', '')}")
    return Listing(counters, sets, chains, tuple(foreign))


def read_back(listing: Listing, layout: Layout) -> ReadBack:
    """Return the hash of the configuration that a listing enforces, and what doesn't belong."""
    return interpret(listing, layout)[0]


def interpret(listing: Listing, layout: Layout) -> tuple[ReadBack, NodeConfiguration]:
    """Return the same, and the configuration; of its rules' provenance only id and tier."""
    faults = [f"{each} is none of ours" for each in listing.foreign]
    sets, own = _read_sets(listing, faults)
    default = _default_action(listing)
    rules = _read_rules(listing, faults)
    result = NodeConfiguration(
        node="", default_action=default, addresses=own, sets=sets, rules=rules
    )
    # Only what can be rendered at all is compared: a name that no set has is a fault by itself.
    faults += _differences(listing, render(result, layout))
    found = result.hash()
    if not faults:
        return ReadBack(found), result
    text = "\n".join([found, *sorted(set(faults))])
    return ReadBack(hashlib.sha256(text.encode()).hexdigest(), tuple(faults)), result


def parse_elements(family: Family, elements: list[Any]) -> AddressSet:
    """Return the addresses of a listed set; ValueError on an element that is no address."""
    runs = intervals.from_ranges(_range(family, each) for each in elements)
    return AddressSet(v4=runs) if family == 4 else AddressSet(v6=runs)


def _runs(attributes: Mapping[str, Any], content: Mapping[str, Any]) -> Intervals | None:
    elements = list(content.get("elem", ()))
    if not isinstance(attributes["type"], str):
        return None
    try:
        family = _FAMILY_OF.get(attributes["type"])
        if family is not None:
            return parse_elements(family, elements).of(family)
        return intervals.from_ranges(_numbers(each) for each in elements)
    except (ValueError, TypeError, KeyError, OSError):
        return None


def _numbers(element: Any) -> tuple[int, int]:
    match element:
        case int():
            return element, element
        case {"range": [int(first), int(last)]}:
            return first, last
    raise ValueError(element)


def _read_sets(
    listing: Listing, faults: list[str]
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    members: dict[str, AddressSet] = {}
    for family in FAMILIES:
        for name, each in listing.sets.items():
            if not name.endswith(f"_{family}") or name == ended_set(family):
                continue
            key = _SET_NAME.fullmatch(name)
            if key is None and name != own_set(family):
                continue
            if each.runs is None:
                faults.append(f"set {name} holds what is no address")
                continue
            found = AddressSet(v4=each.runs) if family == 4 else AddressSet(v6=each.runs)
            which = key.group(1) if key else ""
            members[which] = members.get(which, AddressSet()).union(found)
    own = members.pop("", AddressSet()).cidrs()
    return {name: found.cidrs() for name, found in members.items()}, own


def _default_action(listing: Listing) -> Any:
    """Return `allow` or `deny`, whichever chain of own traffic would match; else `deny`."""
    chain = listing.chains.get("h_own_4")
    if chain is not None and chain.rules == own_chain(4, "allow"):
        return "allow"
    return "deny"


def _read_rules(listing: Listing, faults: list[str]) -> tuple[NodeRule, ...]:
    ports = ports_of(listing.sets)
    result: list[NodeRule] = []
    for tier in TIERS:
        chain = listing.chains.get(tier_chain(tier, 4))
        for number, group in groupby(chain.rules if chain else (), rule_of):
            try:
                result.append(parse_rule(number, tier, list(group), ports))
            except Strange as exc:
                faults.append(f"in {tier_chain(tier, 4)}: {exc}")
    return tuple(result)


def ports_of(sets: Mapping[str, ListedSet]) -> Ports:
    """Return the sets of ports among `sets`."""
    return {
        name: tuple(intervals.to_ranges(each.runs))
        for name, each in sets.items()
        if name.startswith(PORT_SET) and each.runs is not None
    }


def rule_of(expressions: Expressions) -> str:
    """Return the id of the rule that an nft rule counts for; empty if it counts for none."""
    for each in expressions:
        if isinstance(name := each.get("counter"), str) and name.startswith(RULE_COUNTER):
            return name.removeprefix(RULE_COUNTER)
    return ""


def parse_rule(
    number: str, tier: Tier, listed: Sequence[Expressions], ports: Ports, family: Family = 4
) -> NodeRule:
    """Return the rule that the nft rules `listed` of a family stand for; Strange if none does.

    Only what renders to those nft rules again is really it.
    """
    if not number:
        raise Strange("a rule that counts for none of ours")
    variants = [_Matches(expressions, ports, family) for expressions in listed]
    first, last = variants[0], variants[-1]
    # With `within`, the first half has it as source, the second as destination, both in front.
    within = None
    if first.addresses != last.addresses:
        within = first.addresses[0][1] if first.addresses else None
        variants = variants[: len(variants) // 2]
    sides = dict(first.addresses[1:] if within is not None else first.addresses)
    services = [each.service for each in variants]
    return NodeRule(
        id=number,
        tier=tier,
        tenant="",
        policy="",
        rule="",
        origin="",
        action=first.action,
        log=first.log,
        source=sides.get("saddr"),
        destination=sides.get("daddr"),
        within=within,
        services=None
        if services == [None]
        else tuple(each for each in services if each is not None),
    )


class _Matches:
    """One nft rule of a tier chain, taken apart.  Strange if it is none of ours."""

    def __init__(self, expressions: Expressions, sets: Ports, family: Family) -> None:
        network = "ip" if family == 4 else "ip6"
        self.addresses: list[tuple[str, str]] = []
        self.log = False
        self.action: NodeAction = "pass"
        self.service: NodeService | None = None
        ports: dict[str, tuple[tuple[int, int], ...]] = {}
        protocol: int | None = None
        for each in expressions:
            match each:
                case {"match": {"left": {"payload": {"protocol": header, "field": name}}, **rest}}:
                    if header == network:
                        self.addresses.append((name, _set_id(rest["right"])))
                        continue
                    if header not in _PROTOCOL:
                        raise Strange(f"a match on {header}")
                    protocol = _PROTOCOL[header]
                    ports[name] = _port_ranges(rest["right"], sets)
                case {"match": {"left": {"meta": {"key": "l4proto"}}, "right": int(value)}}:
                    protocol = value
                case {"log": _}:
                    self.log = True
                case {"counter": _}:
                    pass
                case _:
                    self.action = _action(each)
        if protocol is not None:
            self.service = NodeService(protocol, ports.get("dport"), ports.get("sport"))


def _set_id(text: Any) -> str:
    found = _SET_NAME.fullmatch(text.removeprefix("@")) if isinstance(text, str) else None
    if found is None:
        raise Strange(f"a match on {text}")
    return found.group(1)


def _port_ranges(value: Any, sets: Ports) -> tuple[tuple[int, int], ...]:
    match value:
        case int():
            return ((value, value),)
        case {"range": [int(first), int(last)]}:
            return ((first, last),)
        case str() if value.removeprefix("@") in sets:
            return sets[value.removeprefix("@")]
    raise Strange(f"a match on port {value}")


def _action(expression: Mapping[str, Any]) -> NodeAction:
    match expression:
        case {"accept": None}:
            return "allow"
        case {"drop": None}:
            return "deny"
        case {"return": None}:
            return "pass"
        case {"goto": {"target": "h_reject"}}:
            return "reject"
    raise Strange(f"a statement {next(iter(expression), '')}")


def _differences(listing: Listing, want: Table) -> Iterator[str]:
    """Yield how a listing differs from the table that its own content would be rendered to."""
    wanted = all_set_attributes(want)
    for name in sorted(wanted.keys() | listing.sets.keys()):
        each = listing.sets.get(name)
        if each is None:
            yield f"set {name} is missing"
        elif each.attributes != wanted.get(name):
            yield f"set {name} is none of ours"
    for name, numbers in sorted(want.numbers.items()):
        if name in listing.sets and listing.sets[name].runs != numbers.runs():
            yield f"set {name} holds other numbers"
    for name in sorted(want.chains.keys() | listing.chains.keys()):
        chain = listing.chains.get(name)
        if chain is None:
            yield f"chain {name} is missing"
        elif name not in want.chains or chain.attributes != chain_attributes(name):
            yield f"chain {name} is none of ours"
        elif chain.rules != want.chains[name]:
            yield f"chain {name} holds other rules"
    for name in sorted(want.counters - listing.counters.keys()):
        yield f"counter {name} is missing"


def _without(content: Mapping[str, Any], *names: str) -> dict[str, Any]:
    leave = {"family", "table", "name", "handle", *names}
    return {name: value for name, value in content.items() if name not in leave}


def _range(family: Family, element: Any) -> tuple[int, int]:
    match element:
        case str():
            value = _number(family, element)
            return value, value
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            value = _number(family, address)
            return value, value + (1 << (BITS[family] - length)) - 1
        case {"range": [str(first), str(last)]}:
            return _number(family, first), _number(family, last)
    raise ValueError(element)


def _number(family: Family, address: str) -> int:
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    return int.from_bytes(socket.inet_pton(kind, address), "big")
