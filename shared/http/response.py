"""From what is stored to what is sent: the one mapping outwards."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from aiohttp import web
from multidict import CIMultiDict

from shared.ids import Key
from shared.model.base import API_VERSION
from shared.model.kinds import KINDS
from shared.store.contract import Change, Operation, Stored

JSON_TYPE: Final = "application/json"
JSON_HEADERS: Final = CIMultiDict({"Content-Type": JSON_TYPE, "Cache-Control": "no-store"})
"""What every answer in JSON has; aiohttp copies it faster than any mapping of ours."""


def json_response(
    document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    response = web.Response(body=orjson.dumps(document), status=status, headers=JSON_HEADERS)
    if headers:
        response.headers.update(headers)
    return response


def object_response(
    stored: Stored, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Answer with one object; its revision is the ETag that If-Match takes."""
    return json_response(
        envelope_of(stored),
        status=status,
        headers={"ETag": f'"{stored.revision}"', **(headers or {})},
    )


def envelope_of(stored: Stored) -> dict[str, Any]:
    """Return an object as a document, with what the server knows of it in its metadata.

    The spec of a secret kind is left out: no answer of any kind has it.  Its status says that
    there is a secret, and since when.
    """
    key = stored.key
    metadata = {
        **_metadata(key),
        "labels": dict(stored.labels),
        "annotations": dict(stored.annotations),
        "uid": stored.uid,
        "revision": stored.revision,
        "generation": stored.generation,
        "createdAt": timestamp(stored.created_at),
        "updatedAt": timestamp(stored.updated_at),
    }
    if stored.origin is not None:
        metadata["origin"] = stored.origin
    return {
        "apiVersion": API_VERSION,
        "kind": key.kind,
        "metadata": metadata,
        "spec": {} if is_secret(key.kind) else dict(stored.spec),
        "status": _secret_status(stored) if is_secret(key.kind) else dict(stored.status),
    }


def key_document(key: Key) -> dict[str, Any]:
    """Return what identifies an object, as of one that is gone."""
    return {"apiVersion": API_VERSION, "kind": key.kind, "metadata": _metadata(key)}


def change_document(change: Change) -> dict[str, Any]:
    """Return one change: a put with the object as it stands after it, a delete with its last."""
    stored = change.after if change.operation is Operation.PUT else change.before
    return {
        "operation": change.operation.value,
        "revision": change.revision,
        "object": envelope_of(stored) if stored else key_document(change.key),
    }


def is_secret(kind: str) -> bool:
    return kind in KINDS and KINDS[kind].secret


def _secret_status(stored: Stored) -> dict[str, Any]:
    since = stored.spec.get("setAt")
    if not isinstance(since, str):
        return {"isSet": False}
    return {
        "isSet": True,
        "setAt": timestamp(datetime.fromisoformat(since)),
        "use": stored.spec.get("use", "any"),
    }


def timestamp(moment: datetime) -> str:
    """Return RFC 3339 in UTC, to the millisecond."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _metadata(key: Key) -> dict[str, Any]:
    return {"name": key.name, "tenant": key.tenant, "scope": key.scope}
