"""Which parts of the contract a generated world exercises, found by asking the oracle twice."""

from collections.abc import Iterator
from random import Random
from typing import Any

from tests.property import oracle
from tests.property.borders import flows, views
from tests.property.generated_documents import SITE
from tests.property.oracle_inheritance import (
    Asking,
    Document,
    Found,
    Placed,
    World,
    chain,
    global_chain,
    global_documents,
    local_chain,
    local_documents,
    moment,
    name_of,
    policies_in_force,
    tenant_of,
    until_decided,
)
from tests.property.oracle_names import declares, definition, seals

FEATURES = frozenset(
    {
        *("decided in mandatory", "decided in local", "decided in default", "decided in site"),
        *("allow", "deny", "reject", "pass goes on with the next tier", "a flow of IPv6"),
        *("regions nest", "a node is in two groups", "a group is met twice"),
        *("a node differs from its site", "staged differs from enforced", "two nodes differ"),
        *("a policy of an inner region", "a policy isn't selected", "an override of a policy"),
        *("an override of a Network", "an override of a Service", "an expired override"),
        *("an override and its target are merged", "a target runs in spite of its override"),
        *("a default policy is replaced", "a local policy is suspended"),
        *("a policy is in the local tier", "a sealed name hides a nearer one"),
        *("a nearer name hides one further out", "a tenant declares what common defines"),
        *("unresolved network", "unresolved service", "a rule is partly resolved"),
        *("a rule isn't installed", "a rule of a tenant decides", "a tenant's bound decides"),
        *("a source port decides", "any protocol among services", "a workload without a node"),
        *("a node that isn't admitted", "a node judges a flow", "a node leaves a flow alone"),
    }
)


def features(world: World, seed: int) -> set[str]:
    """Return which of FEATURES the world has."""
    found = set(_of_documents(world))
    seen = {}
    for asking in views(world):
        seen[asking.node, asking.staged] = oracle.view(asking)
        found |= set(_of_inheritance(asking))
        found |= set(_of_rules(asking, seen[asking.node, asking.staged]))
        for flow in flows(Random(seed), world, seen[asking.node, asking.staged], 15):
            found |= set(_of_flow(asking, seen[asking.node, asking.staged], flow))
    lines = {who: [rule[1:] for rule in view.rules] for who, view in seen.items()}
    if lines[None, False] != lines["n1", False]:
        found.add("a node differs from its site")
    if lines["n2", False] != lines["n1", False]:
        found.add("two nodes differ")
    if lines["n1", True] != lines["n1", False]:
        found.add("staged differs from enforced")
    return found


def _of_documents(world: World) -> Iterator[str]:
    for _, each in local_documents(world, SITE, "Workload"):
        if "node" not in each["spec"]:
            yield "a workload without a node"
    for _, each in local_documents(world, SITE, "Node"):
        if each["spec"].get("admission", "admitted") != "admitted":
            yield "a node that isn't admitted"


def _of_inheritance(asking: Asking) -> Iterator[str]:
    outwards, inwards = global_chain(asking), local_chain(asking)
    if len(outwards) > 2:
        yield "regions nest"
    if asking.node is not None:
        node = next(
            each
            for _, each in local_documents(asking.world, SITE, "Node")
            if name_of(each) == asking.node
        )
        groups = node["spec"].get("groups", [])
        if len(groups) > 1:
            yield "a node is in two groups"
        lone = [len(local_chain(_alone(asking, group))) - 2 for group in groups]
        if sum(lone) > len(inwards) - 2:
            yield "a group is met twice"
    in_force = policies_in_force(asking)
    local = [
        (tenant_of(each), name_of(each))
        for scope, each in local_documents(asking.world, SITE, "SecurityPolicy")
        if scope in inwards
    ]
    exceptions = local_documents(asking.world, SITE, "Override")
    for policy in in_force:
        if policy.depth > 1 and policy.tier == "mandatory":
            yield "a policy of an inner region"
        if policy.tier == "default" and policy.origin == "local":
            yield "a default policy is replaced"
        if policy.tier == "local":
            yield "a policy is in the local tier"
        if policy.tier == "mandatory" and (policy.tenant, policy.name) in local:
            yield "a local policy is suspended"
        if policy.origin == "override":
            yield "an override of a policy"
            if all(policy.spec != each["spec"]["spec"] for _, each in exceptions):
                yield "an override and its target are merged"
        elif policy.tier != "local" and any(
            _aims_at(each, policy)
            and until_decided("SecurityPolicy", each["spec"], policy.spec) is None
            for _, each in exceptions
        ):
            yield "a target runs in spite of its override"
    placed = {(policy.tenant, policy.name) for policy in in_force}
    for scope, each in global_documents(asking.world, "SecurityPolicy"):
        if scope in outwards and asking.staged and (tenant_of(each), name_of(each)) not in placed:
            yield "a policy isn't selected"
    for _, each in exceptions:
        if "expiresAt" in each["spec"] and moment(each["spec"]["expiresAt"]) <= asking.now:
            yield "an expired override"
    for kind in ("Network", "Service"):
        documents = global_documents(asking.world, kind) + local_documents(asking.world, SITE, kind)
        yield from _of_names(asking, kind, documents)


