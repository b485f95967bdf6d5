"""Random filters of Aerleon's, written in both of its forms, and what they decide.

The oracle is Aerleon's documentation read slowly: terms in order, the first whose addresses,
protocol and ports match decides, `next` goes on, an expired term or one for another platform isn't
there, and a filter of one family sees no packet of the other.
"""

import random
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import yaml

NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "gre": 47, "sctp": 132, "89": 89}
PORTS = (1, 22, 53, 80, 443, 1024, 65535)
FOUR = ("10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.1.1.128/25", "10.1.1.7/32", "10.2.0.0/16")
SIX = ("2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::7/128", "2001:db8:2::/48")
HOSTS = ("10.0.0.1", "10.1.0.1", "10.1.1.1", "10.1.1.7", "10.1.1.200", "10.2.0.1", "192.0.2.1")
HOSTS6 = ("2001:db8::1", "2001:db8:1::1", "2001:db8:1::7", "2001:db8:2::1", "2001:db9::1")


@dataclass
class World:
    """Definitions by name, and the terms of one filter by keyword."""

    family: str
    networks: dict[str, list[str]] = field(default_factory=dict)
    services: dict[str, list[str]] = field(default_factory=dict)
    terms: list[dict[str, Any]] = field(default_factory=list)

    def addresses(self, name: str) -> set[Any]:
        return {
            each
            for item in self.networks[name]
            for each in (
                self.addresses(item) if item in self.networks else {ip_network(item, strict=False)}
            )
        }

    def ports(self, name: str) -> set[tuple[str, int, int]]:
        found: set[tuple[str, int, int]] = set()
        for item in self.services[name]:
            if item in self.services:
                found |= self.ports(item)
                continue
            ports, protocol = item.split("/")
            first, _, last = ports.partition("-")
            found.add((protocol, int(first), int(last or first)))
        return found


@dataclass(frozen=True)
class Packet:
    source: str
    destination: str
    protocol: int
    port: int = 0
    source_port: int = 0


def random_world(source: random.Random) -> World:
    world = World(source.choice(["mixed", "mixed", "inet", "inet6"]))
    pool = [*FOUR, *SIX]
    for number in range(source.randint(2, 5)):
        items = source.sample(pool, source.randint(1, 3))
        if number and source.random() < 0.3:
            items.append(f"NET_{source.randrange(number)}")
        world.networks[f"NET_{number}"] = items
    for number in range(source.randint(2, 5)):
        items = []
        for _ in range(source.randint(1, 3)):
            first = source.choice(PORTS)
            last = source.choice([first, *(each for each in PORTS if each > first)])
            ports = str(first) if first == last else f"{first}-{last}"
            items += [
                f"{ports}/{each}"
                for each in source.sample(["tcp", "udp", "sctp"], source.randint(1, 2))
            ]
        if number and source.random() < 0.3:
            items.append(f"SVC_{source.randrange(number)}")
        world.services[f"SVC_{number}"] = list(dict.fromkeys(items))
    for number in range(source.randint(1, 7)):
        world.terms.append({"name": f"term-{number}", **_term(source, world)})
    return world


def _term(source: random.Random, world: World) -> dict[str, Any]:
    term: dict[str, Any] = {}
    names = list(world.networks)
    if source.random() < 0.1:
        term["address"] = source.sample(names, 1)
    else:
        for side in ("source", "destination"):
            if source.random() < 0.6:
                term[f"{side}-address"] = source.sample(names, source.randint(1, 2))
            if source.random() < 0.2:
                term[f"{side}-exclude"] = source.sample(names, 1)
    shape = source.random()
    if shape < 0.5:
        protocols = source.sample(["tcp", "udp", "sctp"], source.randint(1, 2))
        fitting = [
            name for name in world.services if {p for p, _, _ in world.ports(name)} & set(protocols)
        ]
        if fitting:
            term["protocol"] = protocols
            if source.random() < 0.15:
                term["port"] = [source.choice(fitting)]
            else:
                for side in ("destination", "source"):
                    if source.random() < (0.8 if side == "destination" else 0.2):
                        term[f"{side}-port"] = source.sample(
                            fitting, min(len(fitting), source.randint(1, 2))
                        )
    elif shape < 0.7:
        term["protocol"] = source.sample(list(NUMBERS), source.randint(1, 3))
    elif shape < 0.8:
        term["protocol-except"] = source.sample(list(NUMBERS), source.randint(1, 2))
    if source.random() < 0.1:
        term["platform"] = [source.choice(["juniper", "cisco"])]
    if source.random() < 0.1:
        term["platform-exclude"] = [source.choice(["juniper", "cisco"])]
    if source.random() < 0.1:
        term["expiration"] = ["2001-12-31"]
    if source.random() < 0.1:
        term["restrict-address-family"] = [source.choice(["inet", "inet6"])]
    if source.random() < 0.3:
        term["logging"] = ["true"]
    term["action"] = [source.choice(["accept", "accept", "deny", "reject", "next"])]
    return term


