"""PolicyTests decided by trying packets; part of the oracle, see oracle.py.

Of all packets that a test speaks of, one is tried of every class that no rule of the view tells
apart.  A verdict can change only where some rule's network or port range begins or has just
ended, so the first value of every stretch between such places stands for the whole stretch.
"""

import itertools
from ipaddress import ip_address, ip_network
from typing import Any

from tests.property import oracle
from tests.property.oracle_inheritance import Asking, Document, local_documents, name_of, tenant_of
from tests.property.oracle_names import lookup, selected_networks, selected_workloads

Flow = dict[str, Any]


def outcomes(test: Document, asking: Asking) -> list[bool]:
    """Return, for each flow of a PolicyTest, whether it holds in the asked view."""
    seen = oracle.view(asking)
    return [
        flow_holds(asking, tenant_of(test), seen, expected) for expected in test["spec"]["flows"]
    ]


def flow_holds(asking: Asking, tenant: str, seen: oracle.View, expected: dict[str, Any]) -> bool:
    """Return whether the expectation holds "for *every* packet".

    "`deny` also accepts `reject`"; "an end that stands for nothing, ends without a common family,
    and an unknown name" fail: all three leave no packet to try.
    """
    accepted = {"deny": ("deny", "reject")}.get(expected["expect"], (expected["expect"],))
    tried = packets(asking, tenant, seen, expected)
    return bool(tried) and all(oracle.judge(seen, packet).verdict in accepted for packet in tried)


def packets(asking: Asking, tenant: str, seen: oracle.View, expected: dict[str, Any]) -> list[Flow]:
    """Return one packet of every class that the expectation speaks of."""
    sources = address_classes(seen, end(asking, tenant, expected["from"]))
    targets = address_classes(seen, end(asking, tenant, expected["to"]))
    services = service_classes(
        seen, entries(asking, tenant, expected["service"]), expected.get("sourcePort")
    )
    return [
        {"from": str(source), "to": str(target), **service}
        for source, target in itertools.product(sources, targets)
        if source.version == target.version
        for service in services
    ]


def end(asking: Asking, tenant: str, given: dict[str, Any]) -> list[Any]:
    """Return the networks that an end of a test's flow stands for."""
    addresses: list[str] = []
    if "address" in given:
        addresses = [given["address"]]
    if "network" in given:
        found = lookup(asking, "Network", tenant, given["network"])
        addresses = found.spec["subnets"] if found else []
    if "networks" in given:
        for each in selected_networks(asking, tenant, given["networks"]):
            addresses = addresses + each.spec["subnets"]
    if "workloads" in given:
        for workload in selected_workloads(asking, tenant, given["workloads"]):
            addresses = addresses + workload["spec"].get("addresses", [])
    if "workload" in given:
        # "A workload is looked up in the test's own tenant, then in `common`."
        for owner in (tenant, "common"):
            bearing = [
                each
                for _, each in local_documents(asking.world, asking.site, "Workload")
                if tenant_of(each) == owner and name_of(each) == given["workload"]
            ]
            if bearing:
                addresses = bearing[0]["spec"].get("addresses", [])
                break
    return [ip_network(text) for text in addresses]


def entries(asking: Asking, tenant: str, service: str) -> list[dict[str, Any]]:
    """Return what a test's service stands for: "a Service name or `tcp/5432` (`icmp` alone where
    there are no ports)".
    """
    protocol, slash, port = service.partition("/")
    if slash:
        if number_of(protocol) not in oracle.WITH_PORTS:
            return []
        return [{"protocol": number_of(protocol), "ports": [port]}]
    if service in ("icmp", "icmpv6") or service.isdigit():
        # "A protocol with ports needs one."
        alone = number_of(service)
        return [] if alone in oracle.WITH_PORTS or alone > 255 else [{"protocol": alone}]
    found = lookup(asking, "Service", tenant, service)
    return found.spec["entries"] if found else []


def number_of(protocol: str) -> Any:
    return int(protocol) if protocol.isdigit() else oracle.number(protocol)


def address_classes(seen: oracle.View, networks: list[Any]) -> list[Any]:
    """Return one address of every class among `networks` that no rule tells apart."""
    borders = set()
    for rule in seen.rules:
        for side in (rule.source, rule.target, rule.within):
            for network in side if isinstance(side, list) else []:
                borders.add(network.network_address)
                if int(network.broadcast_address) + 1 < 2**network.max_prefixlen:
                    borders.add(network.broadcast_address + 1)
    found: dict[Any, Any] = {}
    for network in networks:
        inside = {each for each in borders if each in network}
        for address in [network.network_address, *sorted(inside)]:
            told = tuple(
                oracle.holds(side, address)
                for rule in seen.rules
                for side in (rule.source, rule.target, rule.within or [])
            )
            found.setdefault((address.version, told), ip_address(address))
    return list(found.values())


def service_classes(
    seen: oracle.View, wanted: list[dict[str, Any]], source_port: int | None
) -> list[Flow]:
    """Return one protocol, port and source port of every class that no rule tells apart."""
    mentioned = [each for rule in seen.rules if rule.services != "any" for each in rule.services]
    found: dict[Any, Flow] = {}
    for entry in wanted:
        for protocol in protocols(entry, mentioned):
            if protocol not in oracle.WITH_PORTS:
                # A packet without ports comes from no source port.
                candidates: list[Flow] = [{"protocol": protocol}] if source_port is None else []
            else:
                candidates = [
                    {"protocol": protocol, "port": port, "sourcePort": source}
                    for port in stretches(entry.get("ports"), mentioned, "ports")
                    for source in stretches(entry.get("sourcePorts"), mentioned, "sourcePorts")
                    if source_port is None
                ]
                if source_port is not None and oracle.port_within(
                    entry.get("sourcePorts", ["0-65535"]), source_port
                ):
                    candidates = [
                        {"protocol": protocol, "port": port, "sourcePort": source_port}
                        for port in stretches(entry.get("ports"), mentioned, "ports")
                    ]
            for flow in candidates:
                told = tuple(oracle.services_match(rule.services, flow) for rule in seen.rules)
                found.setdefault((protocol, told), flow)
    return list(found.values())


def protocols(entry: dict[str, Any], mentioned: list[dict[str, Any]]) -> list[int]:
    """Return the protocols to try: of `any`, those that rules mention and one that none does."""
    protocol = oracle.number(entry["protocol"])
    if protocol != "any":
        return [protocol]
    known = {oracle.number(each["protocol"]) for each in mentioned} - {"any"}
    known |= set(oracle.WITH_PORTS)
    return sorted(known) + [each for each in range(256) if each not in known][:1]


def stretches(ports: list[Any] | None, mentioned: list[dict[str, Any]], field: str) -> list[int]:
    """Return the first port of every stretch among `ports` (None: all) that rules tell apart."""
    borders = set()
    for each in mentioned:
        for first, last in map(oracle.port_range, each.get(field, [])):
            borders |= {first, last + 1}
    found = set()
    for first, last in map(oracle.port_range, ports or ["0-65535"]):
        found |= {first} | {border for border in borders if first <= border <= last}
    return sorted(found)
