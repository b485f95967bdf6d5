"""Real packets through the kernel get exactly the verdict that the node's configuration gives."""

import asyncio
import ipaddress
import os
import random
from collections import Counter

import pytest

from dsn.dataplane.nftables import NftablesDataPlane
from shared.algebra.cidrs import AddressSet, Family, parse_cidrs
from shared.policy.nodeconfig import (
    TIERS,
    Judge,
    NodeConfiguration,
    NodeRule,
    NodeService,
    Packet,
    Verdict,
)
from tests.contract.dataplanes import KernelBench, kernel_bench, make_rule, set_id
from tests.contract.frames import ICMP, ICMPV6, SCTP, TCP, UDP

pytestmark = pytest.mark.kernel

CONFIGURATIONS = 40
PACKETS = 250

# Ranges without a meaning of their own to a kernel, some of them neighbours.
BLOCKS = ("10.64.0.0/16", "10.65.0.0/16", "172.16.0.0/14", "2001:db8::/48", "fd64::/32")
# In IPv6, 0, 43, 44, 51 and 60 are headers on the way to a protocol; 47 and 132 are parsed.
PROTOCOLS: dict[Family, tuple[int, ...]] = {
    4: (TCP, UDP, SCTP, ICMP, 0, 2, 4, 41, 47, 89, 99, 255),
    6: (TCP, UDP, SCTP, ICMPV6, 4, 41, 47, 89, 99, 255),
}
PORTS = (0, 1, 22, 79, 80, 81, 443, 1023, 1024, 8000, 8080, 65534, 65535)


async def test_ten_thousand_packets_get_the_verdict_that_the_configuration_gives() -> None:
    seed = int(os.environ.get("HANSE_SEED", random.randrange(1 << 32)))
    source = random.Random(seed)
    seen: Counter[Verdict] = Counter()
    async with kernel_bench() as bench:
        for number in range(CONFIGURATIONS):
            wanted = random_configuration(source)
            await bench.plane.apply(wanted)
            assert (await bench.plane.read_back()).hash == wanted.hash(), f"HANSE_SEED={seed}"
            seen += await compare(
                bench, wanted, source, f"HANSE_SEED={seed} configuration {number}"
            )
            # What was let through is no longer known: every packet is a first one.
            bench.run("conntrack", "-F")
    assert seen.total() >= CONFIGURATIONS * PACKETS
    # The load says something only if every verdict was common.
    assert min(seen[verdict] for verdict in ("allow", "deny", "reject")) > 500, seen


async def compare(
    bench: KernelBench, wanted: NodeConfiguration, source: random.Random, label: str
) -> Counter[Verdict]:
    judge = Judge(wanted)
    packets = random_packets(wanted, source)
    expected: list[Verdict] = []
    counts: Counter[str] = Counter()
    for packet in packets:
        judgement = judge.judge(packet)
        expected.append("allow" if judgement is None else judgement.verdict)
        if judgement is not None:
            counts[judgement.rule.id if judgement.rule else "default"] += 1
            counts.update(rule.id for rule in judgement.passed)
    before = await bench.plane.counters()

    found = await bench.verdicts(packets)

    wrong = [
        (packet, want, got)
        for packet, want, got in zip(packets, expected, found, strict=True)
        if want != got
    ]
    assert not wrong, f"{label}: {wrong[:3]} under {wanted}"
    after = await bench.plane.counters()
    counted = {
        name: count.packets - before[name].packets
        for name, count in after.items()
        if count.packets != before[name].packets
    }
    assert counted == dict(counts), label
    return Counter(expected)


def random_configuration(source: random.Random) -> NodeConfiguration:
    sets = {set_id(number): random_cidrs(source) for number in range(6)}
    sets[set_id(0)] = ()
    sets[set_id(1)] = source.choice((("0.0.0.0/0",), ("::/0",), ("0.0.0.0/0", "::/0")))
    rules = [
        random_rule(source, f"{tier}-{number}", tier, list(sets))
        for tier in TIERS
        for number in range(source.randrange(8))
    ]
    return NodeConfiguration(
        node="node-1",
        default_action=source.choice(("allow", "deny")),
        addresses=random_cidrs(source),
        sets=sets,
        rules=tuple(rules),
    )


def random_rule(source: random.Random, name: str, tier: str, sets: list[str]) -> NodeRule:
    def perhaps(chance: float) -> str | None:
        return source.choice(sets) if source.random() < chance else None

    return make_rule(
        name,
        source.choice(("allow", "deny", "reject", "reject", "pass")),
        tier,
        source=perhaps(0.6),
        destination=perhaps(0.6),
        within=perhaps(0.25),
        services=random_services(source),
        log=source.random() < 0.2,
    )


def random_services(source: random.Random) -> tuple[NodeService, ...] | None:
    if source.random() < 0.3:
        return None
    services = {}
    for _ in range(source.randint(1, 4)):
        protocol = source.choice((TCP, TCP, UDP, UDP, SCTP, *PROTOCOLS[4], *PROTOCOLS[6]))
        ports = random_ports(source) if protocol in (TCP, UDP, SCTP) else None
        sources = random_ports(source) if protocol in (TCP, UDP, SCTP) else None
        services[protocol, sources] = NodeService(protocol, ports, sources)
    return tuple(services.values())


