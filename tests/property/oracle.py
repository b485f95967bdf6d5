"""A slow and obvious reading of the contract of policy, to hold the planner against.

Written from the contract's sentences alone and sharing no code with the planner: documents are
plain dicts as YAML gives them, addresses are `ipaddress` objects, sets are lists, and every
question is answered from scratch.  Where a sentence decides something subtle it is quoted.

A world is `{"federation": [document, ...], "sites": {NAME: [document, ...]}, "tests": [...]}`.
A flow is `{"from", "to", "protocol", "port", "sourcePort"}`, as in a file of flows.

The oracle's other parts: oracle_inheritance.py (chain, policies in force), oracle_names.py (what
names stand for), oracle_printed.py (the form of `resolve`), oracle_policytest.py (PolicyTests).
"""

from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from tests.property.oracle_inheritance import (
    TIERS,
    Asking,
    Placed,
    World,
    local_documents,
    named,
    policies_in_force,
    site_document,
)
from tests.property.oracle_names import (
    Definition,
    lookup,
    own_addresses,
    selected_networks,
    selected_workloads,
)

NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
WITH_PORTS = (6, 17, 132)
EPHEMERAL = 49152
"""A flow's `sourcePort` if it is left out."""

Names = list[tuple[str, Definition]]
"""References as rules make them, each with what it resolved to."""


class Judgement(NamedTuple):
    """What becomes of a flow and who said so; all but the first two None in tier `site`."""

    verdict: str
    tier: str
    tenant: str | None
    policy: str | None
    rule: str | None


class Rule(NamedTuple):
    """An installed rule.

    `source` and `target` are lists of networks or "any"; `services` a list of entries or "any";
    `within` a list of networks, None in tenant common.
    """

    policy: Placed
    name: str
    action: str
    log: bool
    source: Any
    target: Any
    services: Any
    within: Any
    names: Names


class View(NamedTuple):
    """What a site or a node makes of all documents: its rules in order of evaluation."""

    default_action: str
    rules: list[Rule]
    unresolved: list[dict[str, str]]


# Rules.


def peers(asking: Asking, tenant: str, listed: Any) -> tuple[Any, Names, list[str]]:
    """Return a side's networks (or "any"), the names that gave them, and the unresolved ones."""
    if listed == "any":
        return "any", [], []
    addresses: list[str] = []
    names: Names = []
    unresolved = []
    for peer in listed:
        if "cidr" in peer:
            addresses.append(peer["cidr"])
        elif "workloads" in peer:
            for workload in selected_workloads(asking, tenant, peer["workloads"]):
                addresses += workload["spec"].get("addresses", [])
        elif "networks" in peer:
            # "A selector that matches nothing is simply empty, not unresolved."
            for given in selected_networks(asking, tenant, peer["networks"]):
                names.append((f"network:{given.name}", given))
                addresses += given.spec["subnets"]
        else:
            reference = f"network:{peer['network']}"
            found = lookup(asking, "Network", tenant, peer["network"])
            if found is None:
                # "that peer contributes nothing"
                unresolved.append(reference)
                continue
            names.append((reference, found))
            addresses += found.spec["subnets"]
    return [ip_network(text) for text in addresses], names, unresolved


def traffic(asking: Asking, tenant: str, listed: Any) -> tuple[Any, Names, list[str]]:
    """Return the entries of a rule's services (or "any"), their names and the unresolved ones."""
    if listed == "any":
        return "any", [], []
    entries: list[dict[str, Any]] = []
    names: Names = []
    unresolved = []
    for item in listed:
        if "service" not in item:
            entries.append(item)
            continue
        reference = f"service:{item['service']}"
        found = lookup(asking, "Service", tenant, item["service"])
        if found is None:
            unresolved.append(reference)
            continue
        names.append((reference, found))
        entries += found.spec["entries"]
    return entries, names, unresolved


def view(asking: Asking) -> View:
    """Return the rules of a site, or of one of its nodes, in order of evaluation."""
    rules = []
    unresolved: list[dict[str, str]] = []
    for policy in policies_in_force(asking):
        for rule in policy.spec["rules"]:
            source, source_names, no_source = peers(asking, policy.tenant, rule["from"])
            target, target_names, no_target = peers(asking, policy.tenant, rule["to"])
            services, service_names, no_services = traffic(
                asking, policy.tenant, rule.get("services", "any")
            )
            # "in the order of policies, rules, `from`, `to`, `services`, each once"
            for side, missing in (
                ("from", no_source),
                ("to", no_target),
                ("services", no_services),
            ):
                for reference in missing:
                    line = {
                        "policy": policy.name,
                        "tenant": policy.tenant,
                        "rule": rule["name"],
                        "side": side,
                        "reference": reference,
                    }
                    if line not in unresolved:
                        unresolved.append(line)
            # "A rule whose `from`, `to` or `services` list ends up empty is not installed, and
            # never widened to `any`; a partly resolved one is installed with what did resolve."
            if source == [] or target == [] or services == []:
                continue
            within = None if policy.tenant == "common" else own_addresses(asking, policy.tenant)
            names = [*source_names, *target_names, *service_names]
            log = rule.get("log", False)
            rules.append(
                Rule(
                    policy,
                    rule["name"],
                    rule["action"],
                    log,
                    source,
                    target,
                    services,
                    within,
                    names,
                )
            )
    default = site_document(asking)["spec"].get("defaultAction", "deny")
    return View(default, rules, unresolved)


