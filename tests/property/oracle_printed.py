"""The form in which `resolve` answers, made plainly; part of the oracle, see oracle.py."""

from ipaddress import collapse_addresses
from typing import Any

from tests.property.oracle import NUMBERS, Rule, number, port_range, view
from tests.property.oracle_inheritance import Asking


def resolved(asking: Asking) -> dict[str, Any]:
    """Return what `hanse resolve -o json` prints."""
    seen = view(asking)
    return {
        "site": asking.site,
        "node": asking.node,
        "defaultAction": seen.default_action,
        "rules": [printed(rule, position) for position, rule in enumerate(seen.rules, 1)],
        "unresolved": seen.unresolved,
    }


def printed(rule: Rule, position: int) -> dict[str, Any]:
    # "`from`, then `to`, then services, a networks selector's in name order, each once"
    names: list[dict[str, Any]] = []
    for reference, given in rule.names:
        name = {"reference": reference, "tenant": given.tenant, "scope": given.scope}
        if "vlan" in given.spec:
            name["vlan"] = given.spec["vlan"]
        if name not in names:
            names.append(name)
    line = {
        "position": position,
        "tier": rule.policy.tier,
        "policy": rule.policy.name,
        "tenant": rule.policy.tenant,
        "rule": rule.name,
        "origin": rule.policy.origin,
        "action": rule.action,
        "log": rule.log,
        "from": minimal(rule.source),
        "to": minimal(rule.target),
        "services": printed_services(rule.services),
        "names": names,
    }
    if rule.within is not None:
        line["within"] = minimal(rule.within)
    return line


def minimal(networks: Any) -> Any:
    """Return "disjoint, merged CIDRs in address order, IPv4 before IPv6"."""
    if networks == "any":
        return "any"
    return [
        str(each)
        for version in (4, 6)
        for each in collapse_addresses([each for each in networks if each.version == version])
    ]


def merged_ports(ports: list[Any]) -> list[str] | None:
    """Return ports as merged ranges in order; None where they are all that there are."""
    runs: list[list[int]] = []
    for first, last in sorted(port_range(port) for port in ports):
        if runs and first <= runs[-1][1] + 1:
            runs[-1][1] = max(runs[-1][1], last)
        else:
            runs.append([first, last])
    if runs == [[0, 65535]]:
        return None
    return [str(first) if first == last else f"{first}-{last}" for first, last in runs]


def printed_services(entries: Any) -> Any:
    """Return one item per protocol and set of source ports, "in order of first mention"; "if one
    is `any`, the whole is `"any"`".
    """
    if entries == "any" or any(number(each["protocol"]) == "any" for each in entries):
        return "any"
    groups: list[tuple[Any, Any, list[Any]]] = []
    for each in entries:
        protocol = number(each["protocol"])
        sources = merged_ports(each["sourcePorts"]) if "sourcePorts" in each else None
        ports = each.get("ports", ["0-65535"])
        for known, known_sources, listed in groups:
            if (known, known_sources) == (protocol, sources):
                listed.extend(ports)
                break
        else:
            groups.append((protocol, sources, list(ports)))
    names = {value: name for name, value in NUMBERS.items()}
    items = []
    for protocol, sources, gathered in groups:
        item: dict[str, Any] = {"protocol": names.get(protocol, protocol)}
        ports = merged_ports(gathered)
        if ports is not None:
            item["ports"] = ports
        if sources is not None:
            item["sourcePorts"] = sources
        items.append(item)
    return items
