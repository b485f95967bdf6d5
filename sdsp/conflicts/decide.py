"""A person settles a conflict, or puts it off.

What a decision writes (the Override gone, kept or merged) goes the way of every write of a person:
his rights, the site's judgement and the audit record.  The conflict is settled in the same
transaction, so that a kill leaves both or neither.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sdsp.conflicts.standing import read_conflict, rewritten
from shared.access.permissions import Permission
from shared.clock import Clock
from shared.errors import Conflict, FieldError, Invalid, NotFound, RevisionConflict
from shared.ids import Key, Revision
from shared.model.base import API_VERSION
from shared.model.documents import parse_value
from shared.model.kinds import KINDS
from shared.objects.call import Call
from shared.objects.service import Objects, Options, Write, Written
from shared.objects.trail import Trail
from shared.policy.conflicts.outcome import local_key
from shared.policy.inputs import is_inherited_scope
from shared.policy.merging import exempted
from shared.store.contract import Draft, Selection, Snapshot, Store, Stored, Transaction

Sees = Callable[[Key, Mapping[str, str] | None], bool]

_BASE: Final = "basedOn"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person decides; `expires_at` is when an exception that is kept ends."""

    proposal: str
    reason: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """An open conflict, the local object that it is about, and what is inherited now."""

    conflict: Stored
    local: Stored
    inherited: Stored | None


class Decisions:
    def __init__(self, store: Store, *, objects: Objects, trail: Trail, clock: Clock) -> None:
        self._store = store
        self._objects = objects
        self._trail = trail
        self._clock = clock
        self.on_change: Callable[[], None] = lambda: None
        """Called when a conflict was settled, put off or taken up with the federation."""

    async def decide(
        self,
        call: Call,
        key: Key,
        verdict: Verdict,
        *,
        sees: Sees,
        expected: Revision | None = None,
    ) -> Stored:
        """Settle a conflict; return it as it is then, to a call that comes twice as well.

        `expected` is its revision as the person saw it.  NotFound; RevisionConflict; Invalid
        (`proposal_not_offered`); Conflict (`conflict_resolved`, and `conflict_outdated` if what it
        is about has changed since it was found); and whatever the write that follows from the
        decision is refused for.
        """
        async with self._store.snapshot() as snapshot:
            if (found := await snapshot.get(key)) and sees(key, found.labels):
                if _is_decided_by(found, call, verdict):
                    return found
                _check_revision(found, expected)
            case = await _case(snapshot, key, sees)
        proposal = _offered(case, verdict.proposal)
        decision = {
            "proposal": verdict.proposal,
            "by": call.caller.identity,
            "at": self._clock.now().isoformat(),
            "reason": verdict.reason,
            "requestId": call.request_id,
        }

        async def settle(transaction: Transaction, written: Sequence[Written]) -> None:
            now = await open_conflict(transaction, key, sees)
            if now.revision != case.conflict.revision:
                raise _outdated(key)
            # A merge may say just what the exception says already, which would keep its old base.
            if verdict.proposal != "acceptGlobal" and case.inherited is not None:
                await transaction.put(_rebased(written[0].stored, case.inherited))
            settled = rewritten(now, state="resolved", decision=decision, deferred=None)
            await transaction.put(settled)
            record = self._trail.record(
                call,
                "conflict.decide",
                key=key,
                reason=verdict.reason,
                diff={"proposal": verdict.proposal, "type": now.spec["type"]},
                permission=Permission.DECIDE,
            )
            await transaction.audit(record)

        write = _write(case, verdict, proposal)
        await self._objects.apply(call, [write], Options(alongside=settle, reason=verdict.reason))
        self.on_change()
        found = await self._objects.find(key)
        assert found is not None
        return found

    async def defer(
        self,
        call: Call,
        key: Key,
        *,
        until: datetime,
        reason: str,
        sees: Sees,
        expected: Revision | None = None,
    ) -> Stored:
        """Put a conflict off; it is open again at `until`.

        `expected` is its revision as the person saw it.  NotFound; RevisionConflict; Invalid
        (`invalid_value`); Conflict (`conflict_resolved`).
        """
        if until <= self._clock.now():
            message = "that time is past; give one that is still to come"
            raise Invalid(
                message,
                code="invalid_value",
                fields=[FieldError("until", "invalid_value", message)],
            )
        deferred = {"until": until.isoformat(), "by": call.caller.identity, "reason": reason}

        async def work(transaction: Transaction) -> Stored:
            now = await open_conflict(transaction, key, sees)
            _check_revision(now, expected)
            await transaction.put(rewritten(now, state="deferred", deferred=deferred))
            record = self._trail.record(
                call,
                "conflict.defer",
                key=key,
                reason=reason,
                diff={"until": until.isoformat()},
                permission=Permission.DECIDE,
            )
            await transaction.audit(record)
            found = await transaction.get(key)
            assert found is not None
            return found

        deferral = (await self._store.transact(work)).result
        self.on_change()
        return deferral


