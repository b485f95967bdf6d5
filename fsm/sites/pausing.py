"""People pause a site: it takes no changes of policy until they let it go on.

The pause stands in the Site's spec, with the revision whose policy the site keeps.  Nobody writes
it as part of the Site: what a repository says of the Site must not end an incident's pause.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from fsm.feed.item import DELIVERABLE, ROLLOUT, SUBSCRIPTION
from fsm.feed.select import site_key
from shared.clock import Clock
from shared.errors import Conflict, FieldError, Invalid
from shared.http.response import timestamp
from shared.ids import Key, Revision
from shared.model.base import API_VERSION, Envelope
from shared.model.documents import parse_value
from shared.objects.admission import ACCEPTED, Batch, Fault, Proposal, Review
from shared.objects.call import Call
from shared.objects.rights import absent, check_labels, check_write
from shared.objects.service import Objects, Options, Write
from shared.store.contract import Draft, Selection, Snapshot, Stored

PAUSED: Final = "paused"

_DECIDING: Final = ("region", "defaultAction")
"""What of a Site's spec is policy at the site."""

_KEPT: Final = Selection(kinds=DELIVERABLE | {ROLLOUT, SUBSCRIPTION})
"""On what it depends what a site is to have."""

_ONE: Final = Selection(kinds=frozenset({"Site"}))


class Pauses:
    def __init__(self, *, objects: Objects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock

    async def pause(
        self, call: Call, site: str, *, reason: str, until: datetime | None = None
    ) -> Stored:
        """Let a site keep the policy that it is to have now; return its Site.

        NotFound; Invalid (`invalid_value`: that time is past); Conflict (`site_paused`).
        """
        now = self._clock.now()
        if until is not None and until <= now:
            message = "that time is past; give one that is still to come"
            fault = FieldError("until", "invalid_value", message)
            raise Invalid(message, code="invalid_value", fields=[fault])
        stored = await self._site(call, site)
        if PAUSED in stored.spec:
            since = stored.spec[PAUSED]["since"]
            raise Conflict(f"site {site} is paused since {since} already", code="site_paused")
        pause = {
            "reason": reason,
            "by": call.caller.identity,
            "since": timestamp(now),
            "revision": 0,  # which one it is the judgement says
            **({} if until is None else {"until": timestamp(until)}),
        }
        return await self._write(call, stored, {**stored.spec, PAUSED: pause}, reason)

    async def resume(self, call: Call, site: str, *, reason: str) -> Stored:
        """Let a site take changes again; return its Site.  NotFound; Conflict (`not_paused`)."""
        stored = await self._site(call, site)
        if PAUSED not in stored.spec:
            raise Conflict(f"site {site} isn't paused", code="not_paused")
        spec = {name: each for name, each in stored.spec.items() if name != PAUSED}
        return await self._write(call, stored, spec, reason)

    async def _site(self, call: Call, site: str) -> Stored:
        key = site_key(site)
        check_write(call.caller, key)
        stored = await self._objects.find(key)
        if stored is None:
            raise absent(key)
        check_labels(call.caller, key, before=stored.labels, after=None)
        return stored

    async def _write(
        self, call: Call, stored: Stored, spec: Mapping[str, Any], reason: str
    ) -> Stored:
        write = Write(stored.key, _envelope(stored, spec), Revision(stored.revision))
        options = Options(trusted=True, reason=reason)
        return (await self._objects.apply(call, [write], options)).written[0].stored


class PauseAdmission:
    """A shared.objects.admission.Admission for an FSM."""

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        sites = [
            (index, each)
            for index, each in enumerate(batch.proposals)
            if each.key.kind == "Site" and each.draft is not None
        ]
        if not sites:
            return ACCEPTED
        if batch.trusted:
            revision = snapshot.position.revision
            drafts = {i: draft for i, each in sites if (draft := _begun(each, revision))}
            return Review(drafts=drafts, depends_on=_KEPT if drafts else _ONE)
        faults = [Fault(index, fault) for index, each in sites for fault in _faults(each)]
        return Review(
            tuple(faults),
            drafts={index: draft for index, each in sites if (draft := _as_before(each))},
            depends_on=_ONE,
        )


def _begun(proposal: Proposal, revision: int) -> Draft | None:
    """Return a pause that begins with the revision whose policy is kept; None if none begins.

    The commit holds only if nothing that a site is to have has changed since that revision.
    """
    draft, before = proposal.draft, proposal.before
    if draft is None or PAUSED not in draft.spec or (before and PAUSED in before.spec):
        return None
    pause = {**draft.spec[PAUSED], "revision": int(revision)}
    return replace(draft, spec={**draft.spec, PAUSED: pause})


def _as_before(proposal: Proposal) -> Draft | None:
    """Return what a person writes of a Site with its pause as it is; None if that is so."""
    draft, before = proposal.draft, proposal.before
    if draft is None:
        return None
    pause = before.spec.get(PAUSED) if before else None
    if draft.spec.get(PAUSED) == pause:
        return None
    spec = {name: each for name, each in draft.spec.items() if name != PAUSED}
    return replace(draft, spec=spec if pause is None else {**spec, PAUSED: pause})


def _faults(proposal: Proposal) -> list[FieldError]:
    """Return what would change policy at a site that is paused."""
    draft, before = proposal.draft, proposal.before
    if draft is None or before is None or PAUSED not in before.spec:
        return []
    paths = [f"spec.{each}" for each in _DECIDING if draft.spec.get(each) != before.spec.get(each)]
    paths += ["metadata.labels"] if dict(draft.labels) != dict(before.labels) else []
    message = (
        f"site {before.key.name} is paused, and this decides what it enforces; resume it first"
    )
    return [FieldError(path, "site_paused", message) for path in paths]


def _envelope(stored: Stored, spec: Mapping[str, Any]) -> Envelope[Any]:
    key: Key = stored.key
    document = {
        "apiVersion": API_VERSION,
        "kind": key.kind,
        "metadata": {
            "name": key.name,
            "scope": key.scope,
            "labels": dict(stored.labels),
            "annotations": dict(stored.annotations),
        },
        "spec": dict(spec),
    }
    envelope, faults = parse_value(document)
    if envelope is None or faults:
        raise Invalid(f"{key} can't be written by this release", fields=faults)
    return envelope
