"""What is refused of a site's and the FSM's documents; part of the oracle, see oracle.py."""

from collections.abc import Iterator
from ipaddress import ip_network
from itertools import combinations
from typing import Any

from tests.property.oracle_inheritance import (
    Asking,
    Document,
    Found,
    World,
    chain,
    global_chain,
    global_documents,
    labels_of,
    local_documents,
    name_of,
    named,
    of_name,
    selects,
    site_document,
    tenant_of,
)
from tests.property.oracle_names import CONTENT, own_addresses, seals

Refusal = tuple[str, str, str, str, str]
"""A code, and the kind, tenant, scope and name of the document that is refused."""


def refusal(code: str, scope: str, document: Document) -> Refusal:
    return code, document["kind"], tenant_of(document), scope, name_of(document)


# Names in rules.


def references(policy: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for rule in policy["rules"]:
        for side in (rule["from"], rule["to"]):
            for peer in side if side != "any" else []:
                if "network" in peer:
                    yield "Network", peer["network"]
        for item in rule.get("services", "any") if rule.get("services", "any") != "any" else []:
            if "service" in item:
                yield "Service", item["service"]


def unknown(policy: dict[str, Any], tenant: str, declared: list[Document]) -> Iterator[str]:
    """Yield the code of each name that nothing among `declared` declares for the tenant."""
    for kind, name in references(policy):
        if not any(
            each["kind"] == kind and name_of(each) == name and tenant_of(each) in (tenant, "common")
            for each in declared
        ):
            yield f"unknown_{kind.lower()}"


def has_address(policy: dict[str, Any]) -> bool:
    return any(
        "cidr" in peer
        for rule in policy["rules"]
        for side in (rule["from"], rule["to"])
        if side != "any"
        for peer in side
    )


def reserved(policy: dict[str, Any], tenant: str) -> bool:
    """Return whether a priority is one of those "0..99 only in tenant common"."""
    return tenant != "common" and policy.get("priority", 500) < 100


# The FSM's documents.


def outwards(world: World, scope: str) -> list[str]:
    """Return an FSM scope and those further out, the nearest first."""
    found = []
    region = scope.removeprefix("region/") if scope != "federation" else None
    while region is not None:
        found.append(f"region/{region}")
        region = named(global_documents(world, "Region"), region)["spec"].get("parent")
    return [*found, "federation"]


def federation_refusals(world: World) -> set[Refusal]:
    found = set()
    policies = global_documents(world, "SecurityPolicy")
    names = global_documents(world, "Network") + global_documents(world, "Service")
    for scope, policy in policies:
        around = outwards(world, scope)
        spec, tenant = policy["spec"], tenant_of(policy)
        # "declared on the FSM at the policy's own scope or further out, in its tenant or `common`"
        declared = [each for where, each in names if where in around]
        found |= {refusal(code, scope, policy) for code in unknown(spec, tenant, declared)}
        if has_address(spec):
            found.add(refusal("address_in_global_policy", scope, policy))
        if reserved(spec, tenant):
            found.add(refusal("priority_reserved", scope, policy))
        # "under a mandatory one of the federation or of an outer region, whatever their `sites`
        # say"
        for where, outer in of_name(policies, tenant, name_of(policy)):
            if where in around[1:] and outer["spec"].get("enforcement") == "mandatory":
                found.add(refusal("mandatory_policy_exists", scope, policy))
    for scope, each in names:
        for where, outer in namesakes(names, each):
            if where in outwards(world, scope)[1:] and seals(each["kind"], where, outer["spec"]):
                found.add(refusal("sealed", scope, each))
    return found


def namesakes(found: Found, document: Document) -> Found:
    return [
        pair
        for pair in of_name(found, tenant_of(document), name_of(document))
        if pair[1]["kind"] == document["kind"]
    ]


# A site's documents.


def all_chains(asking: Asking) -> list[list[str]]:
    """Return the chain of the site, of each node, and of a node in each group alone."""
    found = [chain(asking)]
    for _, node in local_documents(asking.world, asking.site, "Node"):
        found.append(chain(asking._replace(node=name_of(node))))
    for _, group in local_documents(asking.world, asking.site, "NodeGroup"):
        alone = {
            "kind": "Node",
            "metadata": {"name": "alone"},
            "spec": {"groups": [name_of(group)]},
        }
        documents = [*asking.world["sites"][asking.site], alone]
        world = asking.world | {"sites": {asking.site: documents}}
        found.append(chain(asking._replace(world=world, node="alone"))[1:])
    return found


def site_refusals(asking: Asking) -> set[Refusal]:
    world, site = asking.world, asking.site
    upstream = global_chain(asking)
    site_labels = labels_of(site_document(asking))
    policies = global_documents(world, "SecurityPolicy")
    names = [
        pair
        for kind in CONTENT
        for pair in global_documents(world, kind) + local_documents(world, site, kind)
    ]
    local_scopes = {scope for places in all_chains(asking) for scope in places} - set(upstream)
    # "refuses one that is declared neither there nor upstream"
    declared = [each for scope, each in names if scope in upstream or scope in local_scopes]
    found = set()
    for scope, policy in local_documents(world, site, "SecurityPolicy"):
        spec, tenant = policy["spec"], tenant_of(policy)
        found |= {refusal(code, scope, policy) for code in unknown(spec, tenant, declared)}
        if reserved(spec, tenant):
            found.add(refusal("priority_reserved", scope, policy))
        # "One bearing the name of an inherited `mandatory` policy is refused"; what doesn't
        # select the site is not inherited.
        for where, outer in of_name(policies, tenant, name_of(policy)):
            if where in upstream and mandatory_here(outer, site_labels):
                found.add(refusal("mandatory_policy_exists", scope, policy))
    for scope, each in names:
        if scope in local_scopes and is_under_sealed(asking, scope, each, names):
            found.add(refusal("sealed", scope, each))
    overrides = local_documents(world, site, "Override")
    for place, (scope, override) in enumerate(overrides):
        target = override["spec"]["target"]
        tenant, spec = target.get("tenant", "common"), override["spec"]["spec"]
        if target["kind"] == "SecurityPolicy":
            found |= {refusal(code, scope, override) for code in unknown(spec, tenant, declared)}
            if reserved(spec, tenant):
                found.add(refusal("priority_reserved", scope, override))
        # "two on one target in one scope, expired ones too, are refused (`override_exists`), and
        # so is one on a target that a local namesake of any scope replaces"
        twice = any(
            where == scope and aim(other) == aim(override) for where, other in overrides[:place]
        )
        if twice or is_replaced(asking, target["kind"], tenant, target["name"]):
            found.add(refusal("override_exists", scope, override))
    return found


def mandatory_here(policy: Document, site_labels: dict[str, str]) -> bool:
    spec = policy["spec"]
    return spec.get("enforcement") == "mandatory" and selects(spec.get("sites", {}), site_labels)


def is_under_sealed(asking: Asking, scope: str, each: Document, names: Found) -> bool:
    """Return whether a sealed definition of the name is further out on some chain."""
    return any(
        where in places[places.index(scope) + 1 :] and seals(each["kind"], where, outer["spec"])
        for places in all_chains(asking)
        if scope in places
        for where, outer in namesakes(names, each)
    )


def aim(override: Document) -> tuple[str, str, str]:
    target = override["spec"]["target"]
    return target["kind"], target.get("tenant", "common"), target["name"]


def is_replaced(asking: Asking, kind: str, tenant: str, name: str) -> bool:
    """Return whether a local namesake, of whatever scope, replaces the inherited object."""
    local = of_name(local_documents(asking.world, asking.site, kind), tenant, name)
    inherited = [
        pair
        for pair in of_name(global_documents(asking.world, kind), tenant, name)
        if pair[0] in global_chain(asking)
    ]
    if not inherited:
        return False
    if kind in CONTENT:
        # What is sealed can't be hidden, and what has no content hides nothing.
        sealed = any(seals(kind, scope, each["spec"]) for scope, each in inherited)
        return not sealed and any(each["spec"].get(CONTENT[kind]) for _, each in local)
    # Of what doesn't select the site nothing is inherited that could be replaced.
    site_labels = labels_of(site_document(asking))
    inherited = [
        pair for pair in inherited if selects(pair[1]["spec"].get("sites", {}), site_labels)
    ]
    if not inherited or any(mandatory_here(each, site_labels) for _, each in inherited):
        return False
    return any(each["spec"].get("stage", "enforced") == "enforced" for _, each in local)


def addresses_clash(asking: Asking) -> bool:
    """Return whether two tenants share an address: "over all views of the site; `common` may
    overlap all".
    """
    nodes = [name_of(node) for _, node in local_documents(asking.world, asking.site, "Node")]
    held = {
        tenant: [
            ip_network(network)
            for node in (None, *nodes)
            for network in own_addresses(asking._replace(node=node), tenant)
        ]
        for tenant in ("blue", "red")
    }
    return any(
        one.version == other.version and one.overlaps(other)
        for first, second in combinations(held, 2)
        for one in held[first]
        for other in held[second]
    )
