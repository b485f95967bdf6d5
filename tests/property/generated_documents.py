"""Single documents of generated worlds.

Everything is drawn from few names, labels, addresses and ports, so that documents meet.
"""

from copy import deepcopy
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any, NamedTuple

from tests.property import oracle
from tests.property.choices import Choices
from tests.property.oracle_inheritance import Document

Spec = dict[str, Any]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SITE = "s1"
NODES = ("n1", "n2")
REGIONS = {"west": None, "bay": "west", "cove": "bay", "east": None}
GROUPS = ("rack", "shelf", "slot")
TENANTS = ("common", "common", "common", "blue", "blue", "red")
NETWORKS = ("A", "B", "C", "D")
SERVICES = ("web", "dns", "odd")
POLICIES = ("p0", "p1", "p2", "p3")
LABELS = {"zone": ("a", "b"), "tier": ("web", "db"), "env": ("prod", "dev")}

# A tenant's addresses may not overlap another tenant's; common's may overlap all.
V4 = {"common": "10.0.0.{}", "blue": "10.0.1.{}", "red": "10.0.2.{}"}
V6 = {"common": "2001:db8::{:x}", "blue": "2001:db8:0:1::{:x}", "red": "2001:db8:0:2::{:x}"}
WIDE = ("10.0.0.0/8", "10.0.0.0/22", "10.0.1.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32")

PORTS = (22, "80", 443, "80-90", "85-443", 0, "65535", "1024-65535", "0-65535")
PROTOCOLS = ("tcp", "udp", "tcp", 6, 17, "sctp", 132, "icmp", "icmpv6", 1, 47, "any")
FLOW_PROTOCOLS = ("tcp", "tcp", "udp", "sctp", "icmp", "icmpv6", 6, 1, 47, 255)
TEST_SERVICES = ("tcp/22", "tcp/80", "udp/443", "6/65535", "tcp/80-90", "icmp", "sctp/0")
ODD_SERVICES = ("icmpv6", "47", "tcp", "17", "300", "icmp/1")
TIMES = (None, None, "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z")


def document(kind: str, metadata: Spec, spec: Spec) -> Document:
    """Return a document; a tenant and a scope that are their defaults are left out."""
    if metadata.get("tenant") == "common":
        del metadata["tenant"]
    if metadata.get("scope") in ("federation", "site"):
        del metadata["scope"]
    return {"apiVersion": "hanse/v1", "kind": kind, "metadata": metadata, "spec": spec}


def tenant_of(each: Document) -> str:
    return str(each["metadata"].get("tenant", "common"))


def name_of(each: Document) -> str:
    return str(each["metadata"]["name"])


def scope_of(each: Document, usual: str) -> str:
    return str(each["metadata"].get("scope", usual))


def outwards(scope: str) -> list[str]:
    """Return an FSM scope and those around it, the nearest first."""
    found = []
    region = scope.removeprefix("region/") if scope != "federation" else None
    while region is not None:
        found.append(f"region/{region}")
        region = REGIONS[region]
    return [*found, "federation"]


class Focus(NamedTuple):
    """The network, service and policy that a world is about, each a tenant and a name.

    Drawn often, so that their definitions in several scopes meet, and rules use them.
    """

    network: tuple[str, str]
    service: tuple[str, str]
    policy: tuple[str, str]


# Labels and selectors.


def labels(choose: Choices) -> dict[str, str]:
    return {key: choose.pick(values) for key, values in LABELS.items() if choose.chance(55)}


def selector(choose: Choices) -> Spec:
    found: Spec = {}
    form = choose.pick(("all", "labels", "labels", "terms", "terms", "both"))
    if form in ("labels", "both"):
        key = choose.pick(tuple(LABELS))
        found["matchLabels"] = {key: choose.pick(LABELS[key])}
    if form in ("terms", "both"):
        key = choose.pick(tuple(LABELS))
        operator = choose.pick(("In", "NotIn", "Exists", "DoesNotExist"))
        term: Spec = {"key": key, "operator": operator}
        if operator in ("In", "NotIn"):
            term["values"] = choose.pick(([LABELS[key][0]], list(LABELS[key])))
        found["matchExpressions"] = [term]
    return found


# Networks, services, workloads.


def subnet(choose: Choices, tenant: str) -> str:
    if tenant == "common" and choose.chance(15):
        return str(choose.pick(WIDE))
    last = choose.number(0, 15) * 16
    if choose.chance(30):
        # /124 and /128 of few addresses, and a whole /64 now and then.
        length = choose.pick((124, 128, 120, 64))
        return str(ip_network((V6[tenant].format(last), length), strict=False))
    length = choose.pick((28, 32, 27, 26, 24))
    return str(ip_network((V4[tenant].format(last), length), strict=False))


def network_spec(choose: Choices, tenant: str, *, empty: int) -> Spec:
    if choose.chance(empty):
        return {"sealed": True} if choose.chance(10) else {}
    spec: Spec = {"subnets": choose.some(lambda: subnet(choose, tenant), 1, 3)}
    if choose.chance(30):
        spec["vlan"] = choose.number(1, 4094)
    if choose.chance(15):
        spec["sealed"] = choose.chance(80)
    return spec


