"""Balancers as an nftables table of their own.  Pure.

It stands beside the table of rules, and both change in one transaction:

    h_prerouting, h_output          connections from own addresses go to h_balance_4 or _6
    h_balance_4, h_balance_6        a rule for each port of a virtual address: a slot by a hash of
                                    the source or at random, the slot's backend from a map, and
                                    the destination becomes that
    h_b…                            the maps, from slot to backend: 1024 elements, none without
                                    backends
    h_postrouting, h_self_4, _6     a workload that is its own backend sees the virtual address as
                                    its client: its own address as source it would not take
    h_unserved_…                    what still goes to a virtual address has no backend: rejected
    h_own_4, h_own_6                own addresses

Translation comes before the filter chains, so that rules see the backend.  Nothing is translated
that doesn't come from an own address.  Map keys are in the host's order, as the kernel has them.
"""

import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from dsn.dataplane.balance.steps import DESTINATION, SOURCE
from dsn.dataplane.bytecode import Step
from shared.algebra.cidrs import Family
from shared.policy.balancers import Balancers, NodeBalancer
from shared.policy.spreading import SLOTS, seed_of, slots_of

FAMILIES: Final[tuple[Family, ...]] = (4, 6)
_KIND: Final[dict[Family, int]] = {4: socket.AF_INET, 6: socket.AF_INET6}
_WIDTH: Final[dict[Family, int]] = {4: 4, 6: 16}
# Offsets of source and destination address in the network header.
_SADDR: Final[dict[Family, int]] = {4: 12, 6: 8}
_DADDR: Final[dict[Family, int]] = {4: 16, 6: 24}
_ASKED_ADDRESS: Final[dict[Family, int]] = {4: 20, 6: 22}
# The register of the second part of a concatenation of two addresses.
_SECOND: Final[dict[Family, int]] = {4: 9, 6: 2}

_NETWORK, _TRANSPORT = 1, 2
_NFPROTO, _L4PROTO = 15, 16
_EQUAL, _NOT_EQUAL, _AT_MOST, _AT_LEAST = 0, 1, 3, 5
_JUMP_TO: Final = -4  # goto
_RETURN: Final = -5
_TCP: Final = 6
_TCP_RESET, _ICMPX = 1, 2
_PORT_UNREACHABLE: Final = 1  # NFT_REJECT_ICMPX_PORT_UNREACH
_TRACKED: Final = (2 | 4).to_bytes(4, sys.byteorder)  # established, related

MAP: Final = "h_b"


class Hook(NamedTuple):
    """Where a base chain stands: hook number in the kernel, priority and type."""

    number: int
    priority: int
    type: str


# Translation has its usual places (NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC); what is left over is
# looked at right before the rules.
HOOKS: Final = {
    "h_prerouting": Hook(0, -100, "nat"),
    "h_output": Hook(3, -100, "nat"),
    "h_postrouting": Hook(4, 100, "nat"),
    "h_unserved_forward": Hook(2, -1, "filter"),
    "h_unserved_output": Hook(3, -1, "filter"),
}


class SetForm(NamedTuple):
    """What a set is made with: flags, key type and length, and of a map's values the same."""

    flags: int
    key_type: int
    key_length: int
    data_type: int = 0
    data_length: int = 0


INTERVALS, _IS_MAP = 0x4, 0x8
_INTEGER: Final = 4
_ADDRESS_TYPE: Final[dict[Family, int]] = {4: 7, 6: 8}

Content = Mapping[bytes, bytes | None]
"""Keys with the values of a map; None where there are none."""


@dataclass(frozen=True, slots=True)
class BalanceTable:
    """What the table holds; `own` are the CIDRs of the interval sets, by family."""

    sets: Mapping[str, SetForm]
    own: Mapping[Family, tuple[str, ...]]
    content: Mapping[str, Content]
    chains: Mapping[str, Sequence[tuple[Step, ...]]]


def table_name(rules: str) -> str:
    """Return the name of the table beside a table of rules."""
    return f"{rules}_balance"


def own_set(family: Family) -> str:
    return f"h_own_{family}"


def self_set(family: Family) -> str:
    return f"h_self_{family}"


def map_name(balancer: NodeBalancer) -> str:
    return MAP + balancer.id


def family_of(address: str) -> Family:
    return 6 if ":" in address else 4


def packed(address: str) -> bytes:
    return socket.inet_pton(_KIND[family_of(address)], address)


def describe(balancers: Balancers, own: Sequence[str]) -> BalanceTable:
    """Return the table of balancers for a node with these addresses."""
    sets: dict[str, SetForm] = {}
    content: dict[str, Content] = {}
    chains: dict[str, list[tuple[Step, ...]]] = {
        "h_prerouting": [*_from_own("h_balance")],
        "h_output": [*_from_own("h_balance")],
        "h_postrouting": [_to_itself(family) for family in FAMILIES],
        "h_unserved_forward": [_KNOWN, *_from_own("h_unserved")],
        "h_unserved_output": [_KNOWN, *_from_own("h_unserved")],
        "h_reject": list(_REJECTING),
    }
    for family in FAMILIES:
        width, kind = _WIDTH[family], _ADDRESS_TYPE[family]
        served = [each for each in balancers if family_of(each.address) == family]
        sets[own_set(family)] = SetForm(INTERVALS, kind, width)
        sets[self_set(family)] = SetForm(0, kind << 6 | kind, 2 * width)
        content[self_set(family)] = dict.fromkeys(_pairs(served, own))
        chains[f"h_balance_{family}"] = [translation(each) for each in served]
        chains[f"h_unserved_{family}"] = [(*_asks(each), _go("h_reject")) for each in served]
        for each in served:
            sets[map_name(each)] = SetForm(_IS_MAP, _INTEGER, 4, kind, width)
            content[map_name(each)] = slot_content(each.algorithm, each.backends)
    return BalanceTable(
        sets,
        {family: tuple(each for each in own if family_of(each) == family) for family in FAMILIES},
        content,
        chains,
    )