async def open_conflict(view: Snapshot | Transaction, key: Key, sees: Sees) -> Stored:
    """Return a conflict that somebody sees; NotFound, Conflict (`conflict_resolved`)."""
    found = await view.get(key)
    if found is None or not sees(key, found.labels):
        raise NotFound(f"there is no conflict {key.name}; `hanse conflicts list` shows all")
    if found.spec.get("state", "open") == "resolved":
        raise Conflict(f"conflict {key.name} is resolved already", code="conflict_resolved")
    return found


async def _case(snapshot: Snapshot, key: Key, sees: Sees) -> _Case:
    conflict = await open_conflict(snapshot, key, sees)
    read = read_conflict(conflict)
    local = await snapshot.get(local_key(read))
    if local is None or _said_locally(local) != conflict.spec.get("local", {}):
        raise _outdated(key)
    upstream = [
        each
        for each in await snapshot.list(Selection(kinds=frozenset({read.target.kind})))
        if (each.key.tenant, each.key.name) == (read.target.tenant, read.target.name)
        and is_inherited_scope(each.key.scope)
    ]
    said = conflict.spec.get("global", {})
    inherited = next((each for each in upstream if _said_upstream(each) == said), None)
    if inherited is None and (said or upstream):
        raise _outdated(key)
    return _Case(conflict, local, inherited)


def _is_decided_by(conflict: Stored, call: Call, verdict: Verdict) -> bool:
    """Return whether this very call has settled it before: its answer was lost on the way."""
    decision = conflict.spec.get("decision") or {}
    return (decision.get("by"), decision.get("requestId"), decision.get("proposal")) == (
        call.caller.identity,
        call.request_id,
        verdict.proposal,
    )


def _check_revision(conflict: Stored, expected: Revision | None) -> None:
    if expected is not None and conflict.revision != expected:
        raise RevisionConflict(
            f"conflict {conflict.key.name} is at revision {conflict.revision}, not {expected}: "
            "it has changed since you saw it; look at it again"
        )


def _offered(case: _Case, name: str) -> Mapping[str, Any]:
    proposals: Sequence[Mapping[str, Any]] = case.conflict.spec.get("proposals", ())
    for each in proposals:
        if each["name"] == name:
            return each
    offered = ", ".join(each["name"] for each in proposals) or "none"
    message = f"{name} is not among what this conflict offers: {offered}"
    raise Invalid(
        message,
        code="proposal_not_offered",
        fields=[FieldError("proposal", "proposal_not_offered", message)],
    )


def _write(case: _Case, verdict: Verdict, proposal: Mapping[str, Any]) -> Write:
    """Return the write that a decision comes to: of the Override, or of the local namesake."""
    local = case.local
    if verdict.proposal == "acceptGlobal":
        return Write(local.key, None, local.revision)
    spec = {name: value for name, value in local.spec.items() if name != _BASE}
    if verdict.proposal == "merge":
        spec["spec"] = proposal["spec"]
    if verdict.expires_at is not None:
        spec["expiresAt"] = verdict.expires_at.isoformat()
    document = {
        "apiVersion": API_VERSION,
        "kind": local.key.kind,
        "metadata": {
            "name": local.key.name,
            "tenant": local.key.tenant,
            "scope": local.key.scope,
            "labels": dict(local.labels),
            "annotations": dict(local.annotations),
        },
        "spec": spec,
    }
    envelope, faults = parse_value(document)
    if envelope is None:
        raise Invalid(
            "what would result is not valid; change the Override by hand instead",
            code="invalid_value",
            fields=list(faults),
        )
    return Write(local.key, envelope, local.revision)


def _rebased(kept: Stored, inherited: Stored) -> Draft:
    """Return an exception that is kept as it is, based on what is inherited now."""
    base = {"revision": inherited.revision, "spec": _read(inherited).to_json()}
    return Draft(
        key=kept.key,
        spec={**kept.spec, _BASE: base},
        labels=kept.labels,
        annotations=kept.annotations,
        origin=kept.origin,
    )


def _said_locally(local: Stored) -> Mapping[str, Any]:
    if local.key.kind != "Override":
        return dict(_read(local).to_json())
    target = KINDS[local.spec["target"]["kind"]]
    return dict(target.spec.model_validate(local.spec["spec"]).to_json())


def _said_upstream(inherited: Stored) -> Mapping[str, Any]:
    return exempted(_read(inherited).to_json())


def _read(stored: Stored) -> Any:
    return KINDS[stored.key.kind].spec.model_validate(stored.spec)


def _outdated(key: Key) -> Conflict:
    return Conflict(
        f"what conflict {key.name} is about has changed since it was found; look at it again",
        code="conflict_outdated",
    )