def random_ports(source: random.Random) -> tuple[tuple[int, int], ...] | None:
    if source.random() < 0.4:
        return None
    bounds = sorted(source.sample(PORTS, source.choice((2, 2, 4, 6))))
    ranges: list[tuple[int, int]] = []
    for first, last in zip(bounds[::2], bounds[1::2], strict=True):
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
    return tuple(ranges)


def random_cidrs(source: random.Random) -> tuple[str, ...]:
    found = []
    for _ in range(source.randint(1, 6)):
        block = ipaddress.ip_network(source.choice(BLOCKS))
        # Few bits below the block, so that sets meet and neighbour each other.
        length = min(block.max_prefixlen, block.prefixlen + source.choice((0, 1, 2, 3, 3, 64)))
        step = 1 << (block.max_prefixlen - length)
        offset = source.randrange(min(8, block.num_addresses // step)) * step
        found.append(f"{block.network_address + offset}/{length}")
    return parse_cidrs(found).cidrs()


def random_packets(wanted: NodeConfiguration, source: random.Random) -> list[Packet]:
    """Return packets at and beside the edges of all sets, none of them another's answer."""
    edges = {family: edge_addresses(wanted, family) for family in (4, 6)}
    own = {family: edge_addresses(wanted, family, own=True) for family in (4, 6)}
    ports = {0, 65535, 50_000}
    for rule in wanted.rules:
        for service in rule.services or ():
            for first, last in (*(service.ports or ()), *(service.source_ports or ())):
                ports |= {first - 1, first, last, last + 1} & set(range(65536))
    some_ports = sorted(ports)
    packets: dict[frozenset[object], Packet] = {}
    while len(packets) < PACKETS:
        family: Family = source.choice((4, 6))
        ends = [source.choice(own[family] or edges[family]), source.choice(edges[family])]
        source.shuffle(ends)
        protocol = source.choice(PROTOCOLS[family])
        if source.random() < 0.5:
            protocol = source.choice((TCP, UDP, SCTP))
        sport, port = 0, 0
        if protocol in (TCP, UDP, SCTP):
            sport, port = source.choice(some_ports), source.choice(some_ports)
        packet = Packet(family, ends[0], ends[1], protocol, sport, port)
        if ends[0] != ends[1]:
            key = frozenset({(ends[0], sport), (ends[1], port), protocol})
            packets.setdefault(key, packet)
    return list(packets.values())


def edge_addresses(wanted: NodeConfiguration, family: Family, *, own: bool = False) -> list[int]:
    texts = [wanted.addresses] if own else [wanted.addresses, *wanted.sets.values()]
    allowed: AddressSet = parse_cidrs(BLOCKS)
    found = set()
    for cidrs in texts:
        runs = parse_cidrs(cidrs).of(family)
        for start, end in zip(runs[::2], runs[1::2], strict=True):
            near = (start, end - 1, (start + end) // 2) + (() if own else (start - 1, end))
            found |= {value for value in near if value >= 0 and allowed.contains(family, value)}
    if not found and not own:
        found = set(allowed.of(family)[::2]) | {allowed.of(family)[0] + 9}
    return sorted(found)


async def test_a_stream_of_packets_meets_no_gap_during_fifty_replacements() -> None:
    """What is allowed before and after is never denied between, nor what is denied let through."""
    source = random.Random(7)
    always = make_rule(
        "always", "allow", destination=set_id(1), services=(NodeService(UDP, ((80, 80),)),)
    )
    never = make_rule("never", "deny", "mandatory", services=(NodeService(UDP, ((81, 81),)),))

    def version(number: int) -> NodeConfiguration:
        others = tuple(
            make_rule(
                f"other-{number}-{each}", "allow", services=(NodeService(TCP, ((each, each),)),)
            )
            for each in range(1, 40)
        )
        far = tuple(f"10.64.{(number * 7 + each) % 256}.0/24" for each in (0, 2))
        near = parse_cidrs(["10.65.0.0/24", *far]).cidrs()
        return NodeConfiguration(
            "node-1", "deny", near, {set_id(1): near, set_id(2): far[:1]}, (never, *others, always)
        )

    async with kernel_bench() as bench:
        await bench.plane.apply(version(0))
        done = asyncio.Event()

        async def stream() -> Counter[tuple[int, Verdict]]:
            found: Counter[tuple[int, Verdict]] = Counter()
            address = int(ipaddress.ip_address("10.65.0.77"))
            while not done.is_set():
                packets = [
                    Packet(
                        4,
                        source.getrandbits(16) + 0xC6120000,
                        address,
                        UDP,
                        source.randrange(65536),
                        port,
                    )
                    for port in (80, 81) * 40
                ]
                packets = list({each[:5]: each for each in packets}.values())
                for packet, verdict in zip(packets, await bench.verdicts(packets), strict=True):
                    found[packet.port, verdict] += 1
                bench.run("conntrack", "-F")
            return found

        async with asyncio.TaskGroup() as group:
            streaming = group.create_task(stream())
            for number in range(1, 51):
                # Every other time by one who knows nothing of the table and replaces it whole.
                stranger = NftablesDataPlane(namespace=bench.names.node)
                await (bench.plane if number % 2 else stranger).apply(version(number))
                if number % 2 == 0:
                    await bench.plane.read_back()
                await stranger.close()
            done.set()
        found = streaming.result()
    assert set(found) == {(80, "allow"), (81, "deny")}
    assert found.total() > 1000
