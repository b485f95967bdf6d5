"""Are these balancers that can be enforced exactly?  Pure."""

import re
from collections.abc import Iterator
from typing import Final

from dsn.dataplane.balance.table import family_of, packed
from shared.algebra.cidrs import format_address
from shared.errors import FieldError
from shared.policy.balancers import ALGORITHMS, Balancers, NodeBalancer
from shared.policy.nodeconfig import PORT_PROTOCOLS

_ID: Final = re.compile(r"[0-9a-f]{16}")
_LAST_PORT: Final = 65535


def balancer_faults(balancers: Balancers) -> Iterator[FieldError]:
    """Yield what is wrong with balancers, with its place."""
    if [each.id for each in balancers] != sorted({each.id for each in balancers}):
        yield FieldError("balancers", "invalid", "must be in order of ids, each once")
    for place, each in enumerate(balancers):
        yield from _faults(f"balancers[{place}]", each)
    yield from _overlaps(balancers)


def _faults(where: str, balancer: NodeBalancer) -> Iterator[FieldError]:
    if not _ID.fullmatch(balancer.id):
        yield FieldError(f"{where}.id", "invalid", f"{balancer.id[:40]!r} is no id of a balancer")
    if not _is_host(balancer.address):
        yield FieldError(f"{where}.address", "invalid", "must be one host's address")
        return
    if balancer.protocol not in PORT_PROTOCOLS:
        yield FieldError(f"{where}.protocol", "invalid", "must be tcp, udp or sctp")
    first, last = balancer.ports
    if not 0 <= first <= last <= _LAST_PORT:
        yield FieldError(f"{where}.ports", "invalid", "must be a range within 0-65535")
    if balancer.target is not None and not 1 <= balancer.target <= _LAST_PORT:
        yield FieldError(f"{where}.target", "invalid", "must be a port from 1 to 65535")
    if balancer.algorithm not in ALGORITHMS:
        yield FieldError(f"{where}.algorithm", "invalid", f"must be {' or '.join(ALGORITHMS)}")
    family = family_of(balancer.address)
    if not all(_is_host(each) and family_of(each) == family for each in balancer.backends):
        message = "must be addresses of the virtual address's family"
        yield FieldError(f"{where}.backends", "invalid", message)
    elif list(balancer.backends) != sorted(set(balancer.backends), key=packed):
        yield FieldError(f"{where}.backends", "invalid", "must be in order, each once")


def _overlaps(balancers: Balancers) -> Iterator[FieldError]:
    reach: dict[tuple[str, int], NodeBalancer] = {}
    for each in sorted(balancers, key=lambda each: each.ports):
        before = reach.get((each.address, each.protocol))
        if before is not None and each.ports[0] <= before.ports[1]:
            message = f"{before.id[:40]} and {each.id[:40]} share a port of {each.address[:40]}"
            yield FieldError("balancers", "duplicate", message)
        if before is None or each.ports[1] > before.ports[1]:
            reach[each.address, each.protocol] = each
    served = {each.address for each in balancers}
    for place, each in enumerate(balancers):
        if any(backend in served for backend in each.backends):
            message = "a virtual address is no backend"
            yield FieldError(f"balancers[{place}].backends", "invalid", message)


def _is_host(address: str) -> bool:
    try:
        value = int.from_bytes(packed(address), "big")
    except (OSError, ValueError):
        return False
    # Written in the one canonical way.
    return format_address(family_of(address), value) == address
