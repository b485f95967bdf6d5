"""Which tracked connections a balancer has led to where it wouldn't lead them now.  Pure."""

from collections.abc import Iterable, Iterator

from dsn.dataplane.netlink import Entry
from shared.algebra.cidrs import format_address, parse_cidrs
from shared.policy.balancers import Balancers, NodeBalancer
from shared.policy.nodeconfig import NodeConfiguration


def misled(
    entries: Iterable[Entry], before: Iterable[NodeBalancer], configuration: NodeConfiguration
) -> Iterator[Entry]:
    """Yield the connections of own workloads to a virtual address whose backend is none any more.

    `before` are balancers that may have led connections, whether they are still there or not.
    """
    now = configuration.balancers or ()
    asked: dict[tuple[str, int], list[NodeBalancer]] = {}
    for balancer in {each.id: each for each in (*before, *now)}.values():
        asked.setdefault((balancer.address, balancer.protocol), []).append(balancer)
    if not asked:
        return
    own = parse_cidrs(configuration.addresses)
    for entry in entries:
        original, reply = entry.original, entry.reply
        address = format_address(entry.family, original.destination)
        served = asked.get((address, original.protocol), ())
        if not any(each.serves(address, original.protocol, original.port) for each in served):
            continue
        backend = format_address(entry.family, reply.source)
        if own.contains(entry.family, original.source) and not leads(
            now, (address, original.protocol, original.port), (backend, reply.source_port)
        ):
            yield entry


def leads(balancers: Balancers, asked: tuple[str, int, int], to: tuple[str, int]) -> bool:
    """Return whether what was asked (address, protocol, port) may be answered by `to`."""
    backend, port = to
    return any(
        each.serves(*asked)
        and backend in each.backends
        and port == (asked[2] if each.target is None else each.target)
        for each in balancers
    )
