"""Routes over objects of any kind: transactions, watching, and the audit trail."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from shared.access.permissions import Permission
from shared.errors import FieldError, Invalid, Malformed
from shared.http.body import Body, aside, read_body
from shared.http.ndjson import NDJSON, stream_lines
from shared.http.problems import field_document
from shared.http.request import flag, is_dry_run, number, only_parameters, text
from shared.http.response import envelope_of, json_response, timestamp
from shared.http.routes import AUTHENTICATED, TRANSACTION_LIMIT, Parameter, Routes
from shared.ids import COMMON, Key, Revision
from shared.model.documents import parse_value
from shared.model.kinds import KINDS, PLURALS
from shared.model.source import MAX_FAULTS
from shared.objects import parameters
from shared.objects.admission import Base
from shared.objects.call import call_of
from shared.objects.keys import OBJECTS, READER
from shared.objects.reader import MOST, Watching
from shared.objects.rights import kind_at
from shared.objects.selection import parse_label_selector
from shared.objects.service import Objects, Options, Write
from shared.store.contract import AuditRecord

routes = Routes("/api/v1", tag="objects")

# More would hold the store's one writer for seconds.
_MOST_OPERATIONS: Final = 10_000


class OperationBody(Body):
    """One write of a transaction."""

    operation: Literal["put", "delete"] = Field(description="put creates or replaces.")
    object: dict[str, Any] = Field(
        description="The document; to delete, apiVersion, kind and metadata are enough."
    )
    ifMatch: int | None = Field(  # noqa: N815 - its name in JSON
        None, ge=0, description="The revision that must still stand; 0: there must be none."
    )


class BaseBody(Body):
    """The revision that something was judged against, as `hanse diff` and /impact say it."""

    revision: int = Field(ge=0, description="The store's revision.")
    incarnation: str = Field(
        "", max_length=100, description="Of which store: its incarnation, or how that begins."
    )


class TransactionBody(Body):
    """Writes that share one revision: all or nothing."""

    operations: list[OperationBody] = Field(
        min_length=1,
        max_length=_MOST_OPERATIONS,
        description="What to write; no object may stand in it twice.",
    )
    reason: str | None = Field(None, max_length=2000, description="Kept in the audit trail.")
    base: BaseBody | None = Field(
        None, description="Write only if what this rests on hasn't changed since; else base_moved."
    )


class OperationResult(BaseModel):
    """What became of one operation."""

    operation: str = Field(description="put or delete")
    created: bool = Field(description="There was no such object before.")
    changed: bool = Field(description="False if it was already so.")
    object: dict[str, Any] = Field(description="The object now; deleted, as it last was.")


class TransactionResult(BaseModel):
    """A transaction that was committed, or with dryRun would have been."""

    revision: int = Field(description="The store's revision after it.")
    dryRun: bool = Field(description="Nothing was written.")  # noqa: N815 - its name in JSON
    results: list[OperationResult] = Field(description="In the order of the operations.")
    warnings: list[dict[str, Any]] = Field(description="What didn't stop it: path, code, message.")


@routes.post(
    "/transactions",
    permission=AUTHENTICATED,
    body=TransactionBody,
    answer=TransactionResult,
    parameters=(parameters.DRY_RUN, parameters.FORCE, parameters.REQUEST_ID),
)
async def transact(request: web.Request) -> web.Response:
    """Write several objects in one revision, all or nothing.

    Each operation needs the permission to write its object.  The body may have 8 MiB.
    """
    only_parameters(request, "dryRun", "force")
    body = await read_body(request, TransactionBody, limit=TRANSACTION_LIMIT)
    objects, call = request.app[OBJECTS], call_of(request)
    writes = await aside(request, read_writes, body.operations, objects)
    dry_run = is_dry_run(request)
    base = None if body.base is None else Base(Revision(body.base.revision), body.base.incarnation)
    options = Options(dry_run=dry_run, force=flag(request, "force"), reason=body.reason, base=base)
    applied = await objects.apply(call, writes, options)
    return json_response(
        {
            "revision": applied.revision,
            "dryRun": dry_run,
            "results": [
                {
                    "operation": each.operation.value,
                    "created": each.created,
                    "changed": each.changed,
                    "object": envelope_of(each.stored),
                }
                for each in applied.written
            ],
            "warnings": [
                field_document(each.error) | {"operation": each.index} for each in applied.warnings
            ],
        },
        headers={"X-Replayed": "true"} if applied.replayed else None,
    )


def read_writes(operations: Sequence[OperationBody], objects: Objects) -> list[Write]:
    """Read the documents; Invalid with what is wrong in all of them."""
    writes: list[Write] = []
    faults: list[FieldError] = []
    for index, operation in enumerate(operations):
        if len(faults) >= MAX_FAULTS:
            message = f"stopped after {MAX_FAULTS} faults; mend these first"
            faults[MAX_FAULTS:] = [FieldError("operations", "too_many_faults", message)]
            break
        prefix = f"operations[{index}].object"
        expected = None if operation.ifMatch is None else Revision(operation.ifMatch)
        if operation.operation == "delete":
            found = _key_of(operation.object, objects, prefix=prefix)
            if isinstance(found, FieldError):
                faults.append(found)
            else:
                writes.append(Write(found, None, expected))
            continue
        envelope, wrong = parse_value(operation.object, prefix=prefix)
        faults.extend(wrong)
        if envelope is not None:
            writes.append(Write(envelope.key(objects.default_scope), envelope, expected))
    if faults:
        raise Invalid("the transaction is not valid; nothing was written", fields=faults)
    return writes


def _key_of(document: dict[str, Any], objects: Objects, *, prefix: str) -> Key | FieldError:
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return FieldError(f"{prefix}.metadata", "missing_field", "say which object to delete")
    parts = {
        "kind": document.get("kind"),
        "metadata.tenant": metadata.get("tenant", COMMON),
        "metadata.scope": metadata.get("scope", objects.default_scope),
        "metadata.name": metadata.get("name"),
    }
    for path, value in parts.items():
        if not isinstance(value, str) or not value:
            return FieldError(f"{prefix}.{path}", "invalid_value", "this must be text")
    if parts["kind"] not in KINDS:
        return FieldError(f"{prefix}.kind", "unknown_kind", "there is no such kind")
    return Key(*(str(value) for value in parts.values()))


@routes.get(
    "/watch",
    permission=AUTHENTICATED,
    media_type=NDJSON,
    parameters=(
        Parameter("kinds", "Kinds or their plurals, by commas; all that one may read if left out."),
        Parameter(
            "after",
            "Begin behind this revision (of status: this sequence number); now if left out.",
            {"type": "integer", "minimum": 0},
        ),
        parameters.ANY_TENANT,
        parameters.LABELS,
        Parameter(
            "status",
            "Watch observed status instead of what people wrote.",
            {"type": "boolean", "default": False},
        ),
    ),
)
async def watch(request: web.Request) -> web.StreamResponse:
    """Follow changes: JSON lines, each a commit as a whole, or a bookmark.

    `{"type": "commit", "revision", "changes": [{"operation", "object"}]}`,
    `{"type": "bookmark", "revision"}` at least every ten seconds, with `status=true`
    `{"type": "status", "sequence", "object"}`, and at the end, if there is one,
    `{"type": "error", "status", "code", "title"}`.  An object whose labels no longer match is
    deleted with `"reason": "deselected"`.  A compacted revision is answered with 410.
    """
    only_parameters(request, "kinds", "after", "tenant", "labelSelector", "status")
    selector = parse_label_selector(text(request, "labelSelector"))
    after = number(request, "after")
    watching = Watching(
        kinds=_kinds(request),
        tenant=text(request, "tenant"),
        selector=text(request, "labelSelector") if selector else None,
        labels=selector.matches if selector else None,
        after=None if after is None else Revision(after),
    )
    reader, call = request.app[READER], call_of(request)
    if not flag(request, "status"):
        return await stream_lines(request, await reader.watch(call, watching))
    if selector:
        raise Malformed("status has no labels; leave labelSelector out")
    return await stream_lines(request, await reader.watch_status(call, watching))


def _kinds(request: web.Request) -> frozenset[str] | None:
    names = text(request, "kinds")
    if not names:
        return None
    home = request.app[OBJECTS].home
    found = (PLURALS[name].name if name in PLURALS else name for name in names.split(","))
    return frozenset(kind_at(home, name).name for name in found)


class AuditEntry(BaseModel):
    """Who did what, when, to what, and with which outcome."""

    number: int = Field(description="Give it as `before` for the entries before this one.")
    at: str = Field(description="When, in UTC.")
    requestId: str = Field(description="The request's id, as in logs and answers.")  # noqa: N815
    traceId: str | None = Field(description="The trace that it belongs to.")  # noqa: N815
    identity: str = Field(description="Who.")
    sourceAddress: str | None = Field(description="From where.")  # noqa: N815
    action: str = Field(description="What was done, or tried.")
    outcome: str = Field(description="ok, or the code of the refusal.")
    tenant: str | None = Field(description="The tenant concerned.")
    object: dict[str, str] | None = Field(description="The object: kind, tenant, scope, name.")
    revision: int | None = Field(description="The revision that it took, if it took one.")
    reason: str | None = Field(description="Why, as the person said, or why it was refused.")
    diff: dict[str, Any] = Field(description="The fields that changed, before and after.")
    authority: str | None = Field(description="Why it was permitted: the role and its binding.")
    credential: str | None = Field(description="A token's id, or a certificate's serial number.")
    durationMs: float | None = Field(  # noqa: N815 - its name in JSON
        description="How long it had taken when it was recorded."
    )


class AuditList(BaseModel):
    """Entries of the audit trail, latest first."""

    items: list[AuditEntry] = Field(description="Entries, latest first.")


@routes.get(
    "/audit",
    permission=Permission.READ_AUDIT,
    answer=AuditList,
    parameters=(
        parameters.ANY_TENANT,
        Parameter("kind", "With name: only what concerns this object."),
        Parameter("name", "See kind."),
        Parameter("scope", "The object's scope, if not the default."),
        Parameter("text", "Words that an entry must have."),
        Parameter(
            "changes",
            "Only what changed something: no reads, no refusals, no renewals of logins and "
            "certificates.",
            {"type": "boolean", "default": False},
        ),
        Parameter("before", "Only entries before this number.", {"type": "integer", "minimum": 1}),
        parameters.LIMIT,
    ),
)
async def audit(request: web.Request) -> web.Response:
    """Read the audit trail, latest first."""
    only_parameters(
        request, "tenant", "kind", "name", "scope", "text", "changes", "before", "limit"
    )
    kind, name, tenant = (text(request, each) for each in ("kind", "name", "tenant"))
    if (kind is None) != (name is None):
        raise Malformed("give kind and name together")
    key = None
    if kind and name:
        objects = request.app[OBJECTS]
        scope = text(request, "scope") or objects.default_scope
        key = Key(kind_at(objects.home, kind).name, tenant or COMMON, scope, name)
    records = await request.app[READER].audit(
        call_of(request),
        tenant=tenant,
        key=key,
        text=text(request, "text"),
        changes=flag(request, "changes"),
        before=number(request, "before", lowest=1),
        limit=number(request, "limit", lowest=1, highest=MOST) or 100,
    )
    return json_response({"items": [_entry(each, record) for each, record in records]})


@routes.get(
    "/audit/export",
    permission=Permission.READ_AUDIT,
    media_type=NDJSON,
    parameters=(
        Parameter(
            "after",
            "Begin behind this record's number, as where an earlier export ended.",
            {"type": "integer", "minimum": 0, "default": 0},
        ),
    ),
)
async def export_audit(request: web.Request) -> web.StreamResponse:
    """Hand the audit trail out, oldest first: JSON lines, the last one of type `end`.

    Whoever may read all tenants' gets seals and hashes with it, so that the copy can be verified:
    `hanse audit verify --export FILE`.
    """
    only_parameters(request, "after")
    after = number(request, "after") or 0
    return await stream_lines(request, await request.app[READER].export(call_of(request), after))


def _entry(number: int, record: AuditRecord) -> dict[str, Any]:
    return {
        "number": number,
        "at": timestamp(record.at),
        "requestId": record.request_id,
        "traceId": record.trace_id,
        "identity": record.identity,
        "sourceAddress": record.source_address,
        "action": record.action,
        "outcome": record.outcome,
        "tenant": record.tenant,
        "object": record.key._asdict() if record.key else None,
        "revision": record.revision,
        "reason": record.reason,
        "diff": dict(record.diff),
        "authority": record.authority,
        "credential": record.credential,
        "durationMs": None if record.seconds is None else round(record.seconds * 1e3, 3),
    }