def _aims_at(override: Document, policy: Placed) -> bool:
    aim = override["spec"]["target"]
    return (aim["kind"], aim.get("tenant", "common"), aim["name"]) == (
        *("SecurityPolicy", policy.tenant, policy.name),
    )


def _alone(asking: Asking, group: str) -> Asking:
    """Return a view of a node that is in one group only."""
    node = {"kind": "Node", "metadata": {"name": "alone"}, "spec": {"groups": [group]}}
    sites = {SITE: [*asking.world["sites"][SITE], node]}
    return asking._replace(world=asking.world | {"sites": sites}, node="alone")


def _of_names(asking: Asking, kind: str, documents: Found) -> Iterator[str]:
    scopes = chain(asking)
    content = {"Network": "subnets", "Service": "entries"}[kind]
    for tenant, name in {(tenant_of(each), name_of(each)) for _, each in documents}:
        given = definition(asking, kind, tenant, name)
        defined = [
            scope
            for scope, each in documents
            if scope in scopes and (tenant_of(each), name_of(each)) == (tenant, name)
            if each["spec"].get(content)
        ]
        if given is not None and given.scope == "override":
            yield f"an override of a {kind}"
        elif given is not None and len(defined) > 1:
            nearer = min(defined, key=scopes.index) != given.scope
            if nearer and seals(kind, given.scope, given.spec):
                yield "a sealed name hides a nearer one"
            if not nearer:
                yield "a nearer name hides one further out"
        if given is None and tenant != "common" and declares(asking, kind, tenant, name):
            common = definition(asking, kind, "common", name)
            yield from ["a tenant declares what common defines"] * (common is not None)


def _of_rules(asking: Asking, seen: oracle.View) -> Iterator[str]:
    for line in seen.unresolved:
        yield f"unresolved {line['reference'].partition(':')[0]}"
    installed = {(rule.policy.tenant, rule.policy.name, rule.name) for rule in seen.rules}
    for line in seen.unresolved:
        if (line["tenant"], line["policy"], line["rule"]) in installed:
            yield "a rule is partly resolved"
    written = {
        (policy.tenant, policy.name, rule["name"])
        for policy in policies_in_force(asking)
        for rule in policy.spec["rules"]
    }
    if written - installed:
        yield "a rule isn't installed"
    for rule in seen.rules:
        if rule.services != "any" and any(each["protocol"] == "any" for each in rule.services):
            yield "any protocol among services"


def _of_flow(asking: Asking, seen: oracle.View, flow: dict[str, Any]) -> Iterator[str]:
    said = oracle.judge(seen, flow)
    yield said.verdict
    yield f"decided in {said.tier}"
    if said.tier != "site":
        if ":" in flow["from"]:
            yield "a flow of IPv6"
        if said.tenant != "common":
            yield "a rule of a tenant decides"
    if said != oracle.judge(
        seen._replace(rules=[r for r in seen.rules if r.action != "pass"]), flow
    ):
        yield "pass goes on with the next tier"
    if said != oracle.judge(
        seen._replace(rules=[r._replace(within=None) for r in seen.rules]), flow
    ):
        yield "a tenant's bound decides"
    others = [flow | {"sourcePort": port} for port in (7, 22, 40000) if "port" in flow]
    if any(oracle.judge(seen, other) != said for other in others):
        yield "a source port decides"
    if asking.node is not None:
        touched = oracle.touches(asking, flow)
        yield "a node judges a flow" if touched else "a node leaves a flow alone"
