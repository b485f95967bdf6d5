"""What names and selectors stand for in a view: a plain reading of the contract.

Part of the oracle, see oracle.py.
"""

from ipaddress import ip_network
from typing import Any, NamedTuple

from tests.property.oracle_inheritance import (
    Asking,
    Document,
    Found,
    chain,
    global_chain,
    global_documents,
    labels_of,
    local_documents,
    name_of,
    of_name,
    override_of,
    selects,
    tenant_of,
)

CONTENT = {"Network": "subnets", "Service": "entries"}


# Names.


class Definition(NamedTuple):
    """What a Network or Service name stands for in a view."""

    tenant: str
    name: str
    scope: str
    labels: dict[str, str]
    spec: dict[str, Any]


def on_chain(asking: Asking, kind: str) -> Found:
    scopes = chain(asking)
    found = global_documents(asking.world, kind) + local_documents(asking.world, asking.site, kind)
    return [pair for pair in found if pair[0] in scopes]


def seals(kind: str, scope: str, spec: dict[str, Any]) -> bool:
    """Return whether a definition hides nearer ones of its name.

    "Services on the FSM are sealed unless they say `sealed: false`; Networks only if they say
    `sealed: true`"; "a definition without subnets or entries seals nothing".
    """
    on_fsm = scope == "federation" or scope.startswith("region/")
    usual = kind == "Service" and on_fsm
    return bool(spec.get(CONTENT[kind])) and spec.get("sealed", usual)


def definition(asking: Asking, kind: str, tenant: str, name: str) -> Definition | None:
    """Return the definition that a name gives in one tenant; None if unresolved there."""
    inwards = chain(asking)[::-1]
    found = of_name(on_chain(asking, kind), tenant, name)
    counting: tuple[str, Document] | None = None
    target: tuple[str, Document] | None = None
    for scope in inwards:
        for where, document in found:
            if where != scope:
                continue
            if scope in global_chain(asking):
                target = where, document
            if document["spec"].get(CONTENT[kind]):
                # The nearest with subnets (or entries) counts: a nearer one takes over, ...
                counting = where, document
        if counting is not None and seals(kind, counting[0], counting[1]["spec"]):
            # ... unless one further out is sealed: "a nearer one is refused (`sealed`), and
            # does not count".
            break
    outwards = global_chain(asking)
    replaced = counting or target
    if target is not None and replaced is not None and replaced[0] in outwards:
        # "It replaces whichever inherited definition of that name is in force"; "It may target a
        # sealed definition".  Only the spec is replaced: the labels stay the target's.
        exception = override_of(asking, kind, tenant, name, replaced[1]["spec"])
        if exception is not None:
            if not exception.get(CONTENT[kind]):
                return None
            return Definition(tenant, name, "override", labels_of(replaced[1]), exception)
    if counting is None:
        return None
    scope, document = counting
    return Definition(tenant, name, scope, labels_of(document), document["spec"])


def declares(asking: Asking, kind: str, tenant: str, name: str) -> bool:
    return bool(of_name(on_chain(asking, kind), tenant, name))


def lookup(asking: Asking, kind: str, tenant: str, name: str) -> Definition | None:
    """Return what a policy of `tenant` means by a name; None if it is unresolved.

    "looked up in the policy's tenant if that declares the name on the asking chain, with or
    without subnets, else in `common`"
    """
    owner = tenant if declares(asking, kind, tenant, name) else "common"
    return definition(asking, kind, owner, name)


def selected_networks(asking: Asking, tenant: str, selector: dict[str, Any]) -> list[Definition]:
    """Return the definitions that `networks: SELECTOR` takes in a policy of `tenant`.

    "in a policy of `common`: every tenant's; else the policy's tenant's, and those of `common`
    that it doesn't declare"
    """
    declared = {(name_of(each), tenant_of(each)) for _, each in on_chain(asking, "Network")}
    found = []
    for name, owner in sorted(declared):
        if tenant != "common":
            if owner not in (tenant, "common"):
                continue
            if owner == "common" and (name, tenant) in declared:
                continue
        given = definition(asking, "Network", owner, name)
        if given is not None and selects(selector, given.labels):
            found.append(given)
    return found


def selected_workloads(asking: Asking, tenant: str, selector: dict[str, Any]) -> list[Document]:
    """Return "the site's workloads (in a policy of `common`: every tenant's; else the policy's
    tenant's and `common`'s)" that match.
    """
    return [
        each
        for _, each in local_documents(asking.world, asking.site, "Workload")
        if (tenant == "common" or tenant_of(each) in (tenant, "common"))
        and selects(selector, labels_of(each))
    ]


def own_addresses(asking: Asking, tenant: str) -> list[Any]:
    """Return "that tenant's own addresses at the site (its Networks as the asking view sees them,
    its Workloads)".
    """
    found: list[str] = []
    for name in {
        name_of(each) for _, each in on_chain(asking, "Network") if tenant_of(each) == tenant
    }:
        given = definition(asking, "Network", tenant, name)
        found += given.spec["subnets"] if given is not None else []
    for _, each in local_documents(asking.world, asking.site, "Workload"):
        if tenant_of(each) == tenant:
            found += each["spec"].get("addresses", [])
    return [ip_network(text) for text in found]
