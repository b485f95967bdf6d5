"""A conflict with the site as it stands, and what a way out of it writes.

All of it is of one snapshot: what is decided fits the site exactly, and is refused if the site has
moved on by the time it is written.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sdsp.compile.model import PLANNED, document_of
from sdsp.conflicts.standing import read_conflict
from shared.errors import Conflict, FieldError, Invalid, NotFound, RevisionConflict
from shared.ids import Key, Revision
from shared.model.base import API_VERSION
from shared.model.documents import parse_value
from shared.objects.service import Write
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.outcome import target_name
from shared.policy.definitions import Name
from shared.policy.inputs import Document, Documents, SiteInputs, is_inherited_scope
from shared.policy.ways.contract import Barred, Step, Terms, Way
from shared.policy.ways.out import is_outdated, way_out
from shared.store.contract import ABSENT, Draft, Snapshot, Stored, Transaction

Sees = Callable[[Key, Mapping[str, str] | None], bool]

_BASE: Final = "basedOn"
_MOST: Final = 20
"""Policies whose revisions are noted with a decision; a conflict names no more of them."""


@dataclass(frozen=True, slots=True)
class Case:
    """A conflict, the way out that is taken, and what that writes.

    `rests_on` are the keys at which what is inherited may stand, with the revision there.
    """

    conflict: Stored
    way: Way
    writes: Sequence[Write]
    rests_on: Mapping[Key, Revision]


class Cases:
    """Reads a site for a decision."""

    def __init__(self, *, site: str, now: Callable[[], datetime], executor: Executor) -> None:
        """`now` is the time by which exceptions expire; planners are asked in `executor`."""
        self._site = site
        self._now = now
        self._executor = executor

    async def read(
        self, snapshot: Snapshot, conflict: Stored, name: str, terms: Terms, *, digest: str | None
    ) -> Case:
        """Return what a proposal writes; Invalid (`proposal_not_offered`), Conflict
        (`conflict_outdated`, also if it is not what a digest says that somebody was shown).
        """
        stored = await snapshot.list(PLANNED)
        now = self._now()

        def work() -> Case:
            case = _case(_planner(self._site, stored, now), stored, conflict, name, terms)
            if digest is not None and case.way.digest != digest:
                raise outdated(conflict.key)
            return case

        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _planner(site: str, stored: Sequence[Stored], now: datetime) -> SitePlanner:
    documents = [document_of(each) for each in stored]
    federation = Documents(each for each in documents if is_inherited_scope(each.key.scope))
    local = Documents(each for each in documents if not is_inherited_scope(each.key.scope))
    return SitePlanner(SiteInputs(site, federation, local, now))


def _case(
    planner: SitePlanner, stored: Sequence[Stored], conflict: Stored, name: str, terms: Terms
) -> Case:
    read = read_conflict(conflict)
    if is_outdated(planner, read):
        raise outdated(conflict.key)
    way = way_out(planner, read, name, terms)
    if way is None or isinstance(way, Barred):
        raise _not_offered(conflict, name, way)
    if terms.expires_at is not None and not way.keeps_exception:
        message = f"{name} leaves no exception that could expire"
        raise Invalid(
            message,
            code="invalid_value",
            fields=[FieldError("expiresAt", "invalid_value", message)],
        )
    by_key = {each.key: each for each in stored}
    writes = [_write(step, by_key.get(step.key)) for step in way.steps]
    keys = dict.fromkeys(_resting(planner, read))
    rests_on = {each: by_key[each].revision if each in by_key else ABSENT for each in keys}
    return Case(conflict, way, writes, rests_on)


def _resting(planner: SitePlanner, conflict: Any) -> Iterator[Key]:
    """Yield where what a conflict is about may be inherited from: its target and the policies
    that it names.
    """
    names = [target_name(conflict)]
    by: Any = conflict.facts.get("by") or ()
    names += [Name("SecurityPolicy", each["tenant"], each["policy"]) for each in by]
    for name in [*dict.fromkeys(names)][:_MOST]:
        for scope in planner.places.upstream:
            yield Key(name.kind, name.tenant, scope, name.name)


def _write(step: Step, before: Stored | None) -> Write:
    expected = before.revision if before is not None else ABSENT
    if step.spec is None:
        return Write(step.key, None, expected)
    document = {
        "apiVersion": API_VERSION,
        "kind": step.key.kind,
        "metadata": {
            "name": step.key.name,
            "tenant": step.key.tenant,
            "scope": step.key.scope,
            "labels": dict(before.labels) if before else {},
            "annotations": dict(before.annotations) if before else {},
        },
        "spec": {name: value for name, value in step.spec.items() if name != _BASE},
    }
    envelope, faults = parse_value(document)
    if envelope is None:
        raise Invalid(
            "what would result is not valid; change the object by hand instead",
            code="invalid_value",
            fields=list(faults),
        )
    return Write(step.key, envelope, expected)


def rebased(kept: Stored, inherited: Document) -> Draft:
    """Return an exception as it stands, based on what is inherited now."""
    base = {"revision": inherited.revision or 0, "spec": inherited.spec.to_json()}
    return as_draft(kept, spec={**kept.spec, _BASE: base})


def as_draft(stored: Stored, *, spec: Mapping[str, Any] | None = None) -> Draft:
    return Draft(
        key=stored.key,
        spec=stored.spec if spec is None else spec,
        labels=stored.labels,
        annotations=stored.annotations,
        origin=stored.origin,
    )


async def visible(view: Snapshot | Transaction, key: Key, sees: Sees) -> Stored:
    """Return a conflict that somebody sees, open or not; NotFound."""
    found = await view.get(key)
    if found is None or not sees(key, found.labels):
        raise NotFound(f"there is no conflict {key.name}; `hanse conflicts list` shows all")
    return found


def check_open(conflict: Stored, expected: Revision | None = None) -> None:
    """Raise Conflict (`conflict_resolved`) of one that is settled, RevisionConflict of one that is
    not as it was seen.
    """
    if conflict.spec.get("state", "open") == "resolved":
        raise Conflict(
            f"conflict {conflict.key.name} is resolved already", code="conflict_resolved"
        )
    check_revision(conflict, expected)


def check_revision(conflict: Stored, expected: Revision | None) -> None:
    if expected is not None and conflict.revision != expected:
        raise RevisionConflict(
            f"conflict {conflict.key.name} is at revision {conflict.revision}, not {expected}: "
            "it has changed since you saw it; look at it again"
        )


def outdated(key: Key) -> Conflict:
    return Conflict(
        f"what conflict {key.name} is about has changed since it was found; look at it again",
        code="conflict_outdated",
    )


def _not_offered(conflict: Stored, name: str, barred: Barred | None) -> Invalid:
    offered = ", ".join(each["name"] for each in conflict.spec.get("proposals", ())) or "none"
    message = f"{name} is not among what this conflict offers: {offered}"
    if barred is not None:
        message = f"{name} is not offered here: {barred.why}"
    return Invalid(
        message,
        code="proposal_not_offered",
        fields=[FieldError("proposal", "proposal_not_offered", message)],
    )
