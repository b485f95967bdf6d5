"""Is this a configuration that can be enforced exactly?  Pure.

A configuration comes over the wire, so nothing about it is believed.  What passes here can be
written into a kernel and read back to the same hash: names are ids of a fixed form, sets minimal,
ports canonical.  What doesn't is refused whole: half a policy is not a smaller policy.
"""

import re
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from dsn.dataplane.balance.admissible import balancer_faults
from dsn.dataplane.difference import common_ends
from shared.algebra.cidrs import BITS, Family, format_address, parse_cidrs
from shared.errors import FieldError, Invalid
from shared.policy.nodeconfig import (
    PORT_PROTOCOLS,
    TIERS,
    NodeConfiguration,
    NodeRule,
    NodeService,
)

_SET_ID: Final = re.compile(r"s[0-9a-f]{16}")
_RULE_ID: Final = re.compile(r"[0-9a-f]{16}")
_ACTIONS: Final = ("allow", "deny", "reject", "pass")
_LAST_PORT: Final = 65535
_MOST_SHOWN: Final = 20

Ranges = tuple[tuple[int, int], ...]


def check(configuration: NodeConfiguration, *, known: NodeConfiguration | None = None) -> None:
    """Return if `configuration` can be enforced; else Invalid, with each fault and its place.

    What is the same as in `known`, which has passed, isn't looked at again.
    """
    faults = list(_faults(configuration, known))
    if faults:
        raise Invalid(
            f"the configuration can't be enforced: {faults[0]}"
            + (f", and {len(faults) - 1} more" if len(faults) > 1 else ""),
            code="invalid_configuration",
            fields=faults[:_MOST_SHOWN],
        )


def _faults(
    configuration: NodeConfiguration, known: NodeConfiguration | None
) -> Iterator[FieldError]:
    if configuration.default_action not in ("allow", "deny"):
        yield FieldError("defaultAction", "invalid", "must be allow or deny")
    yield from _cidr_faults(
        "addresses", configuration.addresses, known.addresses if known else None
    )
    before = known.sets if known else {}
    for name, cidrs in configuration.sets.items():
        if name not in before and not _SET_ID.fullmatch(name):
            yield FieldError("sets", "invalid", f"{name[:40]!r} is no id of a set")
        yield from _cidr_faults(f"sets.{name[:40]}", cidrs, before.get(name))
    if known is None or configuration.balancers != known.balancers:
        yield from balancer_faults(configuration.balancers or ())
    if (
        known is None
        or configuration.rules != known.rules
        or before.keys() - configuration.sets.keys()
    ):
        yield from _all_rules_faults(configuration, known)
    if configuration.staged is not None:
        before_staged = known.staged if known else None
        for each in _faults(configuration.staged, before_staged):
            yield FieldError(f"staged.{each.path}", each.code, each.message)
        yield from _staged_faults(configuration, configuration.staged)


def _staged_faults(
    configuration: NodeConfiguration, staged: NodeConfiguration
) -> Iterator[FieldError]:
    """Yield where what is staged speaks of another node, or of other sets by the same name."""
    if staged.staged is not None:
        yield FieldError("staged.staged", "invalid", "nothing is staged with what is staged")
    if (staged.default_action, staged.addresses) != (
        configuration.default_action,
        configuration.addresses,
    ):
        yield FieldError("staged", "invalid", "has another default action or other own addresses")
    for name in configuration.sets.keys() & staged.sets.keys():
        if configuration.sets[name] != staged.sets[name]:
            yield FieldError(f"staged.sets.{name[:40]}", "invalid", "is another set than enforced")


def _all_rules_faults(
    configuration: NodeConfiguration, known: NodeConfiguration | None
) -> Iterator[FieldError]:
    ids = Counter([rule.id for rule in configuration.rules])
    kept = {id(rule) for rule in known.rules} if known else set()
    lost = bool(known and known.sets.keys() - configuration.sets.keys())
    tier = 0
    for place, rule in enumerate(configuration.rules):
        if ids[rule.id] > 1:
            yield FieldError(
                f"rules[{place}]", "duplicate", f"{rule.id[:40]!r} is the id of several rules"
            )
        if rule.tier not in TIERS:
            yield FieldError(
                f"rules[{place}].tier", "invalid", f"must be one of {', '.join(TIERS)}"
            )
        elif TIERS.index(rule.tier) < tier:
            yield FieldError(
                f"rules[{place}]", "invalid", f"stands after a later tier than {rule.tier}"
            )
        else:
            tier = TIERS.index(rule.tier)
        new = id(rule) not in kept
        if new or lost:
            yield from _reference_faults(place, rule, configuration)
        if new:
            yield from _rule_faults(f"rules[{place}]", rule)


