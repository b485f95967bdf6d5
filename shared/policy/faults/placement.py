"""Faults of where a document is, and of what it hangs on: scopes, tenants, trees."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from shared.ids import COMMON, FEDERATION, SITE, Key
from shared.model.access import Role, RoleBinding
from shared.model.inventory import Node, NodeGroup, Region, Site, Workload
from shared.model.kinds import KINDS, Home
from shared.model.override import Override
from shared.policy.faults.fault import Fault, unknown
from shared.policy.graph import cycles
from shared.policy.inputs import Document, Documents
from shared.policy.scopes import group_parents, level_of, region_parents

_SCOPED: Final = {"region": "Region", "group": "NodeGroup", "node": "Node"}
_HOME_NAMES: Final[Mapping[Home, str]] = {"fsm": "the FSM", "sdsp": "an SDSP"}


def duplicates(documents: Documents) -> Iterator[Fault]:
    """Yield a fault for each document whose key an earlier one has."""
    first: dict[Key, Document] = {}
    for document in documents.given:
        other = first.setdefault(document.key, document)
        if other is not document:
            where = f" ({other.file}:{other.line})" if other.file else ""
            message = f"{document.key} is given twice{where}; remove or rename one"
            yield Fault(document, "metadata.name", "duplicate", message)


def placement(documents: Documents, home: Home, federation: Documents) -> Iterator[Fault]:
    """Yield faults of the kinds, scopes and tenants of one home's documents."""
    for document in documents.given:
        kind = KINDS.get(document.key.kind)
        if kind is None or home not in kind.scopes:
            other = " or ".join(_HOME_NAMES[each] for each in sorted(kind.scopes)) if kind else ""
            where = f"lives on {other}, not on" if kind else "is no kind known to"
            message = f"{document.key.kind} {where} {_HOME_NAMES[home]}"
            yield Fault(document, "kind", "wrong_home", message)
            continue
        yield from _scope(document, kind.scopes[home], documents)
        yield from _tenant(document, federation, tenanted=kind.tenanted)


def _scope(document: Document, levels: Sequence[str], documents: Documents) -> Iterator[Fault]:
    scope = document.key.scope
    level = level_of(scope)
    if level is None:
        message = (
            f"{scope!r} is no scope; use federation, region/NAME, site, group/NAME or node/NAME"
        )
        yield Fault(document, "metadata.scope", "unknown_scope", message)
    elif level not in levels:
        message = f"a {document.key.kind} here has scope {' or '.join(levels)}, not {scope}"
        yield Fault(document, "metadata.scope", "invalid_scope", message)
    elif level in _SCOPED:
        kind, name = _SCOPED[level], scope.partition("/")[2]
        if not _is_there(documents, kind, name):
            yield unknown(document, "metadata.scope", kind, name)


def _tenant(document: Document, federation: Documents, *, tenanted: bool) -> Iterator[Fault]:
    tenant = document.key.tenant
    if tenant != COMMON and not tenanted:
        message = f"a {document.key.kind} belongs to no tenant; leave metadata.tenant out"
        yield Fault(document, "metadata.tenant", "invalid_tenant", message)
    for path, name in _tenants(document):
        if name != COMMON and not _is_there(federation, "Tenant", name):
            yield unknown(document, path, "Tenant", name)


def _tenants(document: Document) -> Iterator[tuple[str, str]]:
    """Yield the tenants that a document names, with the path of each."""
    yield "metadata.tenant", document.key.tenant
    spec = document.spec
    if isinstance(spec, Override):
        yield "spec.target.tenant", spec.target.tenant
    elif isinstance(spec, RoleBinding):
        yield from _listed("spec.tenants", spec.tenants)
    elif isinstance(spec, Role):
        for place, grant in enumerate(spec.grants):
            yield from _listed(f"spec.grants[{place}].tenants", grant.tenants)


def _listed(path: str, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for place, name in enumerate(names):
        if name != "*":
            yield f"{path}[{place}]", name


def regions(federation: Documents) -> Iterator[Fault]:
    """Yield unknown regions and cycles of regions."""
    for document in federation.of_kind("Region", "Site"):
        spec = document.spec
        if isinstance(spec, Region):
            path, region = "spec.parent", spec.parent
        elif isinstance(spec, Site):
            path, region = "spec.region", spec.region
        else:
            continue
        if region is not None and not _is_there(federation, "Region", region):
            yield unknown(document, path, "Region", region)
    yield from _cycles(federation, "Region", FEDERATION, region_parents(federation))


def inventory(local: Documents) -> Iterator[Fault]:
    """Yield unknown groups and nodes, and cycles of groups."""
    for document in local.of_kind("NodeGroup", "Node", "Workload"):
        for path, kind, name in _named(document):
            if not _is_there(local, kind, name):
                yield unknown(document, path, kind, name, "at this site")
    yield from _cycles(local, "NodeGroup", SITE, group_parents(local))


def _named(document: Document) -> Iterator[tuple[str, str, str]]:
    spec = document.spec
    if isinstance(spec, NodeGroup) and spec.parent is not None:
        yield "spec.parent", "NodeGroup", spec.parent
    elif isinstance(spec, Node):
        for place, name in enumerate(spec.groups):
            yield f"spec.groups[{place}]", "NodeGroup", name
    elif isinstance(spec, Workload) and spec.node is not None:
        yield "spec.node", "Node", spec.node


def _cycles(
    documents: Documents, kind: str, scope: str, parents: Mapping[str, str | None]
) -> Iterator[Fault]:
    for cycle in cycles(parents):
        document = documents.get(Key(kind, COMMON, scope, cycle[0]))
        path = " -> ".join([*cycle, cycle[0]])
        yield Fault(document, "spec.parent", "cycle", f"{kind}s go round in a circle: {path}")


def _is_there(documents: Documents, kind: str, name: str) -> bool:
    scope = FEDERATION if kind in ("Region", "Site", "Tenant") else SITE
    return Key(kind, COMMON, scope, name) in documents
