"""A Rollout as it is written after each step and each word of a person.  Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fsm.feed.item import ROLLOUT
from fsm.rollouts.steps import Finish, Reach, Standing, Step, StopFor
from shared.errors import Invalid
from shared.ids import FEDERATION, Key
from shared.model.base import API_VERSION, Envelope
from shared.model.documents import parse_value
from shared.model.rollout import RolledVersion, Rollout
from shared.model.selectors import Selector
from shared.store.contract import Draft, Stored

_LONGEST_NAME: Final = 253
_NAMED: Final = 20
"""So many failed sites are named in the object; `show` tells all."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A rollout as somebody asks for it; `name` None: the server chooses one."""

    order: tuple[Selector, ...]
    max_failures: int
    patience: str
    name: str | None = None


def rollout_key(target: Key, name: str) -> Key:
    return Key(ROLLOUT, target.tenant, FEDERATION, name)


def target_key(rollout: Key, spec: Rollout) -> Key:
    return Key(spec.target_kind, rollout.tenant, spec.target_scope, spec.target)


def name_of(target: Key, generation: int, *, given: str | None) -> str:
    """Return the rollout's name: the one given, else the target's with the generation."""
    if given is not None:
        return given
    place = f"-{target.scope.partition('/')[2]}" if target.scope != FEDERATION else ""
    end = f"-{generation}"
    return f"{f'{target.name}{place}'[: _LONGEST_NAME - len(end)]}{end}"


def started(
    wish: Wish, before: Stored | None, after: Stored, *, by: str, now: datetime
) -> Mapping[str, Any]:
    """Return the spec of a rollout that begins: no site is reached."""
    spec = Rollout.model_validate(
        {
            "target": after.key.name,
            "targetKind": after.key.kind,
            "targetScope": after.key.scope,
            "order": [each.to_json() for each in wish.order],
            "maxFailures": wish.max_failures,
            "patience": wish.patience,
            "startedBy": by,
            "startedAt": now,
            "generation": after.generation,
            **({} if before is None else {"before": _version(before)}),
        }
    )
    return spec.to_json()


def envelope_before(target: Key, version: RolledVersion) -> Envelope[Any]:
    """Return the document that puts a target back; Invalid if this release can't read it."""
    document = {
        "apiVersion": API_VERSION,
        "kind": target.kind,
        "metadata": {
            "name": target.name,
            "tenant": target.tenant,
            "scope": target.scope,
            "labels": version.labels,
            "annotations": version.annotations,
        },
        "spec": version.spec,
    }
    envelope, faults = parse_value(document)
    if envelope is None or faults:
        raise Invalid(f"the version of {target} before can't be written any more", fields=faults)
    return envelope


def stepped(spec: Rollout, step: Step, *, now: datetime) -> Mapping[str, Any]:
    """Return a rollout's spec after a step."""
    match step:
        case Reach(wave, sites):
            reached = {"wave": wave, "at": now, "sites": sites}
            old = [each.to_json() for each in spec.reached]
            return changed(spec, wave=wave, reached=[*old, reached])
        case StopFor(failed):
            stopped = {"at": now, "failed": len(failed), "failures": _failures(failed)}
            return changed(spec, state="stopped", stopped=stopped)
        case Finish():
            return changed(spec, state="done", endedAt=now)
    return spec.to_json()


def changed(spec: Rollout, **fields: Any) -> Mapping[str, Any]:
    """Return a spec with other fields; one that is None is left out."""
    written = {**spec.to_json(), **fields}
    kept = {name: value for name, value in written.items() if value is not None}
    return Rollout.model_validate(kept).to_json()


def rewritten(stored: Stored, spec: Mapping[str, Any]) -> Draft:
    return Draft(key=stored.key, spec=spec, labels=stored.labels, annotations=stored.annotations)


def _version(stored: Stored) -> dict[str, Any]:
    return {
        "uid": stored.uid,
        "revision": int(stored.revision),
        "generation": int(stored.generation),
        "labels": dict(stored.labels),
        "annotations": dict(stored.annotations),
        "createdAt": stored.created_at,
        "updatedAt": stored.updated_at,
        "spec": dict(stored.spec),
    }


def _failures(failed: tuple[Standing, ...]) -> list[dict[str, str]]:
    return [{"site": each.site, "code": each.code or "failed"} for each in failed[:_NAMED]]
