"""Whether a compiled ruleset says what its workload says: verdicts of both on many flows.

The workload is read as its format's text puts it (first match wins), not by any of the planner's
code; the ruleset by tests.property.nft_text.  Both are packed into rows, so that 100,000 flows on
10,000 rules take seconds.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from ipaddress import ip_network
from random import Random
from typing import Any

from shared.algebra import intervals
from shared.algebra.cidrs import BITS, AddressSet, Family
from shared.algebra.intervals import Intervals
from shared.algebra.rows import Collector, Rows
from shared.policy.nodeconfig import Packet
from tests.property.nft_text import Line, Ruleset, read, word

PROTOCOLS = {"tcp": 6, "udp": 17}
_VERDICTS = {"accept": "allow", "deny": "deny"}
_FAMILIES: tuple[Family, ...] = (4, 6)
_AIMED = 0.9
"""This share of the flows is aimed at a rule; the rest goes anywhere."""


def differing_verdicts(workload: dict[str, Any], text: str, flows: int, seed: int) -> int:
    """Return how many of so many random flows get another verdict from the ruleset than from the
    workload; without a rule that matches the site denies.
    """
    reading = Reading(workload)
    judge = RulesetJudge(read(text))
    return sum(
        judge.verdict(packet) != reading.verdict(packet)
        for packet in reading.flows(Random(seed), flows)
    )


class Reading:
    """A workload's own verdicts."""

    def __init__(self, workload: dict[str, Any]) -> None:
        self.workload = workload
        networks = {name: _address_set(texts) for name, texts in workload["networks"].items()}
        rules = [
            Line(
                None,
                (),
                (),
                PROTOCOLS[workload["services"][rule["service"]]["proto"]],
                None,
                intervals.from_ranges(map(tuple, workload["services"][rule["service"]]["ports"])),
                _VERDICTS[rule["action"]],
            )
            for rule in workload["rules"]
        ]
        self._verdicts = [rule.verdict for rule in rules]
        union = cache(lambda names: AddressSet().union(*(networks[name] for name in names)))
        sides = [
            (union(tuple(rule["src"])), union(tuple(rule["dst"]))) for rule in workload["rules"]
        ]
        self._rows = {
            family: _Packed(
                (source.of(family), destination.of(family), rule)
                for (source, destination), rule in zip(sides, rules, strict=True)
            )
            for family in _FAMILIES
        }

    def verdict(self, packet: Packet) -> str:
        rows = self._rows[packet.family].matching(packet)
        return self._verdicts[_lowest(rows)] if rows else "deny"

    def flows(self, random: Random, count: int) -> Iterable[Packet]:
        """Yield flows, most of them at the borders of what some rule says."""
        rules, networks = self.workload["rules"], self.workload["networks"]
        services, names = self.workload["services"], list(self.workload["networks"])
        for _ in range(count):
            if rules and random.random() < _AIMED:
                rule = random.choice(rules)
                sources, destinations = rule["src"], rule["dst"]
                service = services[rule["service"]]
            else:
                sources = destinations = names
                service = random.choice([*services.values()] or [{"proto": "tcp", "ports": []}])
            source = _border(random, networks, sources, None)
            family = source[0]
            destination = _border(random, networks, destinations, family)
            low, high = random.choice(service["ports"] or [[0, 65535]])
            port = random.choice([low, high, low - 1, high + 1, random.randint(low, high)])
            yield Packet(
                family,
                source[1],
                destination[1],
                random.choice([PROTOCOLS[service["proto"]]] * 9 + [6, 17, 132]),
                random.randrange(65536),
                min(max(port, 0), 65535),
            )


class RulesetJudge:
    """A ruleset's verdicts, chain by chain, quickly."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._policy = word(ruleset.policy)
        self._chains = [
            (
                [word(line.verdict) for line in chain],
                {
                    family: _Packed(
                        (_meet(line.sources), _meet(line.destinations), line)
                        if line.family in (None, family)
                        else ((), (), line)
                        for line in chain
                    )
                    for family in _FAMILIES
                },
            )
            for chain in ruleset.chains
        ]

    def verdict(self, packet: Packet) -> str:
        for verdicts, families in self._chains:
            rows = families[packet.family].matching(packet)
            if rows and (found := verdicts[_lowest(rows)]) != "return":
                return found
        return self._policy


class _Packed:
    """Which lines match a packet of a family, as bits."""

    def __init__(self, lines: Iterable[tuple[Intervals | None, Intervals | None, Line]]) -> None:
        sources, destinations = Collector(), Collector()
        ports: dict[int, tuple[Collector, Collector]] = {}
        self._any = 0
        for place, (source, destination, line) in enumerate(lines):
            bit = 1 << place
            sources.put(source, bit)
            destinations.put(destination, bit)
            if line.protocol is None:
                self._any |= bit
            else:
                pair = ports.setdefault(line.protocol, (Collector(), Collector()))
                pair[0].put(line.source_ports, bit)
                pair[1].put(line.ports, bit)
        self._sources, self._destinations = sources.rows(), destinations.rows()
        self._ports: dict[int, tuple[Rows, Rows]] = {
            protocol: (pair[0].rows(), pair[1].rows()) for protocol, pair in ports.items()
        }

    def matching(self, packet: Packet) -> int:
        rows = self._sources.of(packet.source)
        rows = rows and rows & self._destinations.of(packet.destination)
        if not rows or packet.protocol not in self._ports:
            return rows & self._any
        source_ports, ports = self._ports[packet.protocol]
        asked = source_ports.of(packet.source_port) & ports.of(packet.port)
        return rows & (self._any | asked)


def _lowest(rows: int) -> int:
    return (rows & -rows).bit_length() - 1


def _meet(sets: Sequence[Intervals]) -> Intervals | None:
    """Return what lies in all of the sets; None without any."""
    found = None
    for each in sets:
        found = each if found is None else intervals.intersection(found, each)
    return found


def _address_set(texts: Iterable[str]) -> AddressSet:
    ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for text in texts:
        network = ip_network(text)
        ranges[network.version].append(
            (int(network.network_address), int(network.broadcast_address))
        )
    return AddressSet(intervals.from_ranges(ranges[4]), intervals.from_ranges(ranges[6]))


def _border(
    random: Random, networks: dict[str, list[str]], names: Sequence[str], family: Family | None
) -> tuple[Family, int]:
    """Return an address in, or next to, a prefix of one of the networks; of any family or one."""
    texts = [text for name in names[:3] for text in networks[name]] if len(names) <= 3 else (
        networks[random.choice(names)]
    )  # fmt: skip
    fitting = [text for text in texts if family is None or (":" in text) is (family == 6)]
    if not fitting:
        return family or 4, random.randrange(1 << BITS[family or 4])
    network = ip_network(random.choice(fitting))
    version: Family = 4 if network.version == 4 else 6
    first, last = int(network.network_address), int(network.broadcast_address)
    value = random.choice([first, last, random.randint(first, last), first - 1, last + 1])
    return version, min(max(value, 0), (1 << BITS[version]) - 1)