# Verdicts.


def number(protocol: Any) -> Any:
    """Return a protocol's number, or "any"."""
    return protocol if protocol == "any" else NUMBERS.get(protocol, protocol)


def port_range(port: Any) -> tuple[int, int]:
    first, _, last = str(port).partition("-")
    return int(first), int(last or first)


def port_within(ports: list[Any], port: int) -> bool:
    return any(first <= port <= last for first, last in map(port_range, ports))


def entry_matches(entry: dict[str, Any], flow: dict[str, Any]) -> bool:
    protocol = number(entry["protocol"])
    if protocol == "any":
        return True
    if protocol != number(flow["protocol"]):
        return False
    if "ports" in entry and not port_within(entry["ports"], flow["port"]):
        return False
    return "sourcePorts" not in entry or port_within(
        entry["sourcePorts"], flow.get("sourcePort", EPHEMERAL)
    )


def services_match(services: Any, flow: dict[str, Any]) -> bool:
    return services == "any" or any(entry_matches(each, flow) for each in services)


def holds(networks: Any, address: Any) -> bool:
    """A network of the other family holds no address: "a v4 set matches v4 only, `any` both"."""
    return networks == "any" or any(address in network for network in networks)


def rule_matches(rule: Rule, flow: dict[str, Any]) -> bool:
    source, target = ip_address(flow["from"]), ip_address(flow["to"])
    if not holds(rule.source, source) or not holds(rule.target, target):
        return False
    # "matches only flows with at least one end among that tenant's own addresses"
    if rule.within is not None and not (holds(rule.within, source) or holds(rule.within, target)):
        return False
    return services_match(rule.services, flow)


def judge(seen: View, flow: dict[str, Any]) -> Judgement:
    """First match wins, over four tiers; "`pass` ends its tier"."""
    for tier in TIERS:
        for rule in seen.rules:
            if rule.policy.tier != tier or not rule_matches(rule, flow):
                continue
            if rule.action == "pass":
                break
            return Judgement(rule.action, tier, rule.policy.tenant, rule.policy.name, rule.name)
    return Judgement(seen.default_action, "site", None, None, None)


def verdict(
    world: World,
    site: str,
    node: str | None,
    flow: dict[str, Any],
    now: datetime,
    *,
    staged: bool = False,
) -> Judgement:
    return judge(view(Asking(world, site, node, now, staged)), flow)


def workload_addresses(asking: Asking) -> list[Any]:
    """Return the addresses of the node's own workloads: none before the node is admitted."""
    node = named(local_documents(asking.world, asking.site, "Node"), str(asking.node))
    if node["spec"].get("admission", "admitted") != "admitted":
        return []
    return [
        ip_address(text)
        for _, workload in local_documents(asking.world, asking.site, "Workload")
        if workload["spec"].get("node") == asking.node
        for text in workload["spec"].get("addresses", [])
    ]


def touches(asking: Asking, flow: dict[str, Any]) -> bool:
    """Return whether the node judges the flow at all.

    "Traffic with no end at an admitted workload of the node (the host's own, transit, its link
    to the SDSP) is never touched."
    """
    own = workload_addresses(asking)
    return ip_address(flow["from"]) in own or ip_address(flow["to"]) in own


def rule_touches(rule: Rule, own: list[Any]) -> bool:
    """Return whether a rule matches some packet with an end among `own`.

    The other end is tried at the first address of everything that the rule speaks of, which meets
    every overlap of two networks, and at one address of each family for `any`.
    """
    others = [ip_address("192.0.2.1"), ip_address("2001:db8:ffff::1"), *own]
    for side in (rule.source, rule.target, rule.within):
        if isinstance(side, list):
            others += [network.network_address for network in side]
    for mine in own:
        for other in others:
            if mine.version != other.version:
                continue
            for source, target in ((mine, other), (other, mine)):
                if not holds(rule.source, source) or not holds(rule.target, target):
                    continue
                if rule.within is None or holds(rule.within, source) or holds(rule.within, target):
                    return True
    return False
