"""Which columns the tables of each kind have, and how their cells read.  Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from shared.cli.answers import Object
from shared.ids import COMMON

Cell = Callable[[Object], str]
Columns = tuple[tuple[str, Cell], ...]


def _spec(field: str, default: str = "") -> Cell:
    def cell(each: Object) -> str:
        return text_of(each.spec.get(field, default))

    return cell


def _target(each: Object) -> str:
    target = each.spec.get("target") or {}
    return f"{target.get('kind', '')} {target.get('name', '')}"


def _entries(each: Object) -> str:
    parts = []
    for entry in each.spec.get("entries") or ():
        ports = text_of(entry.get("ports", ()))
        protocol = text_of(entry.get("protocol", ""))
        parts.append(f"{protocol}/{ports}" if ports else protocol)
    return ", ".join(parts)


def _balanced(each: Object) -> str:
    parts = []
    for port in each.spec.get("ports") or ():
        asked = port.get("service") or f"{port.get('protocol')}/{port.get('port')}"
        target = f" to {port['targetPort']}" if "targetPort" in port else ""
        parts.append(f"{asked}{target}")
    return ", ".join(parts)


_KINDS: Final[Mapping[str, Columns]] = {
    "Region": (("PARENT", _spec("parent")),),
    "Site": (
        ("REGION", _spec("region")),
        ("ENDPOINT", _spec("endpoint")),
        ("DEFAULT", _spec("defaultAction", "deny")),
    ),
    "Network": (("SUBNETS", _spec("subnets")), ("VLAN", _spec("vlan"))),
    "Service": (("ENTRIES", _entries),),
    "SecurityPolicy": (
        ("ENFORCEMENT", _spec("enforcement")),
        ("PRIORITY", _spec("priority", "500")),
        ("STAGE", _spec("stage", "enforced")),
        ("RULES", lambda each: str(len(each.spec.get("rules") or ()))),
    ),
    "LoadBalancer": (
        ("NETWORK", _spec("network")),
        ("ADDRESSES", _spec("addresses")),
        ("PORTS", _balanced),
        ("ALGORITHM", _spec("algorithm", "hash")),
    ),
    "ServicePolicy": (("ENFORCEMENT", _spec("enforcement")), ("SERVICES", _spec("services"))),
    "NodeGroup": (("PARENT", _spec("parent")),),
    "Node": (("ADMISSION", _spec("admission", "admitted")), ("GROUPS", _spec("groups"))),
    "Workload": (("ADDRESSES", _spec("addresses")), ("NODE", _spec("node"))),
    "Override": (
        ("TARGET", _target),
        ("EXPIRES", _spec("expiresAt")),
        ("REASON", _spec("reason")),
    ),
    "Conflict": (
        ("TYPE", _spec("type")),
        ("TARGET", _target),
        ("URGENCY", _spec("urgency", "normal")),
        ("STATE", _spec("state", "open")),
    ),
    "Tenant": (("DISPLAY NAME", _spec("displayName")),),
}


def columns_of(kind: str, objects: Sequence[Object], *, wide: bool, now: datetime) -> Columns:
    """Return the columns of a table of objects of one kind.

    Tenant, scope and origin have columns only where they tell objects apart.
    """
    columns: list[tuple[str, Cell]] = [("NAME", lambda each: each.name)]
    if wide or any(each.tenant != COMMON for each in objects):
        columns.append(("TENANT", lambda each: each.tenant))
    if wide or len({each.scope for each in objects}) > 1:
        columns.append(("SCOPE", lambda each: each.scope))
    columns += _KINDS.get(kind, ())
    columns.append(("GENERATION", lambda each: str(each.generation)))
    columns.append(("AGE", lambda each: age_text(each.created_at, now)))
    if wide:
        columns += [
            ("LABELS", lambda each: labels_text(each.labels)),
            ("ORIGIN", lambda each: each.origin or ""),
            ("REVISION", lambda each: str(each.revision)),
            ("UID", lambda each: str(each.metadata.get("uid", ""))),
        ]
    return tuple(columns)


def rows_of(columns: Columns, objects: Iterable[Object]) -> list[list[str]]:
    return [[cell(each) for _, cell in columns] for each in objects]


def text_of(value: Any) -> str:
    """Write a value of a document on one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(map(text_of, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {text_of(each)}" for name, each in value.items())
    return str(value)


def labels_text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


def age_text(since: datetime | None, now: datetime) -> str:
    """Write how long ago something was, in its largest unit: 45s, 12m, 3h, 8d."""
    if since is None:
        return ""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