@lru_cache(1 << 10)
def slot_content(algorithm: str, backends: tuple[str, ...]) -> Content:
    """Return what the map of a balancer holds."""
    slots = slots_of(algorithm, backends)
    return {slot.to_bytes(4, sys.byteorder): packed(each) for slot, each in enumerate(slots)}


def translation(balancer: NodeBalancer) -> tuple[Step, ...]:
    """Return the rule that translates what is sent to a port of a virtual address."""
    family = family_of(balancer.address)
    width = _WIDTH[family]
    if balancer.algorithm == "hash":
        choice: list[Step] = [
            ("payload", 2, _NETWORK, _SADDR[family], width),
            ("hash", 2, 1, width, SLOTS, seed_of(balancer.id)),
        ]
    else:
        choice = [("numgen", 1, SLOTS)]
    target: list[Step] = []
    if balancer.target is not None:
        target = [("load", 2, balancer.target.to_bytes(2, "big"))]
    kind = _KIND[family]
    return (
        *_asks(balancer),
        *choice,
        ("map", 1, map_name(balancer), 1),
        *target,
        ("nat", DESTINATION, kind, 1, 2 if target else 0),
    )


def _asks(balancer: NodeBalancer) -> Iterator[Step]:
    """Yield the matches on a balancer's address, protocol and ports."""
    family = family_of(balancer.address)
    yield from _is_family(family)
    yield ("payload", 1, _NETWORK, _DADDR[family], _WIDTH[family])
    yield ("cmp", 1, _EQUAL, packed(balancer.address))
    yield ("meta", 1, _L4PROTO)
    yield ("cmp", 1, _EQUAL, bytes([balancer.protocol]))
    yield ("payload", 1, _TRANSPORT, 2, 2)
    first, last = (port.to_bytes(2, "big") for port in balancer.ports)
    if first == last:
        yield ("cmp", 1, _EQUAL, first)
        return
    yield ("cmp", 1, _AT_LEAST, first)
    yield ("cmp", 1, _AT_MOST, last)


def _from_own(chain: str) -> Iterator[tuple[Step, ...]]:
    for family in FAMILIES:
        yield (
            *_is_family(family),
            ("payload", 1, _NETWORK, _SADDR[family], _WIDTH[family]),
            ("lookup", 1, own_set(family)),
            _go(f"{chain}_{family}"),
        )


def _to_itself(family: Family) -> tuple[Step, ...]:
    width = _WIDTH[family]
    return (
        *_is_family(family),
        ("payload", 1, _NETWORK, _SADDR[family], width),
        ("payload", _SECOND[family], _NETWORK, _DADDR[family], width),
        ("lookup", 1, self_set(family)),
        ("asked", 1, _ASKED_ADDRESS[family]),
        ("nat", SOURCE, _KIND[family], 1, 0),
    )


def _pairs(balancers: Iterable[NodeBalancer], own: Sequence[str]) -> Iterator[bytes]:
    """Yield, for each backend of the node's own, its address twice."""
    hosts = _Hosts(own)
    for address in sorted({each for balancer in balancers for each in balancer.backends}):
        if address in hosts:
            yield packed(address) * 2


class _Hosts:
    """Whether addresses lie in CIDRs; most of a node's are single hosts."""

    def __init__(self, cidrs: Sequence[str]) -> None:
        self._blocks: set[tuple[Family, int, int]] = set()
        for cidr in cidrs:
            address, _, length = cidr.partition("/")
            bits = 8 * _WIDTH[family_of(address)] - int(length)
            self._blocks.add((family_of(address), bits, _value(address) >> bits))
        self._sizes = {(family, bits) for family, bits, _ in self._blocks}

    def __contains__(self, address: str) -> bool:
        value = _value(address)
        return any(
            (family, bits, value >> bits) in self._blocks
            for family, bits in self._sizes
            if family == family_of(address)
        )


def _value(address: str) -> int:
    return int.from_bytes(packed(address), "big")


def _is_family(family: Family) -> tuple[Step, Step]:
    return ("meta", 1, _NFPROTO), ("cmp", 1, _EQUAL, bytes([_KIND[family]]))


def _go(chain: str) -> Step:
    return ("immediate", 0, _JUMP_TO, chain)


_KNOWN: Final[tuple[Step, ...]] = (
    ("ct", 1, 0),
    ("bitwise", 1, 1, 4, _TRACKED),
    ("cmp", 1, _NOT_EQUAL, bytes(4)),
    ("immediate", 0, _RETURN, ""),
)
_REJECTING: Final[tuple[tuple[Step, ...], ...]] = (
    (("meta", 1, _L4PROTO), ("cmp", 1, _EQUAL, bytes([_TCP])), ("reject", _TCP_RESET, 0)),
    (("reject", _ICMPX, _PORT_UNREACHABLE),),
)
