"""Whose an object is: two annotations that go with it, in the same transaction.  Pure.

`hanse/manifest` says which manifest owns it and which object it was written on, so that a copy
of a document under another name owns nothing.  `hanse/applied` is the SHA-256 of what the manifest
wrote, so that a change by hand shows.  The server never interprets either; a write that leaves
them out gives the object up.
"""

import hashlib
import json
from typing import Any, Final

from shared.cli.answers import Object
from shared.ids import Key
from shared.model.kinds import KINDS

MANIFEST: Final = "hanse/manifest"
APPLIED: Final = "hanse/applied"
# What the server, or we, write among a document's annotations.
_SYSTEMS: Final = "hanse/"
_NOTED: Final = {"Override": "basedOn", "Site": "paused"}
"""By kind the field of the spec that the server writes itself, whatever a document says."""


def owner_of(found: Object) -> str | None:
    """Return the name of the manifest that owns an object, None if none does."""
    written = (found.metadata.get("annotations") or {}).get(MANIFEST)
    name, slash, rest = written.partition("/") if isinstance(written, str) else ("", "", "")
    return name if slash and rest == _address(found.key) else None


def applied_to(found: Object) -> str | None:
    """Return the fingerprint of what a manifest last wrote to an object."""
    written = (found.metadata.get("annotations") or {}).get(APPLIED)
    return written if isinstance(written, str) else None


def is_as_applied(found: Object) -> bool:
    """Say whether an owned object is still as its manifest wrote it."""
    return applied_to(found) == fingerprint(found.as_written(), found.key)


def claimed(document: dict[str, Any], key: Key, manifest: str) -> dict[str, Any]:
    """Return a document as a manifest writes it."""
    ours = {
        MANIFEST: f"{manifest}/{_address(key)}",
        APPLIED: fingerprint(document, key),
    }
    return _annotated(document, {**_annotations(document), **ours})


def released(found: Object) -> dict[str, Any]:
    """Return an object's document as it is but owned by nobody."""
    document = found.as_written()
    kept = {
        name: value
        for name, value in _annotations(document).items()
        if name not in (MANIFEST, APPLIED)
    }
    return _annotated(document, kept)


def fingerprint(document: dict[str, Any], key: Key) -> str:
    """Return the SHA-256 of what a person wrote of an object; of a secret without its content."""
    text = json.dumps(normal(document, key), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def normal(document: dict[str, Any], key: Key) -> dict[str, Any]:
    """Return what two documents of one object are compared by: nothing of the system's own."""
    metadata = document["metadata"]
    annotations = {
        name: value
        for name, value in _annotations(document).items()
        if not name.startswith(_SYSTEMS)
    }
    parts = {"labels": dict(metadata.get("labels") or {}), "annotations": annotations}
    # A secret's content is in no answer, so it can't be compared.
    spec = None if KINDS[key.kind].secret else _asked_for(document["spec"], key)
    return {**parts, "spec": spec}


def with_systems_of(document: dict[str, Any], live: dict[str, Any] | None) -> dict[str, Any]:
    """Return a document with the system's annotations as those of `live` are, and its own else."""
    kept = {n: v for n, v in _annotations(document).items() if not n.startswith(_SYSTEMS)}
    systems = _annotations(live) if live else {}
    kept |= {name: value for name, value in systems.items() if name.startswith(_SYSTEMS)}
    return _annotated(document, kept)


def _asked_for(spec: Any, key: Key) -> Any:
    """Return a spec without what the server itself records in it."""
    noted = _NOTED.get(key.kind)
    return {name: value for name, value in spec.items() if name != noted}


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    return dict(document["metadata"].get("annotations") or {})


def _annotated(document: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    metadata = {name: value for name, value in document["metadata"].items() if name != "revision"}
    metadata["annotations"] = annotations
    if not annotations:
        del metadata["annotations"]
    return {**document, "metadata": metadata}


def _address(key: Key) -> str:
    return f"{key.kind}/{key.tenant}/{key.scope}/{key.name}"
