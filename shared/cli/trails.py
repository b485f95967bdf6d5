"""`hanse history` and `hanse audit`: who did what, and when."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from shared.cli.answers import AuditEntry, Change
from shared.cli.changes import differences
from shared.cli.client import Client
from shared.cli.output import Output, print_data, print_table
from shared.cli.session import session
from shared.errors import Forbidden
from shared.ids import Key

# An object that is read and refused this often is not asked about any further.
_MOST_ENTRIES: Final = 1000


@dataclass(frozen=True, slots=True)
class Past:
    """One change, what it changed, and the audit trail's entry of it, if one may read that."""

    change: Change
    what: Sequence[str]
    entry: AuditEntry | None

    def row(self) -> list[str]:
        when = self.entry.at if self.entry else None
        if when is None and self.change.operation == "put":
            when = self.change.object.updated_at
        return [
            str(self.change.revision),
            f"{when:%Y-%m-%d %H:%M:%S}" if when else "",
            self.entry.identity if self.entry else "",
            "\n".join(self.what),
        ]

    def to_json(self) -> dict[str, Any]:
        entry = self.entry
        return {
            "revision": self.change.revision,
            "operation": self.change.operation,
            "at": entry.document.get("at") if entry else None,
            "identity": entry.identity if entry else None,
            "reason": entry.reason if entry else None,
            "requestId": entry.document.get("requestId") if entry else None,
            "changes": list(self.what),
            "object": self.change.object.document,
        }


_COLUMNS: Final = ("REVISION", "WHEN (UTC)", "WHO", "WHAT")


async def history(context: str | None, key: Key, *, limit: int, form: Output) -> None:
    """Print an object's changes, latest first; a key without scope is in the server's own."""
    async with session(context) as opened:
        key = key._replace(scope=key.scope or opened.default_scope)
        past = await _past(opened.client, key, limit=limit)
    if form in (Output.JSON, Output.YAML):
        print_data({"items": [each.to_json() for each in past]}, form)
        return
    print_table(_COLUMNS, [each.row() for each in past])


async def print_changes(client: Client, key: Key, *, limit: int, title: str) -> None:
    """Print the latest changes of an object."""
    past = await _past(client, key, limit=limit)
    print_table(_COLUMNS, [each.row() for each in past], title=title)


async def _past(client: Client, key: Key, *, limit: int) -> list[Past]:
    # One more than is shown, to say what the oldest shown one changed.
    changes = [
        each
        async for each in client.history(
            key.kind, key.name, tenant=key.tenant, scope=key.scope, limit=limit + 1
        )
    ]
    shown = changes[:limit]
    entries = await _entries(client, key, {each.revision for each in shown})
    past = []
    for number, change in enumerate(shown):
        earlier = changes[number + 1] if number + 1 < len(changes) else None
        past.append(Past(change, _what(change, earlier), entries.get(change.revision)))
    return past


def _what(change: Change, earlier: Change | None) -> list[str]:
    if change.operation == "delete":
        return ["deleted"]
    if earlier is None or earlier.operation == "delete":
        return ["created"]
    return [str(each) for each in differences(earlier.object, change.object)] or ["rewritten"]


async def _entries(client: Client, key: Key, revisions: set[int]) -> dict[int, AuditEntry]:
    """Return the audit trail's entries of some revisions; none to whom may not read it."""
    found: dict[int, AuditEntry] = {}
    if not revisions:
        return found
    trail = client.audit(
        kind=key.kind, name=key.name, tenant=key.tenant, scope=key.scope, limit=_MOST_ENTRIES
    )
    try:
        async with aclosing(trail):
            async for each in trail:
                if each.revision in revisions:
                    found[each.revision] = each
                if each.revision is not None and each.revision <= min(revisions):
                    break
    except Forbidden:
        return {}
    return found


@dataclass(frozen=True, slots=True)
class AuditWanted:
    """Which entries of the audit trail."""

    named: tuple[str, str] | None
    """Kind and name of the one object that is asked about."""
    tenant: str | None
    scope: str | None
    text: str | None
    changes: bool
    limit: int


async def audit(context: str | None, wanted: AuditWanted, form: Output) -> None:
    """Print the audit trail, latest first."""
    kind, name = wanted.named or (None, None)
    async with session(context) as opened:
        trail = opened.client.audit(
            kind=kind,
            name=name,
            tenant=wanted.tenant,
            scope=wanted.scope,
            text=wanted.text,
            changes=wanted.changes,
            limit=wanted.limit,
        )
        async with aclosing(trail):
            entries = [each async for each in trail]
    if form in (Output.JSON, Output.YAML):
        print_data({"items": [dict(each.document) for each in entries]}, form)
        return
    wide = form is Output.WIDE
    columns = ["WHEN (UTC)", "WHO", "ACTION", "OUTCOME", "OBJECT", "REVISION", "REASON"]
    print_table(
        [*columns, "FROM", "REQUEST ID"] if wide else columns,
        [_audit_row(each, wide=wide) for each in entries],
    )


def _audit_row(each: AuditEntry, *, wide: bool) -> list[str]:
    row = [
        f"{each.at:%Y-%m-%d %H:%M:%S}" if each.at else "",
        each.identity,
        each.action,
        each.outcome,
        str(each.object) if each.object else "",
        "" if each.revision is None else str(each.revision),
        each.reason or "",
    ]
    if wide:
        row += [str(each.document.get(part) or "") for part in ("sourceAddress", "requestId")]
    return row