def entry(choose: Choices) -> Spec:
    protocol = choose.pick(PROTOCOLS)
    found: Spec = {"protocol": protocol}
    if oracle.number(protocol) in oracle.WITH_PORTS:
        if choose.chance(80):
            found["ports"] = choose.some(lambda: choose.pick(PORTS), 1, 2)
        if choose.chance(35):
            found["sourcePorts"] = choose.some(lambda: choose.pick(PORTS), 1, 2)
    return found


def service_spec(choose: Choices, *, empty: int) -> Spec:
    if choose.chance(empty):
        return {}
    spec: Spec = {"entries": choose.some(lambda: entry(choose), 1, 3)}
    if choose.chance(50):
        spec["sealed"] = choose.chance(25)
    return spec


def either(
    choose: Choices, focus: tuple[str, str], others: tuple[str, ...], percent: int = 40
) -> tuple[str, str]:
    """Return a tenant and a name: the focus's, or of all those that there are."""
    if choose.chance(percent):
        return focus
    return choose.pick(TENANTS), choose.pick(others)


def names(
    choose: Choices, scopes: tuple[str, ...], focus: Focus, least: int, most: int
) -> list[Document]:
    """Return declarations and definitions of Networks and Services at the scopes."""
    found = []
    for _ in range(choose.number(least, most)):
        scope = choose.pick(scopes)
        if choose.chance(70):
            tenant, name = either(choose, focus.network, NETWORKS)
            metadata = {"name": name, "tenant": tenant, "scope": scope, "labels": labels(choose)}
            found.append(document("Network", metadata, network_spec(choose, tenant, empty=25)))
        else:
            tenant, name = either(choose, focus.service, SERVICES)
            metadata = {"name": name, "tenant": tenant, "scope": scope}
            found.append(document("Service", metadata, service_spec(choose, empty=25)))
    return found


def workload(choose: Choices) -> Document:
    tenant = choose.pick(TENANTS)
    metadata = {"name": f"w{choose.number(0, 5)}", "tenant": tenant, "labels": labels(choose)}
    spec: Spec = {}
    hosts = choose.some(lambda: choose.number(0, 15) * 16 + choose.pick((0, 1, 15)), 0, 2)
    if hosts:
        spec["addresses"] = [
            (V6 if choose.chance(30) else V4)[tenant].format(host) for host in hosts
        ]
    if choose.chance(75):
        spec["node"] = choose.pick(NODES)
    return document("Workload", metadata, spec)


# Policies.


def peer(choose: Choices, known: list[str], focus: str, *, local: bool) -> Spec:
    form = choose.pick(("network",) * 4 + ("networks", "workloads") + ("cidr",) * local)
    if form == "network" and known:
        return {"network": focus if focus in known and choose.chance(40) else choose.pick(known)}
    if form == "cidr":
        return {"cidr": subnet(choose, choose.pick(tuple(V4)))}
    return {choose.pick(("networks", "workloads")): selector(choose)}


def rules(
    choose: Choices,
    focus: Focus,
    known_networks: list[str],
    known_services: list[str],
    *,
    local: bool,
) -> list[Spec]:
    def side() -> Any:
        if choose.chance(20):
            return "any"
        return choose.some(
            lambda: peer(choose, known_networks, focus.network[1], local=local), 1, 2
        )

    def service() -> Spec:
        if known_services and choose.chance(60):
            named = focus.service[1] in known_services and choose.chance(40)
            return {"service": focus.service[1] if named else choose.pick(known_services)}
        return entry(choose)

    found = []
    for place in range(choose.number(1, 3)):
        rule: Spec = {"name": f"r{place}", "from": side(), "to": side()}
        form = choose.pick(("left out", "any", "listed", "listed", "listed"))
        if form == "any":
            rule["services"] = "any"
        elif form == "listed":
            rule["services"] = choose.some(service, 1, 3)
        rule["action"] = choose.pick(("allow", "deny", "reject", "pass"))
        if choose.chance(20):
            rule["log"] = choose.chance(80)
        found.append(rule)
    return found


def policy_spec(
    choose: Choices, tenant: str, focus: Focus, declared: list[Document], *, local: bool
) -> Spec:
    """Return a policy that names only what `declared` declares in its tenant or common."""
    visible = [each for each in declared if tenant_of(each) in (tenant, "common")]
    found: Spec = {
        "rules": rules(
            choose,
            focus,
            sorted({name_of(each) for each in visible if each["kind"] == "Network"}),
            sorted({name_of(each) for each in visible if each["kind"] == "Service"}),
            local=local,
        )
    }
    if choose.chance(60):
        # "0..99 only in tenant common"
        found["priority"] = choose.pick((100, 500, 1000) + (0, 99) * (tenant == "common"))
    if choose.chance(15):
        found["stage"] = choose.pick(("staged", "staged", "enforced"))
    return found


