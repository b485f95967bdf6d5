"""What the system notes in an Override: what it was based on, and that it has expired.  Pure.

A person's own word on either is ignored: it would hide that the inherited object has moved on, or
that the exception is over.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from shared.model.override import Override
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.exceptions import inherited
from shared.policy.definitions import Name, target_of
from shared.store.contract import Draft, Stored

EXPIRED: Final = "hanse/expired-at"
"""The annotation that says when an override's expiry was noticed (RFC 3339)."""

BASE: Final = "basedOn"


def noted(draft: Draft, terms: Override, before: Stored | None, planner: SitePlanner) -> Draft:
    """Return an Override's draft with what the system notes, as it is to be written.

    An exception that is written again unchanged keeps its base, so that applying a folder every
    night doesn't hide that the two have parted; one with another content is based on what is
    inherited now.
    """
    spec = {name: value for name, value in draft.spec.items() if name != BASE}
    old: Mapping[str, Any] = before.spec if before else {}
    is_same = all(spec.get(name) == old.get(name) for name in ("target", "spec"))
    base = old.get(BASE) if is_same else None
    base = base or _base_of(target_of(terms), planner)
    if base is not None:
        spec[BASE] = base
    annotations = {name: text for name, text in draft.annotations.items() if name != EXPIRED}
    if before and EXPIRED in before.annotations and spec.get("expiresAt") == old.get("expiresAt"):
        annotations[EXPIRED] = before.annotations[EXPIRED]
    return replace(draft, spec=spec, annotations=annotations)


def is_marked(stored: Stored, expires_at: datetime, *, now: datetime) -> bool:
    """Return whether this expiry has been noted already.

    A mark from before the override was given a later end says nothing of this one, nor does one
    that a leaping clock left in the future.
    """
    try:
        mark = datetime.fromisoformat(stored.annotations.get(EXPIRED, ""))
    except ValueError:
        return False
    return mark.tzinfo is not None and expires_at <= mark <= now


def _base_of(target: Name, planner: SitePlanner) -> dict[str, Any] | None:
    """Return the inherited version that is in force; None if none is inherited here."""
    if planner.places.document is None:
        return None
    document = inherited(target, planner)
    if document is None or document.revision is None:
        return None
    return {"revision": document.revision, "spec": document.spec.to_json()}
