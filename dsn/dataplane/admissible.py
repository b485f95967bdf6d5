"""Is this a configuration that can be enforced exactly?  Pure.

A configuration comes over the wire, so nothing about it is believed.  What passes here can be
written into a kernel and read back to the same hash: names are ids of a fixed form, sets minimal,
ports canonical.  What doesn't is refused whole: half a policy is not a smaller policy.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from shared.algebra.cidrs import parse_cidrs
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


def check(configuration: NodeConfiguration) -> None:
    """Return if `configuration` can be enforced; else Invalid, with each fault and its place."""
    faults = list(_faults(configuration))
    if faults:
        raise Invalid(
            f"the configuration can't be enforced: {faults[0]}"
            + (f", and {len(faults) - 1} more" if len(faults) > 1 else ""),
            code="invalid_configuration",
            fields=faults[:_MOST_SHOWN],
        )


def _faults(configuration: NodeConfiguration) -> Iterator[FieldError]:
    if configuration.default_action not in ("allow", "deny"):
        yield FieldError("defaultAction", "invalid", "must be allow or deny")
    yield from _cidr_faults("addresses", configuration.addresses)
    for name, cidrs in configuration.sets.items():
        if not _SET_ID.fullmatch(name):
            yield FieldError("sets", "invalid", f"{name[:40]!r} is no id of a set")
        yield from _cidr_faults(f"sets.{name[:40]}", cidrs)
    ids = Counter(rule.id for rule in configuration.rules)
    tier = 0
    for place, rule in enumerate(configuration.rules):
        where = f"rules[{place}]"
        if ids[rule.id] > 1:
            yield FieldError(where, "duplicate", f"{rule.id[:40]!r} is the id of several rules")
        if rule.tier not in TIERS:
            yield FieldError(f"{where}.tier", "invalid", f"must be one of {', '.join(TIERS)}")
        elif TIERS.index(rule.tier) < tier:
            yield FieldError(where, "invalid", f"stands after a later tier than {rule.tier}")
        else:
            tier = TIERS.index(rule.tier)
        yield from _rule_faults(where, rule, configuration)


def _rule_faults(
    where: str, rule: NodeRule, configuration: NodeConfiguration
) -> Iterator[FieldError]:
    if not _RULE_ID.fullmatch(rule.id):
        yield FieldError(f"{where}.id", "invalid", f"{rule.id[:40]!r} is no id of a rule")
    if rule.action not in _ACTIONS:
        yield FieldError(f"{where}.action", "invalid", f"must be one of {', '.join(_ACTIONS)}")
    for side in ("source", "destination", "within"):
        name = getattr(rule, side)
        if name is not None and name not in configuration.sets:
            yield FieldError(f"{where}.{side}", "unknown_set", f"there is no set {name[:40]!r}")
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


def _cidr_faults(where: str, cidrs: tuple[str, ...]) -> Iterator[FieldError]:
    try:
        minimal = parse_cidrs(cidrs).cidrs()
    except ValueError as exc:
        yield FieldError(where, "invalid", str(exc))
        return
    if minimal != cidrs:
        yield FieldError(where, "invalid", "must be minimal CIDRs in address order, IPv4 first")
