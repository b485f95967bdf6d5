"""The digest that chains a store's history: equal digests mean equal histories.  Pure."""

import hashlib
from collections.abc import Sequence
from typing import Final

from shared.store.contract import Change
from shared.store.mapping import canonical, microseconds

GENESIS: Final = "0" * 64
"""The digest at revision 0."""


def chain(previous: str, changes: Sequence[Change]) -> str:
    """Return the digest after a revision's changes: SHA-256 of the last one and of them, in hex."""
    sha = hashlib.sha256(previous.encode())
    for change in changes:
        sha.update(b"\n")
        sha.update(_canonical(change))
    return sha.hexdigest()


def _canonical(change: Change) -> bytes:
    head = [change.revision, change.operation.value, *change.key]
    after = change.after
    if after is None:
        return canonical(head)
    return canonical(
        [
            *head,
            *(after.uid, after.generation, after.origin, after.spec, after.labels),
            *(after.annotations, microseconds(after.created_at), microseconds(after.updated_at)),
        ]
    )
