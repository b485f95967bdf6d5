"""Between rows and the contract's types; nothing else knows how a row is laid out."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from shared.errors import Invalid
from shared.ids import Generation, Key, Revision
from shared.store.contract import JSON, AuditRecord, Change, Operation, StatusChange, Stored

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_PLAIN: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def dump(value: object) -> str:
    """Return JSON text; Invalid if the value isn't plain JSON data."""
    return _dumps(value, _PLAIN).decode()


def text_size(stored: Stored | None) -> int:
    """Return how many characters of JSON an object's own content has; what is kept is bounded by
    it.  Its status isn't counted; 0 for none.
    """
    if stored is None:
        return 0
    return sum(len(dump(part)) for part in (stored.spec, stored.annotations, stored.labels))


def canonical(value: object) -> bytes:
    """Return the one JSON text that equal values share: keys sorted, no spaces."""
    return _dumps(value, _PLAIN | orjson.OPT_SORT_KEYS)


def load(text: str) -> Any:
    return orjson.loads(text)


def microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def time_of(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


def key_row(key: Key) -> dict[str, Any]:
    return {"kind": key.kind, "tenant": key.tenant, "scope": key.scope, "name": key.name}


def object_row(stored: Stored) -> dict[str, Any]:
    return {
        **key_row(stored.key),
        "uid": stored.uid,
        "spec": dump(stored.spec),
        "labels": dump(stored.labels),
        "annotations": dump(stored.annotations),
        "origin": stored.origin,
        "generation": stored.generation,
        "created_at": microseconds(stored.created_at),
        "updated_at": microseconds(stored.updated_at),
        "revision": stored.revision,
    }


def version_row(change: Change, ordinal: int) -> dict[str, Any]:
    version = change.after or change.before
    assert version is not None
    row = object_row(version)
    if change.after is None:
        row["spec"] = "{}"
    return row | {
        "revision": change.revision,
        "operation": change.operation.value,
        "ordinal": ordinal,
        "previous": change.before.revision if change.before else None,
    }


def stored_of(row: Sequence[Any], status: str | None = None) -> Stored:
    """Read tables.OBJECT's columns from the front of a row."""
    return Stored(
        key=Key(row[0], row[1], row[2], row[3]),
        uid=row[4],
        spec=orjson.loads(row[5]),
        labels=orjson.loads(row[6]),
        annotations=orjson.loads(row[7]),
        origin=row[8],
        generation=Generation(row[9]),
        created_at=time_of(row[10]),
        updated_at=time_of(row[11]),
        revision=Revision(row[12]),
        status=orjson.loads(status) if status else {},
    )


def change_of(operation: str, after: Sequence[Any], before: Sequence[Any]) -> Change:
    """Read a row of `versions`, and the version before it (all None if there is none)."""
    return Change(
        revision=Revision(after[12]),
        operation=Operation(operation),
        key=Key(after[0], after[1], after[2], after[3]),
        before=stored_of(before) if before[0] is not None else None,
        after=stored_of(after) if operation == Operation.PUT else None,
    )


def status_change_of(row: Sequence[Any]) -> StatusChange:
    kind, tenant, scope, name, status, sequence = row
    return StatusChange(sequence, Key(kind, tenant, scope, name), orjson.loads(status))


def audit_row(number: int, record: AuditRecord) -> dict[str, Any]:
    key = record.key
    return {
        "number": number,
        "at": microseconds(record.at),
        "request_id": record.request_id,
        "identity": record.identity,
        "action": record.action,
        "outcome": record.outcome,
        "tenant": record.tenant,
        "kind": key.kind if key else None,
        "object_tenant": key.tenant if key else None,
        "scope": key.scope if key else None,
        "name": key.name if key else None,
        "source_address": record.source_address,
        "diff": dump(record.diff),
        "reason": record.reason,
        "revision": record.revision,
        "trace_id": record.trace_id,
        "authority": record.authority,
        "credential": record.credential,
        "duration": None if record.seconds is None else round(record.seconds * 1e6),
    }


def audit_record_of(row: Mapping[str, Any]) -> tuple[int, AuditRecord]:
    key = None
    if row["kind"] is not None:
        key = Key(row["kind"], row["object_tenant"], row["scope"], row["name"])
    return row["number"], AuditRecord(
        at=time_of(row["at"]),
        request_id=row["request_id"],
        identity=row["identity"],
        action=row["action"],
        outcome=row["outcome"],
        tenant=row["tenant"],
        key=key,
        source_address=row["source_address"],
        diff=orjson.loads(row["diff"]),
        reason=row["reason"],
        revision=None if row["revision"] is None else Revision(row["revision"]),
        trace_id=row["trace_id"],
        authority=row["authority"],
        credential=row["credential"],
        seconds=None if row["duration"] is None else row["duration"] / 1e6,
    )


def plain(value: JSON) -> dict[str, Any]:
    """Return a copy that shares nothing with the caller's, as it will be read back."""
    return dict(load(dump(value)))


def _dumps(value: object, options: int) -> bytes:
    try:
        return orjson.dumps(value, default=_as_dict, option=options)
    except (TypeError, ValueError) as exc:
        raise Invalid(f"this can't be stored, it is no plain JSON data: {exc}") from exc


def _as_dict(value: object) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
