"""Who may ask in a generated world, and flows that lie on the borders of what its rules say."""

from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_network
from random import Random
from typing import Any

from tests.property import oracle
from tests.property.generated_documents import FLOW_PROTOCOLS, NODES, NOW, SITE, Spec
from tests.property.oracle_inheritance import Asking, World


def views(world: World, *, now: datetime = NOW) -> Iterator[Asking]:
    """Yield every way to ask: the site and each node, without staged policies and with them."""
    for staged in (False, True):
        for node in (None, *NODES):
            yield Asking(world, SITE, node, now, staged)


def networks_of(seen: oracle.View) -> list[Any]:
    """Return every network that a rule of the view speaks of."""
    return [
        network
        for rule in seen.rules
        for side in (rule.source, rule.target, rule.within)
        if isinstance(side, list)
        for network in side
    ]


def borders(networks: list[Any]) -> list[Any]:
    """Return the first and last address of each network, and their neighbours outside."""
    found: set[Any] = {IPv4Address("192.0.2.1"), IPv6Address("2001:db8:ffff::1")}
    for network in networks:
        first, last = int(network.network_address), int(network.broadcast_address)
        kind = type(network.network_address)
        for value in (first - 1, first, last, last + 1):
            if 0 <= value < 2**network.max_prefixlen:
                found.add(kind(value))
    return sorted(found, key=lambda each: (each.version, each))


def border_ports(entries: list[Spec]) -> list[int]:
    found = {0, 49152, 65535}
    for each in entries:
        for port in each.get("ports", []) + each.get("sourcePorts", []):
            first, last = oracle.port_range(port)
            found |= {first - 1, first, last, last + 1}
    return sorted(port for port in found if 0 <= port <= 65535)


def flows(random: Random, world: World, seen: oracle.View, count: int) -> list[Spec]:
    """Return flows on the borders of a view's rules, most of them aimed at one of the rules."""
    hosts = [
        ip_network(text)
        for each in world["sites"][SITE]
        if each["kind"] == "Workload"
        for text in each["spec"].get("addresses", [])
    ]
    anywhere = borders(networks_of(seen) + hosts)
    entries = [each for rule in seen.rules if rule.services != "any" for each in rule.services]
    found = []
    for _ in range(count):
        aim = random.choice(seen.rules) if seen.rules and random.random() < 0.7 else None
        source = random.choice(_side(random, aim.source if aim else "any", anywhere))
        target = random.choice(
            [
                each
                for each in _side(random, aim.target if aim else "any", anywhere)
                if each.version == source.version
            ]
            or [source]
        )
        services = entries if aim is None or aim.services == "any" else aim.services
        found.append({"from": str(source), "to": str(target), **_service(random, services)})
    return found


def _side(random: Random, networks: Any, anywhere: list[Any]) -> list[Any]:
    return anywhere if networks == "any" or random.random() < 0.2 else borders(networks)[:-1]


def _service(random: Random, entries: list[Spec]) -> Spec:
    protocol: Any = random.choice(FLOW_PROTOCOLS)
    if entries and random.random() < 0.8:
        entries = [random.choice(entries)]
        protocol = entries[0]["protocol"] if entries[0]["protocol"] != "any" else protocol
    if oracle.number(protocol) not in oracle.WITH_PORTS:
        return {"protocol": protocol}
    ports = border_ports(entries)
    flow = {"protocol": protocol, "port": random.choice(ports)}
    if random.random() < 0.7:
        flow["sourcePort"] = random.choice(ports)
    return flow
