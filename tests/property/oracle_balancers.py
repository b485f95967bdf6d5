"""What nodes balance: a plain reading of the contract, slow and written on its own.

Part of the oracle, see oracle.py.
"""

from ipaddress import ip_address, ip_network
from typing import Any

from tests.property import oracle
from tests.property.oracle_inheritance import (
    Asking,
    chain,
    existing,
    global_chain,
    local_chain,
    local_documents,
    name_of,
    named,
    nearest,
    of_name,
    override_of,
    tenant_of,
)
from tests.property.oracle_names import declares, lookup, selected_workloads

Balanced = tuple[str, str, str, int, tuple[int, int], int | None, str, tuple[str, ...]]
"""Tenant, name, address, protocol, ports, target port, algorithm, backends."""

_NUMBER = {"tcp": 6, "udp": 17, "sctp": 132}
_MOST = 16


def in_force(asking: Asking, kind: str) -> dict[tuple[str, str], tuple[str, bool, dict[str, Any]]]:
    """Return, by tenant and name, the scope of what counts, whether it is mandatory, its spec."""
    inherited, own = existing(asking, kind)
    found = {}
    for tenant, name in {(tenant_of(each), name_of(each)) for _, each in inherited + own}:
        above = of_name(inherited, tenant, name)
        mandatory = [pair for pair in above if pair[1]["spec"].get("enforcement") == "mandatory"]
        here = nearest(local_chain(asking), of_name(own, tenant, name))
        if here is not None and not mandatory:
            found[tenant, name] = here[0], False, here[1]["spec"]
            continue
        outermost = nearest(global_chain(asking)[::-1], mandatory)
        winner = outermost or nearest(global_chain(asking), above)
        if winner is None:
            continue
        spec = winner[1]["spec"]
        exception = override_of(asking, kind, tenant, name, spec)
        found[tenant, name] = winner[0], bool(mandatory), spec if exception is None else exception
    return found


def service_policy(asking: Asking) -> dict[str, str]:
    """Return the services that the one ServicePolicy which counts lists."""
    scopes = chain(asking)
    ranked = []
    for (tenant, name), (scope, mandatory, spec) in in_force(asking, "ServicePolicy").items():
        if tenant == "common":
            near = scopes.index(scope)
            ranked.append((not mandatory, -near if mandatory else near, name, spec))
    if not ranked:
        return {}
    return dict(min(ranked, key=lambda each: each[:3])[3]["services"])


def runs(asking: Asking) -> bool:
    """Return whether the node balances: it declares that, and the policy lists it."""
    assert asking.node is not None
    node = named(local_documents(asking.world, asking.site, "Node"), asking.node)
    declared = node["spec"].get("services", [])
    admitted = node["spec"].get("admission", "admitted") == "admitted"
    return admitted and "loadBalancer" in declared and "loadBalancer" in service_policy(asking)


def balanced(asking: Asking) -> set[Balanced]:
    """Return what the view's balancers come to."""
    found = sorted(in_force(asking, "LoadBalancer").items())
    wanted = [(key, spec, addresses_of(asking, key[0], spec)) for key, (_, _, spec) in found]
    virtual = {each for _, _, addresses in wanted for each in addresses}
    taken: list[tuple[str, int, int, int]] = []
    result = set()
    for (tenant, name), spec, addresses in wanted:
        backends = {
            str(ip_address(text))
            for each in selected_workloads(asking, tenant, spec["backends"]["workloads"])
            for text in each["spec"].get("addresses", [])
        }
        for address in sorted(addresses, key=_order):
            for protocol, first, last, target in ports_of(asking, tenant, spec):
                if any(
                    (where, what) == (address, protocol) and low <= last and first <= high
                    for where, what, low, high in taken
                ):
                    continue
                taken.append((address, protocol, first, last))
                version = ip_address(address).version
                answering = sorted(
                    (each for each in backends - virtual if ip_address(each).version == version),
                    key=_order,
                )
                result.add(
                    (
                        tenant,
                        name,
                        address,
                        protocol,
                        (first, last),
                        target,
                        spec.get("algorithm", "hash"),
                        tuple(answering),
                    )
                )
    return result


def addresses_of(asking: Asking, tenant: str, spec: dict[str, Any]) -> set[str]:
    name = spec["network"]
    owner = tenant if declares(asking, "Network", tenant, name) else "common"
    if owner != tenant:
        return set()
    meaning = lookup(asking, "Network", tenant, name)
    if meaning is None:
        return set()
    subnets = [ip_network(each) for each in meaning.spec["subnets"]]
    if spec.get("addresses"):
        asked = [ip_address(each) for each in spec["addresses"]]
        return {
            str(each)
            for each in asked
            if any(each.version == net.version and each in net for net in subnets)
        }
    if any(net.num_addresses > _MOST for net in subnets):
        return set()
    every = {str(each) for net in subnets for each in net}
    return every if len(every) <= _MOST else set()


def ports_of(
    asking: Asking, tenant: str, spec: dict[str, Any]
) -> list[tuple[int, int, int, int | None]]:
    found = []
    for each in spec["ports"]:
        target = each.get("targetPort")
        if "service" not in each:
            first, _, last = str(each["port"]).partition("-")
            found.append((_NUMBER[each["protocol"]], int(first), int(last or first), target))
            continue
        meaning = lookup(asking, "Service", tenant, each["service"])
        for protocol, first, last in service_ports(meaning.spec["entries"] if meaning else []):
            found.append((protocol, first, last, target))
    return found


def service_ports(entries: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    """Return the runs of ports that entries without source ports mean, by protocol."""
    if any(each["protocol"] == "any" for each in entries):
        return []
    ports: dict[int, set[int]] = {}
    for each in entries:
        protocol = oracle.number(each["protocol"])
        if protocol not in oracle.WITH_PORTS or "sourcePorts" in each:
            continue
        known = ports.setdefault(protocol, set())
        for text in each.get("ports", ["0-65535"]):
            first, _, last = str(text).partition("-")
            known.update(range(int(first), int(last or first) + 1))
    found = []
    for protocol, numbers in ports.items():
        for number in sorted(numbers):
            if number - 1 not in numbers:
                last = number
                while last + 1 in numbers:
                    last += 1
                found.append((protocol, number, last))
    return found


def _order(address: str) -> tuple[int, int]:
    parsed = ip_address(address)
    return parsed.version, int(parsed)
