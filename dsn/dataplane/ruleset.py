"""A configuration as one nftables table.  Pure.

The table, `inet`, is the only thing in the kernel that is ours:

    h_forward, h_input, h_output    base chains: traffic with an end at an own address goes to
                                    h_own_4 or h_own_6 and doesn't come back; all other leaves
                                    untouched
    h_own_4, h_own_6                what connection tracking knows passes, then neighbour
                                    discovery, then the tiers, then the default action
    h_mandatory_4 … h_default_6     a tier's rules for one family; `pass` returns
    h_end, h_reject                 how an ended or a rejected packet is answered
    h_own_addresses_4, h_s…_4 …     own addresses, and each set by family
    h_p…                            each list of ports that a rule matches on; its name says which
    h_discovery, h_errors_4 …       types of ICMP messages
    h_ended_4, h_ended_6            connections ended by a new generation
    h_r_ID, h_default, …            named counters

Families have chains of their own so that a packet meets no rule of the other, and so that a v4 set
can only ever match v4.  Both families' rules are always there, whatever members the sets have: a
change of members is a change of members.

Expressions are written in the very form in which `nft -j -n list` gives them back, so that reading
back is comparing.  Only ids, numbers and addresses that the admission check has seen go in; names
of policies never do.  No set is anonymous: the kernel takes a time for each of those that grows
with their number.

Choices.  Fragments: connection tracking reassembles before these chains (nf_defrag), so ports are
always there.  IPv6 extension headers are skipped: the protocol is the one behind them.  Packets
that tracking calls invalid (bad checksum or flags, an ICMP error about no known connection) are
dropped and counted: they begin no connection, and answering them would end living ones.  A TCP
packet without SYN that belongs to no known connection is judged like a first packet (so that
connections older than the tracking live on), unless its connection was ended.  Own addresses may
be the host's own: what it sends to itself is judged once, on output.  The kernel answers a
rejected packet only if it can verify its checksum; it drops the others in silence.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

from shared.algebra import intervals
from shared.algebra.cidrs import Family
from shared.algebra.intervals import Intervals
from shared.policy.nodeconfig import (
    PORT_PROTOCOLS,
    TIERS,
    NodeConfiguration,
    NodeRule,
    NodeService,
)

Expression = dict[str, Any]
Expressions = list[Expression]
FAMILIES: Final[tuple[Family, ...]] = (4, 6)

TCP: Final = 6
UDP: Final = 17
SCTP: Final = 132
_PROTOCOL_NAME: Final = {TCP: "tcp", UDP: "udp", SCTP: "sctp"}
_HEADER: Final[dict[Family, str]] = {4: "ip", 6: "ip6"}
_ADDRESS_TYPE: Final[dict[Family, str]] = {4: "ipv4_addr", 6: "ipv6_addr"}

KEY_TYPES: Final = {
    "ipv4_addr": (7, 4),
    "ipv6_addr": (8, 16),
    "inet_service": (13, 2),
    "icmp_type": (14, 1),
    "icmpv6_type": (29, 1),
    "inet_proto.ipv4_addr.inet_service.ipv4_addr.inet_service": (0x0C1CD1CD, 20),
    "inet_proto.ipv6_addr.inet_service.ipv6_addr.inet_service": (0x0C20D20D, 44),
}
"""Types of sets' keys: nft's number, six bits a part (nft's datatype.h), and bytes, padded to
words where there are several parts.  The kernel keeps the number for nft's sake only."""

# include/uapi/linux/netfilter/nf_conntrack_common.h: bits of `ct state`.
_INVALID: Final = 1
_ESTABLISHED_RELATED: Final = [2, 4]

# Neighbour and router discovery, inverse discovery: RFC 4890 section 4.4.1, RFC 4861, RFC 3122.
_DISCOVERY: Final = (133, 134, 135, 136, 141, 142)
# RFC 4861: what has passed a router is no discovery.
_DISCOVERY_HOP_LIMIT: Final = 255

# ICMP errors: destination unreachable, (packet too big,) time exceeded, parameter problem.
_ERRORS: Final[dict[Family, tuple[int, ...]]] = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
_ICMP: Final[dict[Family, str]] = {4: "icmp", 6: "icmpv6"}

# FIN, SYN, RST and ACK, as nft lists them; a connection begins with SYN alone.
_TCP_STATE_FLAGS: Final = [1, 2, 4, 16]
_SYN: Final = 2

# NFT_REJECT_ICMPX_ADMIN_PROHIBITED: "communication administratively prohibited" in both families.
_ADMIN_PROHIBITED: Final = 3

_VERDICT: Final[dict[str, Expression]] = {
    "allow": {"accept": None},
    "deny": {"drop": None},
    "reject": {"goto": {"target": "h_reject"}},
    "pass": {"return": None},
}

ENDED_SIZE: Final = 65536
"""How many ended connections a family's set remembers at once.  A guess: a full conntrack table
of the kernel's default size holds four times as many, open ones of all kinds together."""

COUNTERS: Final = ("h_default", "h_invalid", "h_ended")
RULE_COUNTER: Final = "h_r_"
PORT_SET: Final = "h_p"
LOG_PREFIX: Final = "hanse:"

# A filter's place among the hooks: after connection tracking and destination NAT.
_BASE_CHAIN_PRIORITY: Final = 0

BASE_CHAINS: Final = {"h_forward": "forward", "h_input": "input", "h_output": "output"}


class Link(NamedTuple):
    """A TCP server that the host itself must always reach: its SDSP."""

    family: Family
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class SetContent:
    family: Family
    cidrs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NumberSet:
    """A set of ports or of ICMP types: inclusive ranges in order."""

    type: str
    ranges: tuple[tuple[int, int], ...]

    def runs(self) -> Intervals:
        return intervals.from_ranges(self.ranges)


@dataclass(frozen=True, slots=True)
class Table:
    """What the table holds: counters, sets of addresses and numbers, and each chain's rules."""

    counters: frozenset[str]
    sets: Mapping[str, SetContent]
    numbers: Mapping[str, NumberSet]
    chains: Mapping[str, list[Expressions]]


@dataclass(frozen=True, slots=True)
class Layout:
    """What of the table is not policy: whom the host always reaches, and where logs go."""

    log_group: int
    links: tuple[Link, ...] = field(default=())


def _types(kind: str, values: Sequence[int]) -> NumberSet:
    return NumberSet(
        kind, tuple(intervals.to_ranges(intervals.from_ranges((each, each) for each in values)))
    )


ICMP_TYPES: Final = {
    "h_discovery": _types("icmpv6_type", _DISCOVERY),
    "h_errors_4": _types("icmp_type", _ERRORS[4]),
    "h_errors_6": _types("icmpv6_type", _ERRORS[6]),
}
"""The sets that stand in every table."""


def render(configuration: NodeConfiguration, layout: Layout) -> Table:
    """Return the table that enforces `configuration`, which has passed admissible.check()."""
    counters = {*COUNTERS, *(RULE_COUNTER + rule.id for rule in configuration.rules)}
    sets = {}
    chains = base_chains(layout)
    for family in FAMILIES:
        sets[own_set(family)] = set_content(family, configuration.addresses)
        for name, cidrs in configuration.sets.items():
            sets[address_set(name, family)] = set_content(family, cidrs)
        chains[f"h_own_{family}"] = own_chain(family, configuration.default_action)
        for tier in TIERS:
            chains[tier_chain(tier, family)] = [
                each
                for rule in configuration.rules
                if rule.tier == tier
                for each in rule_expressions(rule, family, layout.log_group)
            ]
    chains |= answering_chains()
    numbers = {
        **ICMP_TYPES,
        **dict(each for rule in configuration.rules for each in port_sets(rule)),
    }
    return Table(frozenset(counters), sets, numbers, chains)


def answering_chains() -> dict[str, list[Expressions]]:
    """Return the chains that answer an ended or a rejected packet."""
    return {
        "h_end": [
            [_counter("h_ended"), _is("l4proto", TCP), {"reject": {"type": "tcp reset"}}],
            [{"drop": None}],
        ],
        "h_reject": [
            [_is("l4proto", TCP), {"reject": {"type": "tcp reset"}}],
            [{"reject": {"type": "icmpx", "expr": _ADMIN_PROHIBITED}}],
        ],
    }


def base_chains(layout: Layout) -> dict[str, list[Expressions]]:
    """Return the chains at the hooks, by name."""
    return {name: _base_chain(hook, layout) for name, hook in BASE_CHAINS.items()}


def port_sets(rule: NodeRule) -> Iterator[tuple[str, NumberSet]]:
    """Yield the sets of ports that a rule matches on, by name."""
    for service in rule.services or ():
        if service.protocol in PORT_PROTOCOLS:
            for ranges in (service.source_ports, service.ports):
                if ranges is not None and len(ranges) > 1:
                    yield port_set(ranges), NumberSet("inet_service", ranges)


@lru_cache(1 << 14)
def port_set(ranges: tuple[tuple[int, int], ...]) -> str:
    """Return the name of the set of those ports, whichever rules use it."""
    said = ",".join(f"{first}-{last}" for first, last in ranges)
    return f"{PORT_SET}{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def own_set(family: Family) -> str:
    return f"h_own_addresses_{family}"


def address_set(name: str, family: Family) -> str:
    return f"h_{name}_{family}"


def ended_set(family: Family) -> str:
    return f"h_ended_{family}"


def tier_chain(tier: str, family: Family) -> str:
    return f"h_{tier}_{family}"


def chain_attributes(name: str) -> dict[str, Any]:
    """Return what a chain is made with, as nft lists it: a hook for a base chain, else nothing."""
    if name not in BASE_CHAINS:
        return {}
    return {
        "type": "filter",
        "hook": BASE_CHAINS[name],
        "prio": _BASE_CHAIN_PRIORITY,
        "policy": "accept",
    }


def set_attributes(content: SetContent) -> dict[str, Any]:
    return {"type": _ADDRESS_TYPE[content.family], "flags": ["interval"]}


def all_set_attributes(table: Table) -> dict[str, dict[str, Any]]:
    """Return what each set of the table is made with, those of ended connections too."""
    result = {name: set_attributes(content) for name, content in table.sets.items()}
    for name, numbers in table.numbers.items():
        result[name] = {"type": numbers.type, "flags": ["interval"]}
    for family in FAMILIES:
        result[ended_set(family)] = ended_attributes(family)
    return result


def ended_attributes(family: Family) -> dict[str, Any]:
    """Return what the set of ended connections is made with."""
    address = _ADDRESS_TYPE[family]
    return {
        "type": ["inet_proto", address, "inet_service", address, "inet_service"],
        "size": ENDED_SIZE,
        "flags": ["timeout"],
    }


def rule_expressions(rule: NodeRule, family: Family, log_group: int) -> Iterator[Expressions]:
    """Yield the nft rules that are one rule: one for each side of `within` and each service.

    All that stand for one rule count on its one counter, and the first that matches decides, so
    it counts a packet once.
    """
    outcome = _outcome(rule, log_group)
    for matches in rule_matches(rule, family):
        yield [*matches, *outcome]


def rule_matches(rule: NodeRule, family: Family) -> Iterator[Expressions]:
    """Yield what each of those nft rules matches on."""
    addresses = [
        _address_in(family, field, address_set(name, family))
        for field, name in (("saddr", rule.source), ("daddr", rule.destination))
        if name is not None
    ]
    withins: list[Expressions] = [[]]
    if rule.within is not None:
        name = address_set(rule.within, family)
        withins = [[_address_in(family, "saddr", name)], [_address_in(family, "daddr", name)]]
    services: list[Expressions] = [[]]
    if rule.services is not None:
        services = [_service(each) for each in rule.services]
    for within in withins:
        for service in services:
            yield [*within, *addresses, *service]


def own_chain(
    family: Family, default_action: str, *, before_tiers: Iterable[Expressions] = ()
) -> list[Expressions]:
    """Return how own traffic of a family is judged, from connection tracking to the default."""
    discovery = [
        _field_is("icmpv6", "type", "@h_discovery"),
        _field_is("ip6", "hoplimit", _DISCOVERY_HOP_LIMIT),
        {"accept": None},
    ]
    return [
        [_state(_ESTABLISHED_RELATED), {"accept": None}],
        *([discovery] if family == 6 else []),
        [_state(_INVALID), _counter("h_invalid"), {"drop": None}],
        *_ended(family),
        *before_tiers,
        *([{"jump": {"target": tier_chain(tier, family)}}] for tier in TIERS),
        [_counter("h_default"), {"accept" if default_action == "allow" else "drop": None}],
    ]


def _base_chain(hook: str, layout: Layout) -> list[Expressions]:
    rules: list[Expressions] = []
    if hook == "input":
        # What comes in by `lo` was judged when it went out.
        rules.append([_is("iifname", "lo"), {"return": None}])
    if hook in ("input", "output"):
        for link in layout.links:
            address, port = ("saddr", "sport") if hook == "input" else ("daddr", "dport")
            rules.append(
                [
                    _field_is(_HEADER[link.family], address, link.address),
                    _field_is("tcp", port, link.port),
                    {"accept": None},
                ]
            )
    if hook == "output":
        # The host's own answers (a reject's, a router's "time exceeded") about packets that never
        # became a connection: tracking knows nothing to relate them to.
        rules += (
            [
                _state(_INVALID),
                _field_is(_ICMP[family], "type", f"@h_errors_{family}"),
                {"accept": None},
            ]
            for family in FAMILIES
        )
    rules += (
        [_address_in(family, field, own_set(family)), {"goto": {"target": f"h_own_{family}"}}]
        for family in FAMILIES
        for field in ("saddr", "daddr")
    )
    return rules


def _ended(family: Family) -> Iterator[Expressions]:
    """Yield what keeps an ended connection ended, whichever end speaks.

    A TCP SYN asks for a new connection and is judged.  UDP and SCTP have no such mark: there the
    ended connection's addresses and ports stay shut until its entry's time is out, or a generation
    allows them again.
    """
    not_syn: Expression = {
        "match": {
            "op": "!=",
            "left": {"&": [_field("tcp", "flags"), _TCP_STATE_FLAGS]},
            "right": _SYN,
        }
    }
    heads: list[tuple[Expressions, str]] = [([not_syn], "tcp"), ([], "udp"), ([], "sctp")]
    for head, protocol in heads:
        for first, second in (("s", "d"), ("d", "s")):
            key = [
                {"meta": {"key": "l4proto"}},
                _field(_HEADER[family], f"{first}addr"),
                _field(protocol, f"{first}port"),
                _field(_HEADER[family], f"{second}addr"),
                _field(protocol, f"{second}port"),
            ]
            found: Expression = {
                "match": {"op": "==", "left": {"concat": key}, "right": f"@{ended_set(family)}"}
            }
            yield [*head, found, {"goto": {"target": "h_end"}}]


def _service(service: NodeService) -> Expressions:
    matches = [
        _field_is(_PROTOCOL_NAME[service.protocol], field, _ports(ranges))
        for field, ranges in (("sport", service.source_ports), ("dport", service.ports))
        if ranges is not None and service.protocol in PORT_PROTOCOLS
    ]
    # nft leaves the protocol out where a port says it.
    return matches or [_is("l4proto", service.protocol)]


def _ports(ranges: tuple[tuple[int, int], ...]) -> Any:
    if len(ranges) > 1:
        return f"@{port_set(ranges)}"
    ((first, last),) = ranges
    return first if first == last else {"range": [first, last]}


def _outcome(rule: NodeRule, log_group: int) -> Expressions:
    verdict = _VERDICT[rule.action]
    log = [{"log": {"prefix": LOG_PREFIX + rule.id, "group": log_group}}] if rule.log else []
    return [*log, _counter(RULE_COUNTER + rule.id), verdict]


def set_content(family: Family, cidrs: Iterable[str]) -> SetContent:
    """Return what a set of one family holds of addresses of both."""
    return SetContent(family, tuple(each for each in cidrs if (":" in each) == (family == 6)))


def _field(protocol: str, name: str) -> Expression:
    return {"payload": {"protocol": protocol, "field": name}}


def _field_is(protocol: str, name: str, value: Any) -> Expression:
    return {"match": {"op": "==", "left": _field(protocol, name), "right": value}}


def _address_in(family: Family, name: str, of: str) -> Expression:
    return _field_is(_HEADER[family], name, f"@{of}")


def _is(key: str, value: Any) -> Expression:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": value}}


def _state(bits: Any) -> Expression:
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": bits}}


def _counter(name: str) -> Expression:
    return {"counter": name}
