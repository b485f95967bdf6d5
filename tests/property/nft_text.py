"""A small reader of the ruleset that a site's policy is written as, and its verdicts.

Independent of what writes it: it knows nft's language as far as the text needs it, and walks
rules as the kernel does, one after the other.  A line that it doesn't know is an error.
"""

import re
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import NamedTuple

from shared.algebra import intervals
from shared.algebra.intervals import Intervals
from shared.policy.nodeconfig import Packet

PORTS = {"tcp": 6, "udp": 17, "sctp": 132}
VERDICTS = ("accept", "drop", "reject", "return")

_SET = re.compile(
    r"set (?P<name>\w+) \{ type (?P<type>\w+); flags interval; elements = \{ (?P<elements>.+) \} \}"
)
_RULE = re.compile(
    r"(?P<matches>.*?)counter (?:log )?(?P<verdict>\w+)(?: comment \"(?P<comment>[^\"]{1,128})\")?"
)
_MATCH = re.compile(
    r"(?:(?P<family>ip6?) (?P<end>saddr|daddr) @(?P<set>\w+)"
    r"|meta l4proto (?P<number>\d+)"
    r"|(?P<protocol>tcp|udp|sctp) (?P<port>sport|dport) (?P<value>@\w+|\d+(?:-\d+)?)) "
)
_AROUND = (
    "type filter hook forward priority filter",
    "ct state established,related accept",
    "icmpv6 type { 133, 134, 135, 136, 141, 142 } ip6 hoplimit 255 accept",
)


class Line(NamedTuple):
    """One rule: what it asks for, None for anything; ends may be asked for twice."""

    family: int | None
    sources: tuple[Intervals, ...]
    destinations: tuple[Intervals, ...]
    protocol: int | None
    source_ports: Intervals | None
    ports: Intervals | None
    verdict: str

    def matches(self, packet: Packet) -> bool:
        return (
            self.family in (None, packet.family)
            and all(intervals.contains(each, packet.source) for each in self.sources)
            and all(intervals.contains(each, packet.destination) for each in self.destinations)
            and self.protocol in (None, packet.protocol)
            and (
                self.source_ports is None
                or intervals.contains(self.source_ports, packet.source_port)
            )
            and (self.ports is None or intervals.contains(self.ports, packet.port))
        )


@dataclass
class Ruleset:
    """The chains in the order in which `forward` jumps to them."""

    policy: str = ""
    chains: list[list[Line]] = field(default_factory=list)

    def verdict(self, packet: Packet) -> str:
        """Return what becomes of a flow's first packet, in Hanse's words."""
        for chain in self.chains:
            line = next((each for each in chain if each.matches(packet)), None)
            if line is not None and line.verdict != "return":
                return word(line.verdict)
        return word(self.policy)


def word(verdict: str) -> str:
    return {"accept": "allow", "drop": "deny"}.get(verdict, verdict)


def read(text: str) -> Ruleset:
    """Read the text; ValueError on what isn't understood."""
    sets: dict[str, tuple[str, Intervals]] = {}
    chains: dict[str, list[Line]] = {}
    ruleset = Ruleset()
    at = ""
    lines = text.splitlines()
    if lines[0] != "table inet hanse_site {" or lines[-1] != "}":
        raise ValueError("no table around")
    for number, given in enumerate(lines[1:-1], start=2):
        line = given.strip()
        if found := _SET.fullmatch(line):
            if found["name"] in sets or at:
                raise ValueError(f"line {number}: set {found['name']} is out of place")
            sets[found["name"]] = (found["type"], _elements(found["type"], found["elements"]))
        elif line.startswith("chain "):
            at = line.split()[1]
            chains[at] = []
        elif line == "}":
            at = ""
        elif at == "forward":
            _take_forward(line, ruleset, chains)
        elif at and (found := _RULE.fullmatch(line)) and found["verdict"] in VERDICTS:
            chains[at].append(_line(found["matches"], found["verdict"], sets))
        else:
            raise ValueError(f"line {number} is not understood: {line}")
    return ruleset


def _take_forward(line: str, ruleset: Ruleset, chains: dict[str, list[Line]]) -> None:
    if line.startswith("jump "):
        ruleset.chains.append(chains[line.removeprefix("jump ")])
    elif line.startswith(_AROUND[0]):
        ruleset.policy = line.rpartition("policy ")[2].rstrip(";")
    elif line not in _AROUND:
        raise ValueError(f"not understood: {line}")


def _line(text: str, verdict: str, sets: dict[str, tuple[str, Intervals]]) -> Line:
    family = protocol = source_ports = ports = None
    ends: dict[str, list[Intervals]] = {"saddr": [], "daddr": []}
    at = 0
    while at < len(text):
        found = _MATCH.match(text, at)
        if found is None:
            raise ValueError(f"not understood: {text[at:]}")
        at = found.end()
        if found["family"]:
            family = 4 if found["family"] == "ip" else 6
            type_, values = sets[found["set"]]
            if type_ != f"ipv{family}_addr":
                raise ValueError(f"{found['set']} is of {type_}")
            ends[found["end"]].append(values)
        elif found["number"]:
            protocol = int(found["number"])
        else:
            protocol = PORTS[found["protocol"]]
            value = found["value"]
            given = sets[value[1:]][1] if value[0] == "@" else _ports(value)
            if found["port"] == "sport":
                source_ports = given
            else:
                ports = given
    return Line(
        family, tuple(ends["saddr"]), tuple(ends["daddr"]), protocol, source_ports, ports, verdict
    )


def _elements(type_: str, text: str) -> Intervals:
    """Return a set's elements; ValueError if they overlap, as nft would say."""
    ranges = []
    for each in text.split(", "):
        if type_ == "inet_service":
            ranges += intervals.to_ranges(_ports(each))
        else:
            network = ip_network(each)
            if type_ != f"ipv{network.version}_addr":
                raise ValueError(f"{each} in a set of {type_}")
            ranges.append((int(network.network_address), int(network.broadcast_address)))
    found = intervals.from_ranges(ranges)
    if intervals.size(found) != sum(last - first + 1 for first, last in ranges):
        raise ValueError(f"elements overlap: {text}")
    return found


def _ports(text: str) -> Intervals:
    first, _, last = text.partition("-")
    return intervals.from_ranges([(int(first), int(last or first))])
