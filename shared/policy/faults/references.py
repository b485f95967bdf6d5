"""What a policy names, and faults of the policy by itself."""

from collections.abc import Callable, Iterator
from typing import Literal

from shared.ids import COMMON
from shared.model.base import Spec
from shared.model.policy import SecurityPolicy
from shared.policy.faults.fault import Fault, unknown
from shared.policy.inputs import Document

LOWEST_FREE_PRIORITY = 100


def references(
    spec: SecurityPolicy, root: str = "spec"
) -> Iterator[tuple[str, Literal["Network", "Service"], str]]:
    """Yield the path, kind and name of each network and service that a policy names."""
    for place, rule in enumerate(spec.rules):
        path = f"{root}.rules[{place}]"
        for side, peers in (("from", rule.from_), ("to", rule.to)):
            for index, peer in enumerate(() if peers == "any" else peers):
                if peer.network is not None:
                    yield f"{path}.{side}[{index}].network", "Network", peer.network
        for index, each in enumerate(() if rule.services == "any" else rule.services):
            if each.service is not None:
                yield f"{path}.services[{index}].service", "Service", each.service


def unknown_names(
    document: Document,
    spec: SecurityPolicy,
    tenant: str,
    declared: Callable[[str, str, str], bool],
    *,
    root: str = "spec",
    hint: str = "",
) -> Iterator[Fault]:
    """Yield the names that aren't declared for a policy of this tenant.

    `declared` answers for a kind, tenant and name.
    """
    for path, kind, name in references(spec, root):
        if not any(declared(kind, owner, name) for owner in {tenant, COMMON}):
            yield unknown(document, path, kind, name, hint)


def reserved_priority(
    document: Document, spec: SecurityPolicy, tenant: str, *, root: str = "spec"
) -> Iterator[Fault]:
    if tenant != COMMON and spec.priority < LOWEST_FREE_PRIORITY:
        message = (
            f"priorities 0 to 99 are for policies of tenant common; "
            f"use {LOWEST_FREE_PRIORITY} to 1000, not {spec.priority}"
        )
        yield Fault(document, f"{root}.priority", "priority_reserved", message)


def addresses(document: Document, spec: SecurityPolicy) -> Iterator[Fault]:
    """Yield the addresses in a global policy, which may hold none."""
    for place, rule in enumerate(spec.rules):
        for side, peers in (("from", rule.from_), ("to", rule.to)):
            for index, peer in enumerate(() if peers == "any" else peers):
                if peer.cidr is not None:
                    yield Fault(
                        document,
                        f"spec.rules[{place}].{side}[{index}].cidr",
                        "address_in_global_policy",
                        f"rule {rule.name} holds the address {peer.cidr}; a global policy names "
                        "only networks, workloads and services: give the address a Network's name",
                    )


def global_fields(document: Document, spec: Spec) -> Iterator[Fault]:
    """Yield what a site's own policy sets and only the federation's may."""
    for name in ("enforcement", "sites"):
        if getattr(spec, name, None) is not None:
            message = f"{name} is for policies of the federation; leave it out in a site's own"
            yield Fault(document, f"spec.{name}", "fsm_only", message)