def _reference_faults(
    place: int, rule: NodeRule, configuration: NodeConfiguration
) -> Iterator[FieldError]:
    for side, name in (
        ("source", rule.source),
        ("destination", rule.destination),
        ("within", rule.within),
    ):
        if name is not None and name not in configuration.sets:
            yield FieldError(
                f"rules[{place}].{side}", "unknown_set", f"there is no set {name[:40]!r}"
            )


def _rule_faults(where: str, rule: NodeRule) -> Iterator[FieldError]:
    if not _RULE_ID.fullmatch(rule.id):
        yield FieldError(f"{where}.id", "invalid", f"{rule.id[:40]!r} is no id of a rule")
    if rule.action not in _ACTIONS:
        yield FieldError(f"{where}.action", "invalid", f"must be one of {', '.join(_ACTIONS)}")
    if rule.services is None:
        return
    if not rule.services:
        yield FieldError(f"{where}.services", "invalid", "is empty: give services, or none for any")
    if len(set(rule.services)) < len(rule.services):
        yield FieldError(f"{where}.services", "duplicate", "says the same twice")
    for place, service in enumerate(rule.services):
        yield from _service_faults(f"{where}.services[{place}]", service)


def _service_faults(where: str, service: NodeService) -> Iterator[FieldError]:
    if not 0 <= service.protocol <= 255:
        yield FieldError(f"{where}.protocol", "invalid", "must be 0 to 255")
    for name, ranges in (("ports", service.ports), ("sourcePorts", service.source_ports)):
        if ranges is None:
            continue
        if service.protocol not in PORT_PROTOCOLS:
            yield FieldError(f"{where}.{name}", "invalid", "only tcp, udp and sctp have ports")
        elif not _is_canonical(ranges):
            yield FieldError(
                f"{where}.{name}",
                "invalid",
                "must be ranges within 0-65535, in order, neither touching nor overlapping",
            )


def _is_canonical(ranges: Ranges) -> bool:
    # As if a range ended at -2, so that a first port 0 doesn't touch it.
    end = -2
    for first, last in ranges:
        if not end + 1 < first <= last <= _LAST_PORT:
            return False
        end = last
    return bool(ranges)


def _cidr_faults(
    where: str, cidrs: tuple[str, ...], known: tuple[str, ...] | None
) -> Iterator[FieldError]:
    if cidrs is known or _stays_minimal(known or (), cidrs):
        return
    try:
        parse_cidrs(cidrs)
    except ValueError as exc:
        yield FieldError(where, "invalid", str(exc))
        return
    yield FieldError(where, "invalid", "must be minimal CIDRs in address order, IPv4 first")


def is_minimal(cidrs: Sequence[str]) -> bool:
    """Return whether these are the fewest disjoint CIDRs, in address order, IPv4 first."""
    try:
        blocks = [_block(each) for each in cidrs]
    except (ValueError, OSError):
        return False
    return all(_follows(blocks[at], blocks[at + 1]) for at in range(len(blocks) - 1))


def _stays_minimal(before: Sequence[str], after: Sequence[str]) -> bool:
    """Return whether `after` is minimal, `before` being so.

    Only what is new can be next to something that it overlaps or forms a larger block with.
    """
    start, tail = common_ends(before, after)
    return is_minimal(after[max(start - 1, 0) : len(after) - tail + 1])


def _block(cidr: str) -> tuple[int, int, int]:
    """Return family, first address and number of host bits; ValueError or OSError if it is none."""
    address, _, length = cidr.partition("/")
    if ":" in address:
        first = int.from_bytes(socket.inet_pton(socket.AF_INET6, address), "big")
        family: Family = 6
    else:
        first = int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big")
        family = 4
    bits = BITS[family] - int(length)
    # Written in the one canonical way, and without bits beyond the prefix.
    if (
        not 0 <= bits <= BITS[family]
        or first & ((1 << bits) - 1)
        or f"{format_address(family, first)}/{BITS[family] - bits}" != cidr
    ):
        raise ValueError(cidr)
    return family, first, bits


def _follows(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    if one[0] != other[0]:
        return one[0] < other[0]
    behind = one[1] + (1 << one[2])
    halves = one[2] == other[2] and behind == other[1] and not one[1] >> one[2] & 1
    return behind <= other[1] and not halves