def random_packet(source: random.Random) -> Packet:
    hosts = source.choice([HOSTS, HOSTS6])
    protocol = source.choice([6, 6, 6, 17, 17, 132, 1, 58, 47, 89, 200])
    ports: tuple[int, ...] = (0, 0)
    if protocol in (6, 17, 132):
        around = [each + by for each in PORTS for by in (-1, 0, 1) if 0 <= each + by <= 65535]
        ports = (source.choice(around), source.choice(around))
    return Packet(source.choice(hosts), source.choice(hosts), protocol, *ports)


def decided(world: World, packet: Packet) -> str:
    """Return allow, deny or reject; of what no term decides, deny."""
    version = ip_address(packet.source).version
    if version not in {"mixed": (4, 6), "inet": (4,), "inet6": (6,)}[world.family]:
        return "deny"
    for term in world.terms:
        if not _is_there(term) or not _matches(world, term, packet):
            continue
        if term["action"] != ["next"]:
            return {"accept": "allow", "deny": "deny", "reject": "reject"}[term["action"][0]]
    return "deny"


def _is_there(term: dict[str, Any]) -> bool:
    if "expiration" in term or "juniper" in term.get("platform-exclude", ()):
        return False
    return "juniper" in term.get("platform", ["juniper"])


def _matches(world: World, term: dict[str, Any], packet: Packet) -> bool:
    version = ip_address(packet.source).version
    if term.get("restrict-address-family", [f"inet{'6' if version == 6 else ''}"]) != [
        "inet" if version == 4 else "inet6"
    ]:
        return False
    if "address" in term and not (
        _inside(world, term["address"], packet.source)
        or _inside(world, term["address"], packet.destination)
    ):
        return False
    for side, host in (("source", packet.source), ("destination", packet.destination)):
        if f"{side}-address" in term and not _inside(world, term[f"{side}-address"], host):
            return False
        if f"{side}-exclude" in term and _inside(world, term[f"{side}-exclude"], host):
            return False
    protocols = {NUMBERS[each] for each in term.get("protocol", ())}
    if protocols and packet.protocol not in protocols:
        return False
    if packet.protocol in {NUMBERS[each] for each in term.get("protocol-except", ())}:
        return False
    spoken = term.get("protocol", ())
    if "port" in term and not (
        _among(world, term["port"], spoken, packet.port)
        or _among(world, term["port"], spoken, packet.source_port)
    ):
        return False
    if "destination-port" in term and not _among(
        world, term["destination-port"], spoken, packet.port
    ):
        return False
    return "source-port" not in term or _among(
        world, term["source-port"], spoken, packet.source_port
    )


def _inside(world: World, names: list[str], host: str) -> bool:
    return any(ip_address(host) in net for name in names for net in world.addresses(name))


def _among(world: World, names: list[str], protocols: Any, port: int) -> bool:
    # The ports of every protocol of the term count for each of them (TranslatePorts).
    return any(
        first <= port <= last
        for name in names
        for protocol, first, last in world.ports(name)
        if protocol in protocols
    )


def write_classic(world: World, folder: Path) -> Path:
    definitions = folder / "def"
    definitions.mkdir()
    for suffix, names in (("net", world.networks), ("svc", world.services)):
        lines = []
        for name, items in names.items():
            lines += [f"{name} = {items[0]} # first", *(f"  {item}" for item in items[1:]), ""]
        (definitions / f"all.{suffix}").write_text("\n".join(lines))
    text = f'header {{\n  comment:: "a\nfilter"\n  target:: juniper f {world.family}\n}}\n'
    for term in world.terms:
        text += f"term {term['name']} {{\n"
        for keyword, words in term.items():
            if keyword != "name":
                text += f"  {keyword}:: {' '.join(words)}\n"
        text += "}\n"
    policy = folder / "filter.pol"
    policy.write_text(text)
    return policy


def write_yaml(world: World, folder: Path) -> Path:
    definitions = folder / "def"
    definitions.mkdir()
    networks = {
        name: {"values": [{"name": i} if i in world.networks else {"address": i} for i in items]}
        for name, items in world.networks.items()
    }
    services = {
        name: [_service(world, each) for each in items] for name, items in world.services.items()
    }
    (definitions / "all.yaml").write_text(
        yaml.safe_dump({"networks": networks, "services": services})
    )
    terms = [
        {
            key: (words if key == "name" else words[0] if len(words) == 1 else words)
            for key, words in term.items()
        }
        for term in world.terms
    ]
    header = {"targets": {"juniper": f"f {world.family}"}, "comment": "a filter"}
    policy = folder / "filter.yaml"
    policy.write_text(yaml.safe_dump({"filters": [{"header": header, "terms": terms}]}))
    return policy


def _service(world: World, item: str) -> dict[str, str]:
    if item in world.services:
        return {"name": item}
    port, protocol = item.split("/")
    return {"port": port, "protocol": protocol}
