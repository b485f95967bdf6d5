"""Short ways to write the documents of a test's federation and site."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from shared.algebra.cidrs import parse_address
from shared.ids import Key
from shared.model.kinds import KINDS
from shared.model.traffic import parse_protocol
from shared.policy.inputs import Document, Documents, SiteInputs
from shared.policy.nodeconfig import Packet

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ANY = "any"


def document(
    kind: str,
    name: str,
    spec: Mapping[str, Any] | None = None,
    *,
    scope: str = "federation",
    tenant: str = "common",
    labels: Mapping[str, str] | None = None,
) -> Document:
    key = Key(kind, tenant, scope, name)
    return Document(key, KINDS[kind].spec.model_validate(spec or {}), labels or {})


def network(name: str, *subnets: str, **given: Any) -> Document:
    spec: dict[str, Any] = {"subnets": list(subnets)} if subnets else {}
    spec |= {field: given.pop(field) for field in ("vlan", "sealed") if field in given}
    return document("Network", name, spec, **given)


def service(name: str, *entries: Mapping[str, Any], **given: Any) -> Document:
    spec: dict[str, Any] = {"entries": list(entries)} if entries else {}
    spec |= {field: given.pop(field) for field in ("sealed",) if field in given}
    return document("Service", name, spec, **given)


def rule(
    name: str = "r",
    *,
    from_: Any = ANY,
    to: Any = ANY,
    services: Any = ANY,
    action: str = "allow",
) -> dict[str, Any]:
    return {"name": name, "from": from_, "to": to, "services": services, "action": action}


def policy(name: str, *rules: Mapping[str, Any], **given: Any) -> Document:
    fields = ("enforcement", "priority", "sites", "stage")
    spec: dict[str, Any] = {field: given.pop(field) for field in fields if field in given}
    return document("SecurityPolicy", name, {**spec, "rules": list(rules) or [rule()]}, **given)


def override(
    name: str,
    kind: str,
    target: str,
    spec: Mapping[str, Any],
    *,
    scope: str = "site",
    target_tenant: str = "common",
    **given: Any,
) -> Document:
    return document(
        "Override",
        name,
        {
            "target": {"kind": kind, "name": target, "tenant": target_tenant},
            "reason": "a test",
            "spec": spec,
            **given,
        },
        scope=scope,
    )


def workload(name: str, *addresses: str, node: str | None = None, **given: Any) -> Document:
    spec: dict[str, Any] = {"addresses": list(addresses)}
    if node is not None:
        spec["node"] = node
    return document("Workload", name, spec, scope="site", **given)


def node(name: str, *groups: str, **spec: Any) -> Document:
    return document("Node", name, {"groups": list(groups), **spec}, scope="site")


def group(name: str, parent: str | None = None) -> Document:
    return document("NodeGroup", name, {"parent": parent} if parent else {}, scope="site")


def region(name: str, parent: str | None = None) -> Document:
    return document("Region", name, {"parent": parent} if parent else {})


def tenant(name: str) -> Document:
    return document("Tenant", name)


def site(
    name: str = "s1",
    region: str | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> Document:
    return document("Site", name, {**({"region": region} if region else {}), **spec}, labels=labels)


def world(
    federation: Iterable[Document] = (),
    local: Iterable[Document] = (),
    *,
    now: datetime = NOW,
    at: Document | None = None,
) -> SiteInputs:
    """A site `s1` (or `at`) with the federation's documents and its own.

    Local documents may be given without a scope: then it is the site's.
    """
    own = at or site()
    here = [
        Document(each.key._replace(scope="site"), each.spec, each.labels)
        if each.key.scope == "federation"
        else each
        for each in local
    ]
    return SiteInputs(own.key.name, Documents([own, *federation]), Documents(here), now)


def packet(
    source: str,
    destination: str,
    protocol: str | int = "tcp",
    port: int = 0,
    source_port: int = 0,
) -> Packet:
    family, start = parse_address(source)
    _, end = parse_address(destination)
    number = parse_protocol(protocol)
    assert number != "any"
    return Packet(family, start, end, number, source_port, port)


def net(*names: str) -> list[dict[str, str]]:
    return [{"network": name} for name in names]
