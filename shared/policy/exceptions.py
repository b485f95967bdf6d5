"""What runs where an exception and the inherited object that it stands for have parted.

An Override replaces the version that it was based on.  When the inherited object moves on, the
object's `onConflict` says what runs until somebody decides: the merge of both, the exception as it
is, or the inherited object.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

from pydantic import ValidationError

from shared.model.base import Spec
from shared.policy.definitions import Exemption
from shared.policy.inputs import Document, is_inherited_scope
from shared.policy.merging import Merge, exempted, merge

Runs = Literal["merge", "keepLocal", "applyGlobal"]

_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True)
class Parted:
    """Both sides have changed since the exception was made.

    `merged` is the merge's spec; None if the schema refuses it, as it may where fields hang
    together, and then the sides overlap whatever their fields say.  `wanted` is what the object's
    `onConflict` says.
    """

    merge: Merge = field(hash=False)
    merged: Spec | None = field(hash=False)
    wanted: Runs

    @property
    def runs(self) -> Runs:
        """What runs until somebody decides: a merge that is not valid can't, so the site's side
        does.
        """
        return "keepLocal" if self.wanted == "merge" and self.merged is None else self.wanted

    @property
    def is_clean(self) -> bool:
        return self.merged is not None and self.merge.is_clean


@dataclass(frozen=True, slots=True)
class Combined:
    """What an exception makes of its target; `spec` is None where the target itself runs."""

    spec: Spec | None = field(hash=False)
    parted: Parted | None = None


@lru_cache(_REMEMBERED)
def combine(exemption: Exemption, target: Document) -> Combined:
    """Return what runs of an exception and the inherited object that it replaces now."""
    base = exemption.terms.based_on
    if base is None:
        return Combined(exemption.spec)
    inherited = exempted(target.spec.to_json())
    local = exempted(exemption.spec.to_json())
    began = base_of(exemption, target)
    if inherited in (began, local):
        return Combined(exemption.spec)
    merged = merge(began, local, inherited)
    parted = Parted(merged, _read(target, merged.spec), _wanted(target))
    if parted.runs == "applyGlobal":
        return Combined(None, parted)
    if parted.runs == "merge":
        return Combined(parted.merged, parted)
    return Combined(exemption.spec, parted)


def base_of(exemption: Exemption, target: Document) -> Mapping[str, Any]:
    """Return the version that an exception was based on, as an exception to it would say it.

    It may have been written by an earlier release, or by hand: equal meaning must be equal data.
    """
    base = exemption.terms.based_on
    if base is None:
        return {}
    read = _read(target, base.spec)
    return exempted(base.spec if read is None else read.to_json())


def _wanted(target: Document) -> Runs:
    said: Runs | None = getattr(target.spec, "on_conflict", None)
    if said is not None:
        return said
    is_mandatory = getattr(target.spec, "enforcement", None) == "mandatory"
    return "merge" if is_mandatory and is_inherited_scope(target.key.scope) else "keepLocal"


def _read(target: Document, spec: Any) -> Spec | None:
    try:
        return type(target.spec).model_validate(spec)
    except ValidationError:
        return None
