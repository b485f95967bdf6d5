"""Worlds with network services: balancers, who may run them, and who declares them."""

from tests.property.choices import Choices, Rolled
from tests.property.generated_documents import (
    NETWORKS,
    NODES,
    REGIONS,
    SERVICES,
    SITE,
    TENANTS,
    TIMES,
    V4,
    V6,
    Spec,
    document,
    labels,
    selector,
)
from tests.property.generators import first_of_each_key, local_scopes, made_world
from tests.property.oracle_inheritance import Document, World

BALANCERS = ("shop", "mail")
POLICIES = ("all", "some")
OPTIONAL = {"loadBalancer": "optional"}
DECLARED = ((), ("loadBalancer",), ("loadBalancer",), ("loadBalancer", "firewall"), ("dns",))
_UPWARDS = ("federation", *(f"region/{name}" for name in REGIONS))


def balanced_world(choose: Choices) -> World:
    """Return a world in which most nodes balance something."""
    world = made_world(choose, live=True)
    local = world["sites"][SITE]
    for each in local:
        if each["kind"] == "Node":
            each["spec"]["services"] = list(choose.pick(DECLARED))
        if each["kind"] == "Workload" and choose.chance(70):
            each["spec"]["node"] = choose.pick(NODES)
    inwards = local_scopes([each for each in local if each["kind"] in ("Node", "NodeGroup")])
    above = [hosts(choose, choose.pick(_UPWARDS), choose.pick(TENANTS)) for _ in range(2)]
    above += choose.some(lambda: balancer(choose, choose.pick(_UPWARDS), local=False), 0, 3)
    above += choose.some(lambda: service_policy(choose, choose.pick(_UPWARDS)), 0, 2)
    here = [hosts(choose, choose.pick(("site", *inwards)), each) for each in (*V4, *V4)]
    here += choose.some(lambda: balancer(choose, choose.pick(inwards), local=True), 1, 4)
    here += choose.some(lambda: service_policy(choose, choose.pick(inwards)), 0, 2)
    if choose.chance(70):
        here.append(document("ServicePolicy", {"name": "all"}, {"services": OPTIONAL}))
    here += choose.some(lambda: exception(choose, choose.pick(inwards), above), 0, 2)
    there = {(each["kind"], str(each["metadata"])) for each in (*world["federation"], *local)}
    fresh = [each for each in here if (each["kind"], str(each["metadata"])) not in there]
    world["federation"] = first_of_each_key([*above, *world["federation"]], "federation")
    world["sites"][SITE] = first_of_each_key([*fresh, *local], "site")
    return world


def rolled_balanced_world(seed: int) -> World:
    return balanced_world(Rolled(seed))


def hosts(choose: Choices, scope: str, tenant: str) -> Document:
    """Return a network of a few single hosts, as virtual addresses have."""
    metadata = {"name": "V", "tenant": tenant, "scope": scope, "labels": labels(choose)}
    return document(
        "Network", metadata, {"subnets": choose.some(lambda: host(choose, tenant), 1, 3)}
    )


def host(choose: Choices, tenant: str) -> str:
    last = choose.number(0, 15) * 16
    if choose.chance(30):
        return V6[tenant].format(last) + "/128"
    return V4[tenant].format(last) + "/32"


def balancer(choose: Choices, scope: str, *, local: bool) -> Document:
    tenant = choose.pick(TENANTS)
    metadata = {"name": choose.pick(BALANCERS), "tenant": tenant, "scope": scope}
    return document("LoadBalancer", metadata, balancer_spec(choose, tenant, local=local))


def balancer_spec(choose: Choices, tenant: str, *, local: bool) -> Spec:
    spec: Spec = {
        "network": choose.pick(("V", "V", "V", *NETWORKS)),
        "ports": choose.some(lambda: port(choose), 1, 3),
        "backends": {"workloads": {} if choose.chance(70) else selector(choose)},
    }
    if choose.chance(30):
        spec["algorithm"] = choose.pick(("hash", "random"))
    if local and choose.chance(50):
        spec["addresses"] = [
            host(choose, tenant).partition("/")[0] for _ in range(choose.number(1, 3))
        ]
    if not local and choose.chance(30):
        spec["sites"] = selector(choose)
    return spec


def port(choose: Choices) -> Spec:
    if choose.chance(40):
        spec: Spec = {"service": choose.pick(SERVICES)}
    else:
        spec = {
            "protocol": choose.pick(("tcp", "tcp", "udp", "sctp")),
            "port": choose.pick((80, 443, "80-90", "8080", "0-65535")),
        }
    if choose.chance(50):
        spec["targetPort"] = choose.pick((8080, 1, 65535))
    return spec


def service_policy(choose: Choices, scope: str) -> Document:
    metadata = {"name": choose.pick(POLICIES), "scope": scope}
    spec: Spec = {
        "services": {
            name: choose.pick(("mandatory", "optional"))
            for name in choose.some_of(("loadBalancer", "loadBalancer", "firewall", "dns"))
        }
    }
    if scope in _UPWARDS:
        if choose.chance(30):
            spec["enforcement"] = choose.pick(("mandatory", "default"))
        if choose.chance(20):
            spec["sites"] = selector(choose)
    return document("ServicePolicy", metadata, spec)


def exception(choose: Choices, scope: str, above: list[Document]) -> Document:
    targets = [each for each in above if each["kind"] != "Network"] or above
    target = choose.pick(targets)
    kind = target["kind"]
    tenant = str(target["metadata"].get("tenant", "common"))
    if kind == "LoadBalancer":
        spec = balancer_spec(choose, tenant, local=True)
    elif kind == "Network":
        spec = {"subnets": [host(choose, tenant)]}
    else:
        spec = {"services": OPTIONAL if choose.chance(60) else {}}
    name = target["metadata"]["name"]
    body: Spec = {
        "target": {"kind": kind, "name": name, "tenant": tenant},
        "reason": "it must work",
        "spec": spec,
    }
    if (expires := choose.pick(TIMES)) is not None:
        body["expiresAt"] = expires
    bearing = f"x-{kind}-{tenant}-{name}-{scope}".replace("/", ".")
    return document("Override", {"name": bearing, "tenant": tenant, "scope": scope}, body)