def global_policy(
    choose: Choices, scopes: tuple[str, ...], focus: Focus, names: list[Document]
) -> Document:
    scope = choose.pick(scopes)
    tenant, name = either(choose, focus.policy, POLICIES, 30)
    # "declared on the FSM at the policy's own scope or further out"
    declared = [each for each in names if scope_of(each, "federation") in outwards(scope)]
    spec = policy_spec(choose, tenant, focus, declared, local=False)
    if choose.chance(70):
        spec["enforcement"] = choose.pick(("default", "mandatory", "mandatory"))
    if choose.chance(30):
        spec["sites"] = selector(choose)
    if choose.chance(30):
        spec["onConflict"] = choose.pick(("merge", "keepLocal", "applyGlobal"))
    metadata = {"name": name, "tenant": tenant, "scope": scope}
    return document("SecurityPolicy", metadata, spec)


def local_policy(
    choose: Choices, scopes: tuple[str, ...], focus: Focus, declared: list[Document]
) -> Document:
    tenant, name = either(choose, focus.policy, (*POLICIES, "l0", "l1"), 30)
    metadata = {"name": name, "tenant": tenant, "scope": choose.pick(scopes)}
    spec = policy_spec(choose, tenant, focus, declared, local=True)
    return document("SecurityPolicy", metadata, spec)


def override(
    choose: Choices,
    scopes: tuple[str, ...],
    focus: Focus,
    targets: list[Document],
    declared: list[Document],
) -> Document:
    target = choose.pick(targets)
    kind, tenant, name = target["kind"], tenant_of(target), name_of(target)
    if kind == "SecurityPolicy":
        spec = policy_spec(choose, tenant, focus, declared, local=True)
    elif kind == "Network":
        spec = network_spec(choose, tenant, empty=5)
    else:
        spec = service_spec(choose, empty=5)
    aim = {"kind": kind, "name": name}
    if tenant != "common" or choose.chance(20):
        aim["tenant"] = tenant
    scope = choose.pick(scopes)
    body: Spec = {"target": aim, "reason": "it must work", "spec": spec}
    expires = choose.pick(TIMES)
    if expires is not None:
        body["expiresAt"] = expires
    if choose.chance(50):
        # Both sides began with one version; most often they still have much in common.
        body["basedOn"] = {"revision": 1, "spec": edited(choose, target["spec"])}
        if choose.chance(60):
            body["spec"] = edited(choose, body["basedOn"]["spec"])
            body["spec"].pop("enforcement", None)
            body["spec"].pop("sites", None)
    bearing = f"{kind}-{tenant}-{name}-{scope}".replace("/", ".")
    return document("Override", {"name": bearing, "tenant": tenant, "scope": scope}, body)


def edited(choose: Choices, spec: Spec) -> Spec:
    """Return a spec with a few edits, or none: fields, and rules removed, changed and moved."""
    after: Spec = deepcopy(spec)
    listed = after.get("rules", [])
    for _ in range(choose.number(0, 2)):
        form = choose.pick(("change", "change", "remove", "move", "priority", "stage"))
        if "rules" not in after:
            continue
        if form == "priority":
            after["priority"] = choose.pick((100, 500, 900))
        elif form == "stage":
            after["stage"] = choose.pick(("staged", "enforced"))
        elif listed:
            rule = listed.pop(choose.number(0, len(listed) - 1))
            if form == "change":
                rule["action"] = choose.pick(("allow", "deny", "pass"))
            if form != "remove":
                listed.insert(choose.number(0, len(listed)), rule)
    return after


# Policy tests.


def end_of_flow(choose: Choices) -> Spec:
    """Return an end of a test's flow; it may stand for nothing."""
    if choose.chance(25):
        return {choose.pick(("networks", "workloads")): {}}
    form = choose.pick(("address", "network", "networks", "networks", "workload", "workloads"))
    if form == "network":
        return {"network": choose.pick(NETWORKS)}
    if form == "workload":
        return {"workload": f"w{choose.number(0, 5)}"}
    if form == "address":
        pool = choose.pick((V4, V4, V6))
        return {"address": pool[choose.pick(tuple(pool))].format(choose.number(0, 255))}
    return {form: selector(choose)}


def policy_test(choose: Choices, node: str | None) -> Document:
    flows = []
    for _ in range(choose.number(1, 4)):
        flow = {
            "from": end_of_flow(choose),
            "to": end_of_flow(choose),
            "service": choose.pick((*SERVICES, *TEST_SERVICES * 2, *ODD_SERVICES)),
            "expect": choose.pick(("allow", "deny", "reject")),
        }
        if choose.chance(30):
            flow["sourcePort"] = choose.pick((0, 80, 49152))
        flows.append(flow)
    spec: Spec = {"site": SITE, "flows": flows}
    if node is not None:
        spec["node"] = node
    return document("PolicyTest", {"name": "t", "tenant": choose.pick(TENANTS)}, spec)
